"""Learning rate as a pure function of the optimizer step."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate_at(
    step: int, *, peak: float, warmup_steps: int, total_steps: int, shape: Literal["cosine", "constant"]
) -> float:
    """Learning rate of one optimizer step: linear warm-up, then a half cosine to zero or a constant.

    Being a function of the step alone, it does not depend on accumulation, on the number of processes or on a resume.

    Args:
        step: Optimizer steps already taken, from 0.
        peak: Rate at the end of the warm-up.
        warmup_steps: Steps of the warm-up; the first step gets `peak / warmup_steps`.
        total_steps: Steps of the whole run.
        shape: What follows the warm-up.

    Raises:
        ValueError: If the warm-up is longer than the run.
    """
    if warmup_steps > total_steps:
        raise ValueError(f"the warm-up must fit into the run of {total_steps} optimizer steps, got {warmup_steps}")
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if shape == "constant":
        return peak
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
