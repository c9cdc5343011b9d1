"""Limits for the gait features of walking people, learned from real images, and tests of images against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echoform_train.engine.errors import UserError

Array = NDArray[np.float64]
Features = Mapping[str, Array]
"""Gait features by name, float [N] each, as `radar.gait_features.gait_features` returns them; NaN if unreadable."""


@dataclass(frozen=True)
class Limit:
    """Range in which a feature must lie, ends included."""

    low: float
    high: float
    may_be_unreadable: bool = False
    """Whether NaN passes; true if many real images have no value."""


WALKING = {
    "torso_speed_mps": Limit(0.2, 2.1, may_be_unreadable=True),
    "cadence_hz": Limit(1.0, 2.6),
    "walk_ratio_ms": Limit(0.2, 0.8, may_be_unreadable=True),
}
"""Limits for walking adults from the literature, by name of the feature.

Above 2.1 m/s or 140 steps per minute (2.3 Hz) people run rather than walk, though single walkers exceed this (Human
Movement Science 90 (2023) 103117). The walk ratio, speed over squared cadence, is 0.41 m s with a standard deviation of
0.05 m s at any usual speed (Terrier and Schutz, European Journal of Applied Physiology 90 (2003) 554-561); its limits
are at least four deviations away, because slow and old walkers change it. Radial speeds are below the speed of walking.
"""

UNREADABLE_SHARE = 0.02
"""A missing value of a feature is allowed if more than this share of the real images lack it."""
READABLE_SHARE = 0.25
"""A limit is only learned for features that at least this share of the real images have."""
MARGIN = 0.25
"""Limits are widened by this share of the range from the 1st to the 99th percentile of the real images."""
LEAST_MARGIN = 0.25
"""Limits are widened by at least this share of the median, because few recordings do not show all speeds."""
SIDE_SHARE = 0.9
"""A condition implies a walking direction if at least this share of its real images head that way."""
LEAST_IMAGES = 5

_UNLIMITED = ("heading", "asymmetry")


def learn_limits(real: Features) -> dict[str, Limit]:
    """Learn the limit of each feature: the range of real training images with a margin, clipped to WALKING.

    The range goes from the 1st to the 99th percentile and is widened by MARGIN and LEAST_MARGIN. It is
    clipped to the limits in WALKING. Asymmetry has no limit, and the strength of the rhythm no upper limit. Features
    that fewer than a quarter of the real images have are left out.

    Args:
        real: Features of at least 5 real training images.

    Raises:
        ValueError: If there are fewer than 5 images, or a torso can be seen in too few of them.
    """
    values = _derived(real)
    count = len(values["rhythm"])
    if count < LEAST_IMAGES:
        raise UserError(f"limits need at least {LEAST_IMAGES} real images, got {count}")
    limits = {}
    for name, feature in values.items():
        known = feature[np.isfinite(feature)]
        if name in _UNLIMITED or len(known) < READABLE_SHARE * count:
            continue
        # Quantiles instead of minimum and maximum, because the features of a few images may be misread.
        low, high = np.quantile(known, [0.01, 0.99])
        margin = max(MARGIN * (high - low), LEAST_MARGIN * np.median(known))
        walking = WALKING.get(name, Limit(0.0, np.inf))
        limits[name] = Limit(
            float(max(low - margin, walking.low)),
            np.inf if name == "rhythm" else float(min(high + margin, walking.high)),
            may_be_unreadable=walking.may_be_unreadable or len(known) < (1 - UNREADABLE_SHARE) * count,
        )
    if not any(name.startswith("torso") for name in limits):
        raise UserError("limits need real images in which a torso can be seen, there are none")
    return limits


def possible(features: Features, limits: Mapping[str, Limit], heading: Array | None = None) -> NDArray[np.bool_]:
    """Which images can show a walking person, bool [N].

    An image passes if all its features lie within the limits and its direction agrees with `heading`. Without known
    heading, an image flipped along frequency passes too, because it shows the same walk in the other direction.

    Args:
        features: Features of N images, computed in the same way as those that the limits were learned from.
        limits: As `learn_limits` returns them.
        heading: Direction in which each image should head, [N]: 1 towards the radar, -1 away, NaN if unknown; see
            `learn_headings`.

    Raises:
        ValueError: If a feature with a limit is missing.
    """
    passed = np.ones(len(features["rhythm"]), dtype=bool)
    for within in judge_features(features, limits).values():
        passed &= within
    if heading is not None:
        passed &= np.isnan(heading) | (features["heading"] == heading)
    return passed


def judge_features(features: Features, limits: Mapping[str, Limit]) -> dict[str, NDArray[np.bool_]]:
    """Which images are within each limit, bool [N] by name of the feature.

    Raises:
        ValueError: If a feature with a limit is missing.
    """
    values = _derived(features)
    missing = set(limits) - set(values)
    if missing:
        raise UserError(f"features must hold {', '.join(sorted(limits))}, {', '.join(sorted(missing))} are missing")
    judged = {}
    for name, limit in limits.items():
        value = values[name]
        unreadable = np.isnan(value)
        judged[name] = np.where(unreadable, limit.may_be_unreadable, (value >= limit.low) & (value <= limit.high))
    return judged


def pass_rate(features: Features, limits: Mapping[str, Limit], heading: Array | None = None) -> float:
    """Share of images that are `possible`, 0..1."""
    return float(possible(features, limits, heading).mean())


def learn_headings(real: Features, condition: Tensor) -> dict[int, float]:
    """Walking direction that each value of a condition implies: 1 towards the radar, -1 away, NaN if both occur.

    Args:
        real: Features of N real images.
        condition: Value of the condition for each image, int64 [N].
    """
    headings = {}
    for value in torch.unique(condition).tolist():
        towards = float((real["heading"][(condition == value).numpy()] > 0).mean())
        headings[value] = 1.0 if towards >= SIDE_SHARE else -1.0 if towards <= 1 - SIDE_SHARE else np.nan
    return headings


def _derived(features: Features) -> dict[str, Array]:
    """The features with an envelope that does not depend on the heading, and the walk ratio if units are known."""
    values = dict(features)
    if "torso_speed_mps" in values and "cadence_hz" in values:
        values["walk_ratio_ms"] = values["torso_speed_mps"] / values["cadence_hz"] ** 2
    highest, lowest = (next(name for name in values if name.startswith(f"envelope_{end}")) for end in ("max", "min"))
    above, below = values.pop(highest), -values.pop(lowest)
    unit = highest.removeprefix("envelope_max")
    # Walks away and towards the radar are mirrored in frequency, so both share one limit.
    values[f"envelope_wide{unit}"] = np.maximum(above, below)
    values[f"envelope_narrow{unit}"] = np.minimum(above, below)
    return values
