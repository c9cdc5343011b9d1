"""Gait limits learned from real images, and a test of other images against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from echoform_train.data.spectrograms import Spectrograms
from echoform_train.radar.gait_features import Middle, detect_middle, gait_features, to_level
from echoform_train.study.gait.limits import Features, Limit, learn_headings, learn_limits, possible


@dataclass(frozen=True, kw_only=True)
class WalkCheck:
    """Limits of the gait features of walking people, and the direction that each condition implies."""

    axes: Mapping[str, float] | None
    """Content of axes.json; None if it is unknown."""
    middle: Middle
    limits: Mapping[str, Limit]
    """Key: name of the feature."""
    headings: Mapping[str, Mapping[int, float]]
    """Walking direction by condition and its value: 1 towards the radar, -1 away, NaN if both occur."""

    @classmethod
    def learn(cls, images: Spectrograms, axes: Mapping[str, float] | None) -> WalkCheck:
        """Learn the limits from real images.

        Args:
            images: At least 5 real images.
            axes: Content of axes.json, see `gait_features`.

        Raises:
            ValueError: If there are fewer than 5 images, or a torso can be seen in too few of them.
        """
        level = to_level(images.pixels)
        middle = detect_middle(level)
        features = gait_features(level, axes, middle=middle)
        headings = {name: learn_headings(features, values) for name, values in images.conditions.items()}
        return cls(axes=axes, middle=middle, limits=learn_limits(features), headings=headings)

    def features(self, pixels: Tensor) -> Features:
        """Gait features of other images with the same axes, uint8 [N, C, H, W]."""
        return gait_features(to_level(pixels), self.axes, middle=self.middle)

    def possible(self, features: Features, conditions: Mapping[str, Tensor]) -> NDArray[np.bool_]:
        """Which images can show a walking person who heads in the direction that the conditions imply, bool [N].

        Args:
            features: Features of N images, see `WalkCheck.features`.
            conditions: By name of the condition, its value for each image, int64 [N].
        """
        heading = np.full(len(features["rhythm"]), np.nan)
        # If several conditions imply a direction, the first one counts.
        for name, headings in self.headings.items():
            implied = np.array([headings.get(value, np.nan) for value in conditions[name].tolist()])
            heading = np.where(np.isnan(heading), implied, heading)
        return possible(features, self.limits, heading)
