"""Mixing of two images of a batch and of their users: mixup, and CutMix along time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Mixing = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""Takes a batch float32 [B, C, H, W] in [-1, 1], shares of its users float32 [B, U], which add up to 1 per image, and
a CPU generator. Returns mixed images and their shares."""

MIXUP_ALPHA = 0.4
"""Parameter of the beta distribution that weights of mixup are drawn from; small values mix little."""


def mixup(image: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Average each image and its users with those of another image, with a weight from a beta distribution.

    Source: Zhang et al., mixup (ICLR 2018), equation 1.
    """
    order = torch.randperm(len(image), generator=generator)
    weight = _beta(len(image), MIXUP_ALPHA, generator)
    pixels = weight[:, None, None, None]
    mixed = pixels * image + (1 - pixels) * image[order]
    return mixed, weight[:, None] * shares + (1 - weight[:, None]) * shares[order]


def cutmix_in_time(image: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace a stretch of columns by those of another image; users are mixed by the share of columns.

    Whole columns are replaced, because a column is the spectrum of one moment. Half of the images stay as they are.
    Source: Yun et al., CutMix (ICCV 2019), equations 1 and 2, with a stretch of time instead of a rectangle.
    """
    batch, width = len(image), image.shape[-1]
    order = torch.randperm(batch, generator=generator)
    length = torch.randint(width + 1, (batch, 1), generator=generator)
    length = torch.where(torch.rand(batch, 1, generator=generator) < 0.5, length, 0)
    start = (torch.rand(batch, 1, generator=generator) * (width - length + 1)).long()
    columns = torch.arange(width)
    replaced = (columns >= start) & (columns < start + length)  # [B, W]
    kept = 1 - length / width
    mixed = torch.where(replaced[:, None, None], image[order], image)
    return mixed, kept * shares + (1 - kept) * shares[order]


def _beta(count: int, alpha: float, generator: torch.Generator) -> Tensor:
    """Values of the symmetric beta distribution, float32 [count]; by rejection (Joehnk 1964), quick if alpha < 1."""
    values: list[float] = []
    while len(values) < count:
        first, second = (torch.rand(2, generator=generator) ** (1 / alpha)).tolist()
        if 0 < first + second <= 1:
            values.append(first / (first + second))
    return torch.tensor(values)
