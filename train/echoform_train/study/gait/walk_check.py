"""What the real images at hand tell of walking, and which other images can show a walk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from echoform_train.data.spectrograms import Spectrograms
from echoform_train.radar.gait_features import Middle, gait_features, middle_of, to_level
from echoform_train.study.gait.limits import Features, Limit, learn_headings, learn_limits, possible


@dataclass(frozen=True, kw_only=True)
class Walks:
    """Limits of a walk's features and the ways of its conditions, as some real images show them."""

    axes: Mapping[str, float] | None
    middle: Middle
    limits: Mapping[str, Limit]
    headings: Mapping[str, Mapping[int, float]]
    """Of each condition, of each of its values: 1 towards the radar, -1 away, NaN where both occur."""

    @classmethod
    def learn(cls, images: Spectrograms, axes: Mapping[str, float] | None) -> Walks:
        """Learn from real images; nothing else is known of them but `axes`, see `gait_features`.

        Raises:
            ValueError: If there are fewer than 5 images, or a torso is seen in none of them.
        """
        middle = middle_of(to_level(images.pixels))
        features = gait_features(to_level(images.pixels), axes, middle=middle)
        headings = {name: learn_headings(features, values) for name, values in images.conditions.items()}
        return cls(axes=axes, middle=middle, limits=learn_limits(features), headings=headings)

    def features(self, pixels: Tensor) -> Features:
        """Features of other images of the same kind, uint8 [N, C, H, W]."""
        return gait_features(to_level(pixels), self.axes, middle=self.middle)

    def possible(self, features: Features, conditions: Mapping[str, Tensor]) -> NDArray[np.bool_]:
        """Which images a walker can have made who heads where the conditions, int64 [N] each, tell him to; [N]."""
        heading = np.full(len(features["rhythm"]), np.nan)
        for name, headings in self.headings.items():  # the first condition that tells a way
            of_condition = np.array([headings.get(value, np.nan) for value in conditions[name].tolist()])
            heading = np.where(np.isnan(heading), of_condition, heading)
        return possible(features, self.limits, heading)
