"""Distances between gait features of generated and real images, and between those of real images for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import wasserstein_distance

from echoform_train.engine.errors import UserError
from echoform_train.study.gait.limits import Array, Features

HALVINGS = 8
"""Number of random halvings of the real images; distances are means over the halvings."""


class FeatureDistance(NamedTuple):
    """Wasserstein distance of a feature's distribution, in the unit of the feature."""

    distance: float
    """Between generated and real images."""
    floor: float
    """Between two halves of the real images, with equally many values."""


def wasserstein(
    real: Features, generated: Features, recordings: Sequence[str | None], seed: int
) -> dict[str, FeatureDistance]:
    """Distance of each feature between generated and real images, and its floor: the same between real images.

    Real images are halved by recordings, HALVINGS times. The first half is compared with as many generated images as
    the second half has; for the floor, it is compared with the second half. Images without a value are left out.

    Args:
        real: Features of held-out real images.
        generated: Features of generated ones.
        recordings: Recording of each real image; an image of unknown recording counts as a recording of one image.
        seed: Seed of the halvings.

    Returns:
        Distances by name of the feature, for features of both except `heading`; features with fewer than two values in
        a half are left out.

    Raises:
        ValueError: If there are fewer than two recordings, or not one per image.
    """
    labels = np.array([f"image {index}" if name is None else name for index, name in enumerate(recordings)])
    names, recording_of_image = np.unique(labels, return_inverse=True)
    if len(labels) != len(real["rhythm"]) or len(names) < 2:
        raise UserError(
            f"there must be at least two recordings and one name for each of {len(real['rhythm'])} images, "
            f"got {len(names)} for {len(labels)}"
        )
    rng = np.random.default_rng(seed)
    rounds: dict[str, list[FeatureDistance]] = {}
    for _ in range(HALVINGS):
        # Windows of one recording are similar, so that each recording goes to one half as a whole.
        in_first = np.isin(recording_of_image, rng.permutation(len(names))[: len(names) // 2])
        for name in sorted(set(real) & set(generated) - {"heading"}):
            reference, other = _readable(real[name][in_first]), _readable(real[name][~in_first])
            # A distance depends on the number of values, so both comparisons use equally many.
            made = rng.permutation(_readable(generated[name]))[: len(other)]
            if min(len(reference), len(other), len(made)) >= 2:
                found = FeatureDistance(wasserstein_distance(reference, made), wasserstein_distance(reference, other))
                rounds.setdefault(name, []).append(found)
    return {name: FeatureDistance(*map(float, np.mean(found, axis=0))) for name, found in rounds.items()}


def _readable(values: Array) -> Array:
    return values[np.isfinite(values)]
