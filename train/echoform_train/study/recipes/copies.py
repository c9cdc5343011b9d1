"""Copies of real images that a teacher can label, as a rival of generated images: re-cropped, rolled and mixed."""

from __future__ import annotations

import torch
from torch import Tensor

from echoform_train.data.spectrograms import Spectrograms, to_model, to_pixels
from echoform_train.scoring.augmentations import time_roll
from echoform_train.scoring.classifier_training import shuffled_indices
from echoform_train.study.classifiers.recropping import Strips

MIXED_SHARE = 0.5
"""Share of the copies that are mixed with another one."""


def real_copies(images: Spectrograms, count: int, window_s: float | None, generator: torch.Generator) -> Tensor:
    """Copies uint8 [count, C, H, W] of real images: each is cut anew, if windows overlap, and rolled in time.

    Half of them are then averaged with another copy, of any user, with a weight of 0 to 1.
    """
    strips = Strips(images, window_s, full_size=True)
    order = shuffled_indices(len(images), generator)
    indices = torch.tensor([next(order) for _ in range(count)], dtype=torch.int64)
    pixels = to_model(images.pixels[indices]) if strips.why_none is not None else strips.crop(indices, generator)
    pixels = time_roll(pixels, generator)
    others = pixels[torch.randperm(count, generator=generator)]
    is_mixed = torch.rand(count, generator=generator) < MIXED_SHARE
    weight = torch.where(is_mixed, torch.rand(count, generator=generator), 1.0)[:, None, None, None]
    return to_pixels(weight * pixels + (1 - weight) * others)
