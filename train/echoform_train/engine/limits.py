"""Limits of the numbers in settings, written beside each field and checked when the settings are made."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Annotated, Any, get_type_hints

from echoform_train.engine.errors import UserError

MOST_STEPS = 1000
"""Most denoising steps of an image; more than the noise levels of a usual training would only repeat them."""
VERIFY_TIME_LIMIT_S = 600.0
"""Seconds that loading and running a repository may take; a large model takes some ten seconds on two cores."""
LONGEST = 10**12
"""Largest number of images or optimizer steps; more would not fit into a life."""


@dataclass(frozen=True)
class Limits:
    """Which numbers a setting may be; for a setting of several numbers, each of them."""

    low: float
    high: float
    above_low: bool = False
    """Whether `low` itself is too small."""
    below_high: bool = False
    """Whether `high` itself is too large."""

    def allow(self, value: float) -> bool:
        """Whether a number is inside; NaN never is."""
        above = value > self.low if self.above_low else value >= self.low
        return above and (value < self.high if self.below_high else value <= self.high)

    def __str__(self) -> str:
        low, high = (str(end) if isinstance(end, int) else f"{end:.15g}" for end in (self.low, self.high))
        if not (self.above_low or self.below_high):
            return f"in {low}..{high}"
        return f"in {'(' if self.above_low else '['}{low}, {high}{')' if self.below_high else ']'}"


Length = Annotated[int, Limits(1, LONGEST)]
"""Images, optimizer steps or validations, at least 1."""
LengthOrZero = Annotated[int, Limits(0, LONGEST)]
BatchSize = Annotated[int, Limits(1, 65_536)]
Share = Annotated[float, Limits(0, 1)]
Decay = Annotated[float, Limits(0, 1, below_high=True)]
"""Of a moving average: with 1 it would never move."""
Dropout = Annotated[float, Limits(0, 1, below_high=True)]
Weight = Annotated[float, Limits(0, 1e6)]
"""Weight of a part of the loss."""
Seed = Annotated[int, Limits(0, 2**63 - 1)]
Layers = Annotated[int, Limits(1, 64)]
Heads = Annotated[int, Limits(1, 1024)]
Channels = Annotated[int, Limits(1, 65_536)]
ChannelsOfLevels = Annotated[tuple[int, ...], Limits(1, 65_536)]


@dataclass(frozen=True)
class LimitedSettings:
    """Settings whose numbers are held against the limits in the types of their fields when they are made."""

    def __post_init__(self) -> None:
        check_limits(self)


def check_limits(config: Any) -> None:
    """Hold the numbers of a settings dataclass against the limits in the types of its fields.

    Raises:
        UserError: If a number is out of its limits, not finite, or not whole where the type says so; the message has
            the flag, the rule and the value.
    """
    for name, (limits, whole) in _limits(type(config)).items():
        value = getattr(config, name)
        for number in value if isinstance(value, tuple | list) else [value]:
            # Settings may also be None, a text, or not given yet.
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if not limits.allow(number) or (whole and not isinstance(number, int)):
                kind = "a whole number " if whole else ""
                raise UserError(f"--{name.replace('_', '-')} must be {kind}{limits}, got {_short(number)}")


@lru_cache(maxsize=64)
def _limits(config_class: type) -> dict[str, tuple[Limits, bool]]:
    """The limits of the fields that have some, and whether the number must be whole."""
    hints = get_type_hints(config_class, include_extras=True)
    found = {}
    for field in fields(config_class):
        for one in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(one, Limits):
                found[field.name] = (one, "float" not in str(hints[field.name].__origin__))
    return found


def _short(number: float) -> str:
    text = str(number)
    return text if len(text) <= 40 else f"{text[:20]}... of {len(text)} digits"
