"""Teachers: classifiers of both families, each trained without a part of the real images, that label other images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from echoform_train.data.spectrograms import Spectrograms
from echoform_train.engine.seeds import mix_seed
from echoform_train.scoring.classifier_training import logits_of
from echoform_train.study.classifiers.augmentations import recipe
from echoform_train.study.classifiers.recropping import Strips
from echoform_train.study.classifiers.training import train_classifier

PARTS = 3
"""Parts of the real images, of which each is left out once; fewer where a user has fewer images."""


@dataclass(frozen=True)
class Teachers:
    """Trained teachers; their labels are shares of users float32 [N, U], the mean of their probabilities."""

    part_of_image: Tensor
    """Part of each real image, int64 [M]."""
    without: list[list[nn.Module]]
    """For each part, the teachers of all families that did not see it."""

    def label(self, pixels: Tensor) -> Tensor:
        """Labels by all teachers of images uint8 [N, C, H, W] that none of them saw."""
        return torch.stack([self.label_of_part(pixels, part) for part in range(len(self.without))]).mean(0)

    def label_of_part(self, pixels: Tensor, part: int) -> Tensor:
        """Labels of images that were made of real ones of one part, by the teachers that did not see it."""
        return torch.stack([logits_of(each, pixels).softmax(1) for each in self.without[part]]).mean(0)


def train_teachers(
    images: Spectrograms,
    num_users: int,
    augmentations: Mapping[str, str],
    *,
    window_s: float | None,
    train_images: int,
    seed: int,
    device: str,
) -> Teachers:
    """Train a teacher of each family without each part of the images.

    Args:
        images: Real images, at least 2 per user.
        num_users: Number of users.
        augmentations: Classical augmentation by family.
        window_s: Length of one image, seconds, for re-cropping; None if it is unknown.
        train_images: Real images that each teacher sees in training.
        seed: Seed of the trainings.
        device: Where they are trained.
    """
    part_of_image = parts_of(images, PARTS)
    without = []
    for part in range(int(part_of_image.max()) + 1):
        seen = images.select((part_of_image != part).nonzero()[:, 0])
        strips = Strips(seen, window_s)
        without.append(
            [
                train_classifier(
                    family,
                    (seen.pixels, seen.users),
                    num_users,
                    seed=mix_seed(seed, part),
                    recipe=recipe(augmentation, strips),
                    train_images=train_images,
                    device=device,
                )
                for family, augmentation in augmentations.items()
            ]
        )
    return Teachers(part_of_image, without)


def parts_of(images: Spectrograms, count: int) -> Tensor:
    """Part of each image, int64 [N]: the images of each user, in order of time, are cut into stretches of equal length.

    Neighbouring windows, which may overlap, so come into one part wherever that is possible. Every part lacks no user:
    where a user has fewer images than `count`, there are fewer parts.
    """
    count = min(count, int(torch.bincount(images.users)[images.users.unique()].min()))
    starts = images.starts_s if images.starts_windows is None else images.starts_windows
    part = torch.empty(len(images), dtype=torch.int64)
    for user in images.users.unique().tolist():
        ours = (images.users == user).nonzero()[:, 0].tolist()
        ours.sort(key=lambda index: (images.recordings[index] or "", starts[index] or 0.0, images.files[index]))
        for place, index in enumerate(ours):
            part[index] = place * count // len(ours)
    return part
