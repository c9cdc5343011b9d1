"""How long a training will take, told in one line after its first steps and again where that turns out otherwise."""

from __future__ import annotations

import math

FEWEST_STEPS = 3
"""Optimizer steps of the first estimate; the very first step is left out, because it warms up caches."""
FEWEST_SECONDS = 5.0
"""Length of the first estimate, in seconds. A training that is over before that needs no estimate."""
LARGE_CHANGE = 0.25
"""Relative change of the time to go that is told again."""
SHORT_CHANGE_S = 60.0
"""Change of the time to go that is never told again, in seconds."""


class TimeLeft:
    """Estimates when a training ends, from the seconds that its steps have taken in this process.

    Args:
        total_steps: Optimizer steps of the whole training.
        images_per_step: Images per optimizer step, over all processes.
    """

    def __init__(self, total_steps: int, images_per_step: int) -> None:
        self.total_steps, self.images_per_step = total_steps, images_per_step
        self._first: tuple[int, float] | None = None  # step and clock where the measurement begins
        self._told_end_s: float | None = None
        self._validated = False

    def note_validation(self) -> None:
        """The step that ends next holds a validation: its cost, and what changed since the last one, may be told."""
        self._validated = True

    def after_step(self, step: int, now_s: float) -> str | None:
        """A line for the terminal, if there is something new to tell.

        Args:
            step: Optimizer steps taken so far, those before a resume included.
            now_s: Clock, in seconds from any origin.
        """
        if self._first is None:
            self._first = step, now_s
            return None
        steps, seconds = step - self._first[0], now_s - self._first[1]
        if steps < FEWEST_STEPS or seconds < FEWEST_SECONDS or step >= self.total_steps:
            return None
        step_s = seconds / steps
        left_s = step_s * (self.total_steps - step)
        if self._told_end_s is None:
            self._told_end_s = now_s + left_s
            return self._line(step_s, left_s, "validations included" if self._validated else "plus validations")
        if not self._validated:
            return None
        self._validated = False
        told_s = self._told_end_s - now_s
        change_s = abs(left_s - told_s)
        if change_s < SHORT_CHANGE_S or change_s < LARGE_CHANGE * max(told_s, 0.0):
            return None
        self._told_end_s = now_s + left_s
        return self._line(step_s, left_s, "validations included")

    def _line(self, step_s: float, left_s: float, validations: str) -> str:
        return (
            f"{step_s:.3g} s per step of {self.images_per_step} images, {self.images_per_step / step_s:.3g} images "
            f"per second: about {duration(left_s)} to go, {validations}"
        )


def duration(seconds: float) -> str:
    """A length of time in words, such as "40 seconds", "14 minutes" or "3.2 hours"."""
    if seconds < 90:
        return _counted(max(1, round(seconds)), "second")
    if seconds < 90 * 60:
        return _counted(math.ceil(seconds / 60), "minute")
    return f"{seconds / 3600:.1f} hours"


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" + ("" if number == 1 else "s")
