"""Changes of a batch of spectrograms that keep the user: the parts of classical augmentation, without a generator.

None stretches or flips along frequency, because stretching would change the walking speed, and flipping the walking
direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""Takes a batch float32 [B, C, H, W] in [-1, 1], where -1 is the floor of the colour scale, and a CPU generator.
Returns a new batch of the same shape and range, with independent random changes per image."""

GAIN_DEVIATION = 0.1
OFFSET_DEVIATION = 0.05
MAX_NOISE = 0.05
MAX_MASKED_SHARE = 0.15
"""Longest mask of SpecAugment, as a share of the axis."""


def time_roll(image: Tensor, generator: torch.Generator) -> Tensor:
    """Roll each image by a random number of columns, because a steady walk can start anywhere in its cycle."""
    batch, _, _, width = image.shape
    shift = torch.randint(width, (batch, 1), generator=generator)
    columns = (torch.arange(width) + shift) % width  # [B, W]
    return image.gather(3, columns[:, None, None].expand_as(image))


def gain(image: Tensor, generator: torch.Generator) -> Tensor:
    """Scale the values above the floor by 1 +- 0.1, as another range or radar cross-section would."""
    return ((image + 1) * (1 + GAIN_DEVIATION * _normal_per_image(image, generator)) - 1).clamp(-1, 1)


def noise_floor(image: Tensor, generator: torch.Generator) -> Tensor:
    """Add to each image an offset (deviation 0.05) and white noise (deviation up to 0.05)."""
    deviation = MAX_NOISE * torch.rand(len(image), 1, 1, 1, generator=generator)
    noise = deviation * torch.randn(image.shape, generator=generator)
    return (image + OFFSET_DEVIATION * _normal_per_image(image, generator) + noise).clamp(-1, 1)


def spec_augment(image: Tensor, generator: torch.Generator) -> Tensor:
    """Mask one stretch of time and one of frequency, each up to 15 % of its axis.

    Masked pixels get the floor of the colour scale. Source: SpecAugment (Park et al., Interspeech 2019, section 2),
    without its time warping, which would change the cadence.
    """
    height, width = image.shape[-2:]
    rows = _mask(len(image), height, generator)[:, None, :, None]
    columns = _mask(len(image), width, generator)[:, None, None, :]
    return image.masked_fill(rows | columns, -1.0)


AUGMENTATIONS: dict[str, Augmentation] = {
    "time roll": time_roll,
    "gain": gain,
    "noise floor": noise_floor,
    "SpecAugment": spec_augment,
}
"""Augmentations that need only the batch, by name."""


def chain(augmentations: Sequence[Augmentation]) -> Augmentation:
    """One augmentation that applies all given ones in order."""

    def apply(image: Tensor, generator: torch.Generator) -> Tensor:
        for augmentation in augmentations:
            image = augmentation(image, generator)
        return image

    return apply


def _normal_per_image(image: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(len(image), 1, 1, 1, generator=generator)


def _mask(batch: int, length: int, generator: torch.Generator) -> Tensor:
    """True inside the mask of an axis, bool [B, length]."""
    size = torch.randint(int(MAX_MASKED_SHARE * length) + 1, (batch, 1), generator=generator)
    start = (torch.rand(batch, 1, generator=generator) * (length - size + 1)).long()
    positions = torch.arange(length)
    return (positions >= start) & (positions < start + size)
