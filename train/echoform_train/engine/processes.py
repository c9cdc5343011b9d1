"""Sums over all processes of a training."""

from __future__ import annotations

from typing import cast

from accelerate import Accelerator
from torch import Tensor


def summed(values: Tensor, accelerator: Accelerator) -> Tensor:
    """Sum a tensor over all processes; every process gets the result."""
    return cast(Tensor, accelerator.reduce(values, reduction="sum"))
