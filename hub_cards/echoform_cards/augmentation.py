"""The result of an augmentation study, and its rows as text for a model card."""

from __future__ import annotations

import math
from typing import Literal, TypedDict, get_args

from echoform_cards.rendering import percent

Verdict = Literal["helps", "no measurable effect", "hurts", "not recommended", "undecided", "nothing learned"]
"""The last two stand for no verdict: where only one choice of the real images was measured, and where classifiers are
no better than guessing."""
SHARES = ("real", "classical", "generated", "both")


class AugmentationRow(TypedDict, total=False):
    """Accuracies of classifiers of users on held-out real images, 0..1, for one number of real training images."""

    images_a_user: str
    """Number of real training images per user, in words, such as "8 to 10"."""
    real: float | None
    """Trained on real images only."""
    classical: float | None
    """Trained on real images with the best classical augmentation, the better of a shorter and a longer training."""
    generated: float | None
    """Trained on real and generated images."""
    both: float | None
    """Trained on real images, the best classical augmentation and generated images."""
    difference: float | None
    """`both` minus `classical`."""
    low: float | None
    """Lower end of the 95 % interval of the difference."""
    high: float | None


class Augmentation(TypedDict, total=False):
    """Whether generated images helped to train a classifier."""

    verdict: Verdict
    sentence: str | None
    """The verdict in words."""
    exchange: str | None
    """What the generated images are worth in real ones, in words."""
    classifier: str | None
    """The classifier that the study handed over, in words."""
    over: str | None
    """What the intervals are computed over, such as "4 draws"."""
    rows: list[AugmentationRow]
    notes: list[str]
    """What a reader has to know beside the numbers, such as a setting that could not be followed."""


def _points(share: float) -> str:
    """A difference of two shares in percentage points, with its sign: 0.0123 as +1.2."""
    return f"{100 * share:+.1f}"


def augmentation_rows(study: Augmentation) -> list[dict[str, str]]:
    """The rows of the card's table as text; cells without a measurement are empty.

    Raises:
        ValueError: If the verdict is not one of Verdict, or a number is not finite.
    """
    verdict = study.get("verdict")
    if verdict not in get_args(Verdict):
        raise ValueError(f"a verdict on augmentation must be {', '.join(get_args(Verdict))}, got {verdict!r}")
    return [_row(row) for row in study.get("rows") or []]


def _row(row: AugmentationRow) -> dict[str, str]:
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"a number of augmentation must be finite, got {name}={value}")
    low, high, measured = row.get("low"), row.get("high"), row.get("difference")
    difference = "" if measured is None else f"{_points(measured)} points"
    if low is not None and high is not None:
        difference += f" ({_points(low)} to {_points(high)})"
    shares = {name: "" if (share := row.get(name)) is None else percent(share) for name in SHARES}
    return {"images_a_user": str(row.get("images_a_user")), **shares, "difference": difference}
