"""Learning rate as a function of the optimizer step and of the validations so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from echoform_train.engine.errors import UserError

Shape = Literal["cosine", "constant", "step", "plateau"]


def learning_rate_at(
    step: int,
    *,
    peak: float,
    warmup_steps: int,
    total_steps: int,
    shape: Shape,
    decay: float = 0.3,
    step_every: int = 1,
    plateaus: int = 0,
) -> float:
    """Learning rate of one optimizer step: a linear warm-up, then the chosen shape.

    It depends on nothing but its arguments, so that gradient accumulation, several processes and a resume do not change
    it.

    Args:
        step: Optimizer steps already taken, from 0.
        peak: Rate at the end of the warm-up.
        warmup_steps: Steps of the warm-up; the first step gets `peak / warmup_steps`.
        total_steps: Steps of the whole run.
        shape: What follows the warm-up. "cosine": half a cosine down to zero. "constant": `peak`. "step": `peak` times
            `decay` for every `step_every` steps since the start of the run. "plateau": `peak` times `decay` for each of
            `plateaus`.
        decay: Factor of one drop, in (0, 1].
        step_every: Optimizer steps between two drops of "step".
        plateaus: Number of drops so far, `Plateau.drops`.

    Raises:
        ValueError: If the warm-up is longer than the run, or a factor or an interval of drops is out of range.
    """
    if warmup_steps > total_steps:
        raise UserError(f"the warm-up must fit into the run of {total_steps} optimizer steps, got {warmup_steps}")
    if not 0 < decay <= 1:
        raise UserError(f"the factor of a drop of the learning rate must lie in (0, 1], got {decay}")
    if step_every < 1:
        raise UserError(f"drops of the learning rate must be at least 1 optimizer step apart, got {step_every}")
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if shape == "constant":
        return peak
    if shape == "step":
        return peak * decay ** (step // step_every)
    if shape == "plateau":
        return peak * decay**plateaus
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@dataclass
class Plateau:
    """Counter of the drops of the learning rate after validations without a new best; its fields are its state.

    Raises:
        ValueError: If the patience is less than 1.
    """

    patience: int
    """Validations in a row without a new best before a drop."""
    waited: int = 0
    """Validations since the last new best or drop."""
    drops: int = 0
    """Drops so far."""

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise UserError(f"a plateau of the learning rate must be at least 1 validation long, got {self.patience}")

    def add_validation(self, improved: bool) -> None:
        """Count one validation; `improved` says whether it was a new best."""
        self.waited = 0 if improved else self.waited + 1
        if self.waited >= self.patience:
            self.waited, self.drops = 0, self.drops + 1
