"""Limits of the settings with which images are sampled."""

from __future__ import annotations

import math

from echoform_train.engine.errors import UserError
from echoform_train.engine.limits import MOST_STEPS


def check_sampling(steps: int, guidance_scale: float, flag: str = "--num-inference-steps") -> None:
    """Check the settings of a command that samples.

    Args:
        steps: Denoising steps.
        guidance_scale: Strength of the guidance.
        flag: That of the steps.

    Raises:
        UserError: If the steps are not in 1..1000, or the guidance is negative or not finite.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise UserError(f"{flag} must be in 1..{MOST_STEPS}, got {steps}")
    if not 0 <= guidance_scale < math.inf:
        raise UserError(f"--guidance-scale must be a number from 0, got {guidance_scale}")
