"""The exchange rate of a study: how many more real images would have done what the generated ones did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from echoform_train.scoring.intervals import Interval


class Exchange(TypedDict):
    """What generated images are worth at one number of real images per user, in real images per user."""

    real: float
    """Real images per user, mean over users."""
    worth: float
    """More real images per user that give the accuracy with generated images; negative if they cost accuracy."""
    low: float
    """Lower end of the interval, which is that of the gain in accuracy, read off the same curve."""
    high: float
    beyond: bool
    """Whether `worth` is only a lower bound, because the curve of real images ends below the accuracy."""
    high_beyond: bool
    """Whether `high` is only a lower bound."""


class ExchangePoint(TypedDict):
    """One point of the curve of real images, and what generated images add to it."""

    real: float
    """Real images per user, mean over users."""
    accuracy: float
    """Of the best classifier without generated images, 0..1."""
    gain: Interval | None
    """What generated images add to it, as a share; None if that was not measured."""


def exchange_rates(points: Sequence[ExchangePoint], chance: float) -> list[Exchange]:
    """Read off the curve of real images what generated images are worth at each point.

    The curve is accuracy over log(1 + real images), straight between the measured points, from chance at 0 images to
    the largest size. Where it falls, it is levelled to the means that fit best (isotonic regression).

    Args:
        points: Of one study, in ascending order of `real`.
        chance: Accuracy of guessing.

    Returns:
        One per point whose gain was measured; [] for fewer than two points, which make no curve.
    """
    if len(points) < 2:
        return []
    images = [0.0, *(point["real"] for point in points)]
    accuracies = _ascending([chance, *(point["accuracy"] for point in points)])
    found: list[Exchange] = []
    for point, level in zip(points, accuracies[1:], strict=True):
        if point["gain"] is None:
            continue
        worth, low, high = (_images_for(level + end, images, accuracies) - point["real"] for end in point["gain"])
        top = accuracies[-1]
        found.append(
            {
                "real": point["real"],
                "worth": worth,
                "low": low,
                "high": high,
                "beyond": level + point["gain"].mean > top,
                "high_beyond": level + point["gain"].high > top,
            }
        )
    return found


def exchange_sentence(rates: Sequence[Exchange], generated_per_user: int) -> str | None:
    """The rates in one sentence; None if there are none."""
    if not rates:
        return None
    listed = [
        f"with {rate['real']:.0f} real ones {'at least ' if rate['beyond'] else ''}{_number(rate['worth'])} "
        f"({_number(rate['low'])} to {'beyond the largest size' if rate['high_beyond'] else _number(rate['high'])})"
        for rate in rates
    ]
    return (
        f"{generated_per_user} generated images per user are worth this many more real ones per user: "
        f"{', '.join(listed)}."
    )


def _images_for(accuracy: float, images: Sequence[float], accuracies: Sequence[float]) -> float:
    """Real images per user that give this accuracy; the end of the curve if it is beyond."""
    if accuracy <= accuracies[0]:
        return images[0]
    if accuracy >= accuracies[-1]:
        return images[-1]
    # Of a level stretch, the smallest number of images counts.
    after = next(index for index, value in enumerate(accuracies) if value >= accuracy)
    low, high = accuracies[after - 1], accuracies[after]
    share = (accuracy - low) / (high - low)
    logs = math.log1p(images[after - 1]), math.log1p(images[after])
    return math.expm1(logs[0] + share * (logs[1] - logs[0]))


def _ascending(values: Sequence[float]) -> list[float]:
    """The ascending values nearest to the given ones: neighbours that fall are replaced by their mean."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return [float(np.mean(block)) for block in blocks for _ in block]


def _number(images: float) -> str:
    """A number of images with its sign, with one decimal below 10."""
    return f"{images:+.1f}" if abs(images) < 10 else f"{images:+.0f}"
