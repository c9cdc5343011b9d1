"""The nearest training images of generated images, which show whether a generator copies its training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from echoform_train.data.spectrograms import Spectrograms, to_model
from echoform_train.scoring.classifier_training import shrink
from echoform_train.scoring.metrics import Nearest, nearest_two

COPY_RATIO = 1 / 3
"""An image is a copy if the distance to its nearest training image is less than this share of the second nearest."""


class Suspect(TypedDict):
    """A generated image that may be a copy of a training image."""

    place: int
    """Index of the generated image."""
    user: str
    """Label of its user."""
    ratio: float
    """Distance to the nearest training image divided by that to the second nearest."""
    nearest: int
    """Index of the nearest training image."""
    second: int
    nearest_file: str


def nearest_training(pixels: Tensor, training: Tensor) -> Nearest:
    """Find the two nearest training images of each image, compared at the size that judges see.

    Args:
        pixels: uint8 [N, C, H, W].
        training: uint8 [M, C, H, W].

    Returns:
        Distances are root mean squared differences in model range, 0..2.
    """
    small, known = (torch.cat([shrink(to_model(part)) for part in each.split(256)]) for each in (pixels, training))
    root = float(np.prod(known.shape[1:])) ** 0.5
    found = nearest_two(small, known)
    return found._replace(distance=found.distance / root)


def copied_share(nearest: Nearest) -> float:
    """Share of copies, 0..1: images whose nearest training image is nearer than COPY_RATIO of the second nearest."""
    return float((nearest.distance[:, 0] < COPY_RATIO * nearest.distance[:, 1]).double().mean())


def most_suspicious(
    nearest: Nearest, users: Tensor, training: Spectrograms, id2label: Mapping[int, str], count: int = 8
) -> list[Suspect]:
    """The images with the smallest ratio of the distances to the nearest and the second nearest training image.

    Args:
        nearest: Result of `nearest_training` for N images.
        users: Users of the N images, int64 [N].
        training: The training images.
        id2label: Labels of the users.
        count: Number of images to return.
    """
    ratios = nearest.distance[:, 0] / nearest.distance[:, 1].clamp(min=1e-12)
    # A copy is much nearer to one training image than to any other; a typical image is about as near to several.
    found: list[Suspect] = []
    for index in ratios.argsort()[:count].tolist():
        first, second = nearest.training_index[index].tolist()
        found.append(
            {
                "place": index,
                "user": id2label[int(users[index])],
                "ratio": float(ratios[index]),
                "nearest": first,
                "second": second,
                "nearest_file": training.files[first],
            }
        )
    return found
