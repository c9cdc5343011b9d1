"""Is it a walk? Limits of what walkers do, the share of pictures within them, and the distance from real features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor

Array = NDArray[np.float64]
Features = Mapping[str, Array]
"""Of `radar.gait_features.gait_features`: float [N] each, NaN where one cannot be read."""


@dataclass(frozen=True)
class Limit:
    """What a feature may be."""

    low: float
    high: float
    may_be_unreadable: bool = False
    """Whether NaN is within the limit, as many real pictures have it."""


WALKING = {
    "torso_speed_mps": Limit(0.2, 2.1, may_be_unreadable=True),
    "cadence_hz": Limit(1.0, 2.6),
    "walk_ratio_ms": Limit(0.2, 0.8, may_be_unreadable=True),
}
"""What is possible for a walking adult, by name of the feature.

People run rather than walk above 2.1 m/s or 140 steps a minute (2.3 a second), which single walkers surpass (Human
Movement Science 90 (2023) 103117). The walk ratio, speed over cadence squared, is 0.41 m s with a deviation of 0.05 m s
at any usual speed (Terrier and Schutz, European Journal of Applied Physiology 90 (2003) 554-561); its limits are four
deviations away and more, as slow and old walkers change it. Radial speeds are below those of the walk.
"""

UNREADABLE_SHARE = 0.02
"""Where more real pictures than this have no value, a picture may have none."""
READABLE_SHARE = 0.25
"""Share of the real pictures that must have a value, to learn what it may be."""
MARGIN = 0.25
LEAST_MARGIN = 0.25
"""By how much of their own width (1st to 99th percentile), and at least of the median, the limits learned from real
pictures are widened. Few recordings do not show all speeds and reaches of limbs; what no walker does is farther off."""
SIDE_SHARE = 0.9
"""Share of a condition's pictures that must head one way, to expect it of the others."""
HALVINGS = 8

_UNLIMITED = ("heading", "asymmetry")


class Drift(NamedTuple):
    """Wasserstein distance of a feature, in its unit."""

    distance: float
    """Of generated from real pictures."""
    floor: float
    """Of real pictures from other real ones, as many."""


def learn_limits(real: Features) -> dict[str, Limit]:
    """Limits of each feature: what real training pictures span with a margin, and no more than walkers can do.

    Learned are the 1st and 99th percentile, widened by MARGIN and LEAST_MARGIN; of names in WALKING, only what lies
    within those limits. Any asymmetry and any strength of the rhythm above the least is possible. A feature that fewer
    than a quarter of the real pictures have is left out.

    Args:
        real: Features of real training pictures; at least 5 of them.

    Raises:
        ValueError: If there are fewer pictures, or a torso is seen in none of them.
    """
    values = _with_ratio(real)
    count = len(values["rhythm"])
    if count < 5:
        raise ValueError(f"limits need at least 5 real pictures, got {count}")
    limits = {}
    for name, feature in values.items():
        known = feature[np.isfinite(feature)]
        if name in _UNLIMITED or len(known) < READABLE_SHARE * count:
            continue
        low, high = np.quantile(known, [0.01, 0.99])
        margin = max(MARGIN * (high - low), LEAST_MARGIN * np.median(known))
        walking = WALKING.get(name, Limit(0.0, np.inf))
        limits[name] = Limit(
            float(max(low - margin, walking.low)),
            np.inf if name == "rhythm" else float(min(high + margin, walking.high)),
            may_be_unreadable=walking.may_be_unreadable or len(known) < (1 - UNREADABLE_SHARE) * count,
        )
    if not any(name.startswith("torso") for name in limits):
        raise ValueError("limits need real pictures in which a torso can be seen, there are none")
    return limits


def possible(features: Features, limits: Mapping[str, Limit], heading: Array | None = None) -> NDArray[np.bool_]:
    """Which pictures a walker can have made, [N].

    A picture passes if all its features lie within the limits. What cannot be read fails where real pictures can be
    read. A picture turned upside down is the same walk the other way, so it fails only where the way is known.

    Args:
        features: Of the pictures, of the same data as those of the limits.
        limits: Of `learn_limits`.
        heading: Where each is to head, 1 towards the radar, -1 away and NaN where nobody knows; see `learn_headings`.

    Raises:
        ValueError: If a feature with a limit is missing.
    """
    passed = np.ones(len(features["rhythm"]), dtype=bool)
    for fits in judge_features(features, limits).values():
        passed &= fits
    if heading is not None:
        passed &= np.isnan(heading) | (features["heading"] == heading)
    return passed


def judge_features(features: Features, limits: Mapping[str, Limit]) -> dict[str, NDArray[np.bool_]]:
    """Which pictures are within each limit, by name of the feature: tells what is wrong with those that are not.

    Raises:
        ValueError: If a feature with a limit is missing.
    """
    values = _with_ratio(features)
    missing = set(limits) - set(values)
    if missing:
        raise ValueError(f"features must hold {', '.join(sorted(limits))}, {', '.join(sorted(missing))} are missing")
    judged = {}
    for name, limit in limits.items():
        value = values[name]
        unreadable = np.isnan(value)
        judged[name] = np.where(unreadable, limit.may_be_unreadable, (value >= limit.low) & (value <= limit.high))
    return judged


def pass_rate(features: Features, limits: Mapping[str, Limit], heading: Array | None = None) -> float:
    """Share of `possible` pictures, 0..1."""
    return float(possible(features, limits, heading).mean())


def learn_headings(real: Features, condition: Tensor) -> dict[int, float]:
    """Which way pictures of each value of a condition head: 1, -1, or NaN where both ways occur.

    Args:
        real: Features of real pictures.
        condition: int64 [N].
    """
    headings = {}
    for value in torch.unique(condition).tolist():
        towards = float((real["heading"][(condition == value).numpy()] > 0).mean())
        headings[value] = 1.0 if towards >= SIDE_SHARE else -1.0 if towards <= 1 - SIDE_SHARE else np.nan
    return headings


def wasserstein(real: Features, generated: Features, recordings: Sequence[str | None], seed: int) -> dict[str, Drift]:
    """Distance of each feature's distribution from that of real pictures, beside what other real ones reach.

    Real pictures are halved by recordings 8 times. Generated pictures, as many as there are in the other half, meet one
    half, and so does the other half for the floor. The mean of the distances is given. Pictures without a value of the
    feature are left out.

    Args:
        real: Features of held-out real pictures.
        generated: Features of generated ones.
        recordings: Of each real picture; where they are unknown, each picture counts as one of its own.
        seed: Draws the halves.

    Returns:
        By the name of each feature of both but `heading`, if either half has at least two values.

    Raises:
        ValueError: If the recordings are fewer than two, or not one a picture.
    """
    labels = np.array([f"picture {place}" if name is None else name for place, name in enumerate(recordings)])
    names, of = np.unique(labels, return_inverse=True)
    if len(labels) != len(real["rhythm"]) or len(names) < 2:
        raise ValueError(
            f"there must be at least two recordings and one for each of {len(real['rhythm'])} pictures, "
            f"got {len(names)} for {len(labels)}"
        )
    rng = np.random.default_rng(seed)
    rounds: dict[str, list[Drift]] = {}
    for _ in range(HALVINGS):
        first = np.isin(of, rng.permutation(len(names))[: len(names) // 2])
        for name in sorted(set(real) & set(generated) - {"heading"}):
            reference, other = _known(real[name][first]), _known(real[name][~first])
            made = _known(generated[name])
            made = rng.permutation(made)[: len(other)]
            if min(len(reference), len(other), len(made)) >= 2:
                drift = Drift(wasserstein_distance(reference, made), wasserstein_distance(reference, other))
                rounds.setdefault(name, []).append(drift)
    return {name: Drift(*(float(mean) for mean in np.mean(drifts, axis=0))) for name, drifts in rounds.items()}


def _with_ratio(features: Features) -> dict[str, Array]:
    """With speed over cadence squared, where both are known in metres and seconds, and limbs ahead and behind."""
    values = dict(features)
    if "torso_speed_mps" in values and "cadence_hz" in values:
        values["walk_ratio_ms"] = values["torso_speed_mps"] / values["cadence_hz"] ** 2
    highest, lowest = (next(name for name in values if name.startswith(f"envelope_{end}")) for end in ("max", "min"))
    above, below = values.pop(highest), -values.pop(lowest)
    unit = highest.removeprefix("envelope_max")
    # A walk away is one towards turned upside down, so both teach one limit.
    values[f"envelope_wide{unit}"] = np.maximum(above, below)
    values[f"envelope_narrow{unit}"] = np.minimum(above, below)
    return values


def _known(values: Array) -> Array:
    return values[np.isfinite(values)]
