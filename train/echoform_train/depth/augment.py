"""Random changes of depth images in training: rotation, mirroring, zoom, shift and scaling of all depths."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from echoform_train.depth.depth_ae_config import Augmentation


def augment_images(
    units: Tensor,
    generators: Sequence[torch.Generator],
    augmentation: Augmentation,
    depth_range: tuple[float, float],
) -> Tensor:
    """Change each image at random, depending only on its own generator.

    Depths of different pixels are never mixed: pixels move by nearest neighbour, and 0 (no reading) stays 0.

    Args:
        units: Sensor units, float32 [B, 1, H, W] with whole numbers, H = W.
        generators: One CPU generator per image.
        augmentation: What to change, and by how much.
        depth_range: Smallest and largest valid depth, sensor units.

    Returns:
        float32 [B, 1, H, W]; not whole numbers if depths were scaled.
    """
    # Always seven random numbers per image, so that switching one option on does not change the others.
    draws = torch.stack([torch.rand(7, generator=generator) for generator in generators]).double()  # [B, 7]
    signed = 2 * draws - 1
    if augmentation.augment_tilt_deg or augmentation.augment_zoom or augmentation.augment_shift:
        units = _warp(units, signed, augmentation)
    if augmentation.augment_flip:
        units = torch.where((draws[:, 5] < 0.5)[:, None, None, None].to(units.device), units.flip(-1), units)
    if augmentation.augment:
        quarter_turns = (4 * draws[:, 6]).long().tolist()
        units = torch.stack([image.rot90(turns, (-2, -1)) for image, turns in zip(units, quarter_turns, strict=True)])
    if augmentation.augment_depth:
        units = _scale_depths(units, signed[:, 4], augmentation.augment_depth, depth_range)
    return units


def _warp(units: Tensor, signed: Tensor, augmentation: Augmentation) -> Tensor:
    """Rotate, zoom and shift; `signed` [B, 7] are draws in [-1, 1]."""
    angle = signed[:, 0] * math.radians(augmentation.augment_tilt_deg)
    # Symmetric in the logarithm, so that shrinking is as frequent as growing.
    zoom = torch.exp(signed[:, 1] * math.log1p(augmentation.augment_zoom))
    shift = 2 * augmentation.augment_shift * signed[:, 2:4]  # the side has length 2 in grid_sample
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    matrix = torch.stack(
        [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1
    )  # [B, 2, 3]
    grid = F.affine_grid(matrix.to(units), list(units.shape), align_corners=False)
    return F.grid_sample(units, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def _scale_depths(units: Tensor, signed: Tensor, share: float, depth_range: tuple[float, float]) -> Tensor:
    """Multiply the depths of each image by a factor of 1 - share to 1 + share, less if a reading would leave the range.

    `signed` [B] are draws in [-1, 1].
    """
    nearest, farthest = depth_range
    inside = (units >= nearest) & (units <= farthest) & (units > 0)
    smallest = torch.where(inside, units, torch.inf).amin(dim=(1, 2, 3))
    largest = torch.where(inside, units, 0).amax(dim=(1, 2, 3))
    low = torch.clamp(nearest / smallest, min=1 - share, max=1)
    high = torch.clamp(farthest / largest, min=1, max=1 + share)
    position = (signed.to(units) + 1) / 2
    factor = low + (high - low) * position
    return units * factor[:, None, None, None]
