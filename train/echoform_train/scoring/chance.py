"""What guessing reaches, and what to say of a judge that is no better: it has learned nothing and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def chance_of(number: int) -> float:
    """Accuracy of guessing one of `number` users or classes at random, 0..1."""
    return 1 / number


def chance_sentence(number: int, what: str = "users") -> str:
    """What guessing at random reaches, to be printed beside an accuracy."""
    return f"Chance: guessing one of {number} {what} at random is right for {100 * chance_of(number):.1f} %."


def nothing_learned(
    accuracy: Mapping[str, Any], number: int, *, who: str = "judge", images: str = "held-out real spectrograms"
) -> str | None:
    """The sentence for a judge that is no better than chance; None for one that is better.

    Args:
        accuracy: `mean`, a share of the images, and `low` and `high`, the ends of its 95 % interval, if it has one.
        number: Users or classes that it tells apart.
        who: Who has learned nothing.
        images: What it names right.
    """
    chance, low, high = chance_of(number), accuracy.get("low"), accuracy.get("high")
    if (accuracy["mean"] if low is None else low) > chance:
        return None
    interval = "" if low is None or high is None else f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    it, have, name = ("They", "have", "name") if who.endswith("s") else ("It", "has", "names")
    return (
        f"The {who} {have} learned nothing: train longer. {it} {name} {100 * accuracy['mean']:.1f} % of {images} right"
        f"{interval}, and guessing at random reaches {100 * chance:.1f} %."
    )
