"""Changes of a batch of spectrograms that imitate another walk of the same user: other speckle, speed, or receiver.

All take and return what `Augmentation` of scoring/augmentations.py does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SHOWN_DB = 30.0
"""Range of levels that an image is taken to show, decibels; usual for micro-Doppler spectrograms."""
MAX_SPEED_CHANGE = 0.06
"""Largest change of the walking speed, as a share."""
MAX_ASPECT_LOSS = 0.04
"""Largest loss of Doppler by walking at an angle to the radar, as a share: 0.04 is 16 degrees."""
MAX_BURSTS = 2
MAX_BURST_SHARE = 0.06
"""Longest burst, as a share of the width."""
MAX_FLOOR = 0.25
"""Highest threshold of a receiver above the floor of the colour scale, as a share of the shown range."""


def new_speckle(image: Tensor, generator: torch.Generator) -> Tensor:
    """Replace the speckle: power is averaged over five columns and multiplied by exponential noise, as of one look.

    Speckle of many scatterers in one pixel has exponentially distributed power (Goodman, Journal of the Optical
    Society of America 66 (1976), equation 8). Half of the images keep their own.
    """
    power = 10 ** (SHOWN_DB / 10 * (image + 1) / 2)
    # Over time only: a mean over Doppler would move lines.
    level = F.avg_pool2d(F.pad(power, (2, 2, 0, 0), mode="replicate"), (1, 5), stride=1)
    noise = -torch.log1p(-torch.rand(image.shape, generator=generator))
    changed = 2 * 10 / SHOWN_DB * torch.log10((level * noise).clamp(min=1.0)) - 1
    # The floor is where a receiver shows nothing, so no speckle appears on it.
    changed = torch.where(level <= power.amin(dim=(2, 3), keepdim=True) * 1.01, image, changed).clamp(-1, 1)
    return torch.where(_half(image, generator), changed, image)


def other_speed(image: Tensor, generator: torch.Generator) -> Tensor:
    """Let the user walk up to 6 % faster or slower, and up to 16 degrees off the line of sight.

    A faster walk has higher Doppler and a shorter cycle, so both axes are scaled together; the angle scales Doppler
    only. Zero Doppler is taken to lie in the middle of the image. Time that is missing at an end is mirrored, Doppler
    that is missing is the floor of the colour scale.
    """
    batch = len(image)
    speed = 1 + MAX_SPEED_CHANGE * (2 * torch.rand(batch, generator=generator) - 1)
    doppler = speed * (1 - MAX_ASPECT_LOSS * torch.rand(batch, generator=generator))
    scale = torch.zeros(batch, 2, 3)
    # The grid names the place that a pixel is read from: for a larger Doppler it lies nearer to the middle.
    scale[:, 0, 0], scale[:, 1, 1] = speed, 1 / doppler
    grid = F.affine_grid(scale, list(image.shape), align_corners=False)
    inside = (grid[..., 1].abs() <= 1)[:, None]
    scaled = F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return scaled.clamp(-1, 1).masked_fill(~inside, -1.0)


def bursts_and_floor(image: Tensor, generator: torch.Generator) -> Tensor:
    """Raise up to two short stretches of columns, as interference does, and cut what lies below a threshold.

    A burst lifts whole columns to at least a level; a receiver with a higher threshold shows the floor of the colour
    scale for everything below it. Half of the images have bursts, and half have a higher threshold.
    """
    batch, width = len(image), image.shape[-1]
    positions = torch.arange(width)
    changed = image
    longest = max(1, math.ceil(MAX_BURST_SHARE * width))
    for _ in range(MAX_BURSTS):
        length = torch.randint(1, longest + 1, (batch, 1), generator=generator)
        start = (torch.rand(batch, 1, generator=generator) * (width - length + 1)).long()
        burst = ((positions >= start) & (positions < start + length))[:, None, None] & _half(image, generator)
        level = (
            -1 + torch.rand(batch, 1, 1, 1, generator=generator) + 0.1 * torch.randn(image.shape, generator=generator)
        )
        changed = torch.where(burst, torch.maximum(changed, level), changed)
    threshold = -1 + 2 * MAX_FLOOR * torch.rand(batch, 1, 1, 1, generator=generator)
    cut = (changed < threshold) & _half(image, generator)
    return changed.masked_fill(cut, -1.0).clamp(-1, 1)


def _half(image: Tensor, generator: torch.Generator) -> Tensor:
    """True for about half of the images, bool [B, 1, 1, 1]."""
    return torch.rand(len(image), 1, 1, 1, generator=generator) < 0.5
