"""A step of `echoform augment`: the values that it needs, the earlier steps that it continues, and its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, kw_only=True)
class Step(ABC, Generic[ResultT]):
    """One step; a step that continues another reads its `result`."""

    @cached_property
    def result(self) -> ResultT:
        """What `make` returns; it is called once."""
        return self.make()

    @abstractmethod
    def make(self) -> ResultT:
        """Do the work of the step."""
