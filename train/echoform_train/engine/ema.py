"""Exponential moving average (EMA) of a model's weights: its update, its use for validation, and its checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

STEP = "optimization_step"


def make_ema(model: nn.Module, decay: float) -> AveragedModel:
    """Start the moving average of a model's weights; call its `update_parameters(model)` after each optimizer step.

    The decay grows with the number k of updates, as in diffusers' `EMAModel`: 0 at the first update, which replaces the
    initial weights, then min(decay, k / (k + 9)), so that the first weights of a training are soon forgotten.

    Args:
        model: On its device and in its memory format, before accelerate wraps it.
        decay: Upper limit of the decay, in 0..1.
    """

    @torch.no_grad()
    def update(
        averages: tuple[Tensor, ...] | list[Tensor], weights: tuple[Tensor, ...] | list[Tensor], count: Tensor | int
    ) -> None:
        k = int(count)
        old_share = 0.0 if k == 1 else min(decay, k / (k + 9))
        # The same operations as in diffusers, so that the averages are equal bit for bit.
        torch._foreach_sub_(averages, torch._foreach_sub(averages, weights), alpha=1 - old_share)

    ema = AveragedModel(model, multi_avg_fn=update)
    # At a count of 0 torch would copy the weights instead of calling `update`, so that the count starts at 1.
    ema.n_averaged.fill_(1)
    return ema


@contextmanager
def averaged(model: nn.Module, ema: AveragedModel) -> Iterator[None]:
    """Run the block with the averaged weights in `model`, then put the model's own weights back."""
    # On the CPU, so that a validation needs no more GPU memory than a training step.
    own = [parameter.detach().cpu().clone() for parameter in model.parameters()]
    _copy(ema.module.parameters(), model)
    try:
        yield
    finally:
        _copy(own, model)


def ema_tensors(ema: AveragedModel) -> dict[str, Tensor]:
    """The averaged weights, named by their index, and the number of updates, as tensors for a checkpoint."""
    named = {str(index): parameter.detach() for index, parameter in enumerate(ema.module.parameters())}
    return named | {STEP: ema.n_averaged - 1}


def restore_ema(ema: AveragedModel, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `ema_tensors`, for the average of a model with the same parameters."""
    load_averages(ema.module, tensors)
    ema.n_averaged.copy_(tensors[STEP] + 1)


def load_averages(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put the averaged weights of a checkpoint, as `ema_tensors` names them, into a model."""
    _copy((tensors[str(index)] for index, _ in enumerate(model.parameters())), model)


@torch.no_grad()
def _copy(weights: Iterable[Tensor], model: nn.Module) -> None:
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        parameter.copy_(weight)
