"""Averaged weights: their use for a while, and their way into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

STEP = "optimization_step"


@contextmanager
def averaged(model: nn.Module, ema: EMAModel) -> Iterator[None]:
    """Run the block with the averaged weights in `model`, then put its own back."""
    ema.store(model.parameters())
    ema.copy_to(model.parameters())
    try:
        yield
    finally:
        ema.restore(model.parameters())


def ema_tensors(ema: EMAModel) -> dict[str, Tensor]:
    """Averages and their step count as named tensors."""
    named = {str(index): value for index, value in enumerate(ema.shadow_params)}
    return named | {STEP: torch.tensor(ema.optimization_step)}


def restore_ema(ema: EMAModel, tensors: dict[str, Tensor]) -> None:
    """Inverse of `ema_tensors`, for averages over the same parameters."""
    for index, value in enumerate(ema.shadow_params):
        value.copy_(tensors[str(index)])
    ema.optimization_step = int(tensors[STEP])
