"""Distances of the gait features of generated images from those of real ones, beside the distance between real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import wasserstein_distance

from echoform_train.study.gait.limits import Array, Features

HALVINGS = 8
"""Times that the real images are halved; distances are means over them."""


class FeatureDistance(NamedTuple):
    """Wasserstein distance of a feature's distribution, in the unit of the feature."""

    distance: float
    """Between generated and real images."""
    floor: float
    """Between as many real images and other real ones."""


def wasserstein(
    real: Features, generated: Features, recordings: Sequence[str | None], seed: int
) -> dict[str, FeatureDistance]:
    """Distance of each feature of generated images from real ones, and the floor that other real images reach.

    Real images are halved by recordings, HALVINGS times. One half is compared with as many generated images as there
    are in the other half, and for the floor with the other half. Images without a value of the feature are left out.

    Args:
        real: Features of held-out real images.
        generated: Features of generated ones.
        recordings: Recording of each real image; an image of unknown recording counts as one of its own.
        seed: Of the halving.

    Returns:
        By name of each feature that both have, except `heading`; features with fewer than two values in a half are left
        out.

    Raises:
        ValueError: If there are fewer than two recordings, or not one per image.
    """
    labels = np.array([f"image {index}" if name is None else name for index, name in enumerate(recordings)])
    names, recording_of_image = np.unique(labels, return_inverse=True)
    if len(labels) != len(real["rhythm"]) or len(names) < 2:
        raise ValueError(
            f"there must be at least two recordings and one for each of {len(real['rhythm'])} images, "
            f"got {len(names)} for {len(labels)}"
        )
    rng = np.random.default_rng(seed)
    rounds: dict[str, list[FeatureDistance]] = {}
    for _ in range(HALVINGS):
        # Windows of one recording are alike, so both halves get whole recordings.
        in_first = np.isin(recording_of_image, rng.permutation(len(names))[: len(names) // 2])
        for name in sorted(set(real) & set(generated) - {"heading"}):
            reference, other = _readable(real[name][in_first]), _readable(real[name][~in_first])
            # A distance depends on the number of values, so both sides have equally many.
            made = rng.permutation(_readable(generated[name]))[: len(other)]
            if min(len(reference), len(other), len(made)) >= 2:
                found = FeatureDistance(wasserstein_distance(reference, made), wasserstein_distance(reference, other))
                rounds.setdefault(name, []).append(found)
    return {name: FeatureDistance(*map(float, np.mean(found, axis=0))) for name, found in rounds.items()}


def _readable(values: Array) -> Array:
    return values[np.isfinite(values)]
