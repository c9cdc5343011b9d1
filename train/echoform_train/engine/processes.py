"""Numbers of all processes together."""

from __future__ import annotations

from typing import cast

from accelerate import Accelerator
from torch import Tensor


def summed(values: Tensor, accelerator: Accelerator) -> Tensor:
    """The sum of a tensor over all processes, on each of them."""
    return cast(Tensor, accelerator.reduce(values, reduction="sum"))
