"""Changes of a depth image that another placing of the camera or of the scene could have made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far images are changed in training; the default changes nothing."""

    augment: bool = False
    """Turn by 0, 90, 180 or 270 degrees. Off by default: where gravity matters, no camera hangs upside down."""
    augment_flip: bool = False
    """Mirror left and right in half of the cases."""
    augment_tilt_deg: float = 0.0
    """Turn by up to so many degrees, either way."""
    augment_zoom: float = 0.0
    """Change the focal length by up to this share, either way."""
    augment_shift: float = 0.0
    """Move the picture by up to this share of its side, either way; what comes into view has no reading."""
    augment_depth: float = 0.0
    """Scale all depths by up to this share, either way, as a scene scaled as a whole would be; never out of range."""

    def __post_init__(self) -> None:
        for name in ("augment_zoom", "augment_shift", "augment_depth"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be a share in [0, 1), got {share}")
        if not 0 <= self.augment_tilt_deg <= 180:
            raise ValueError(f"--augment-tilt-deg must lie in 0..180, got {self.augment_tilt_deg}")

    @property
    def any(self) -> bool:
        """Whether anything is changed."""
        return self != Augmentation()


def augmented(
    units: Tensor,
    generators: Sequence[torch.Generator],
    change: Augmentation,
    depth_range: tuple[float, float],
) -> Tensor:
    """Images changed at random, each by its own generator alone.

    No two depths are ever mixed: pixels move by nearest neighbour, and 0 (no reading) stays 0.

    Args:
        units: Sensor units, float32 [B, 1, H, W] with whole numbers, H = W.
        generators: B CPU generators.
        change: How far.
        depth_range: Nearest and farthest valid depth, sensor units.

    Returns:
        The same shape; not rounded where depths were scaled.
    """
    # Always the same number of draws: turning one option on leaves the draws of the others as they were.
    draws = torch.stack([torch.rand(7, generator=generator) for generator in generators]).double()  # [B, 7]
    signed = 2 * draws - 1
    if change.augment_tilt_deg or change.augment_zoom or change.augment_shift:
        units = _warped(units, signed, change)
    if change.augment_flip:
        units = torch.where((draws[:, 5] < 0.5)[:, None, None, None].to(units.device), units.flip(-1), units)
    if change.augment:
        turns = (4 * draws[:, 6]).long().tolist()
        units = torch.stack([image.rot90(turn, (-2, -1)) for image, turn in zip(units, turns, strict=True)])
    if change.augment_depth:
        units = _scaled(units, signed[:, 4], change.augment_depth, depth_range)
    return units


def _warped(units: Tensor, signed: Tensor, change: Augmentation) -> Tensor:
    angle = signed[:, 0] * math.radians(change.augment_tilt_deg)
    # Symmetric in the logarithm: as many pictures shrink as grow.
    zoom = torch.exp(signed[:, 1] * math.log1p(change.augment_zoom))
    shift = 2 * change.augment_shift * signed[:, 2:4]  # grid_sample counts the side as 2
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    matrix = torch.stack(
        [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1
    )  # [B, 2, 3]
    grid = F.affine_grid(matrix.to(units), list(units.shape), align_corners=False)
    return F.grid_sample(units, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def _scaled(units: Tensor, signed: Tensor, share: float, depth_range: tuple[float, float]) -> Tensor:
    """Depths times a factor between 1 - share and 1 + share, cut so that none that is in range leaves it."""
    nearest, farthest = depth_range
    inside = (units >= nearest) & (units <= farthest) & (units > 0)
    least = torch.where(inside, units, torch.inf).amin(dim=(1, 2, 3))
    most = torch.where(inside, units, 0).amax(dim=(1, 2, 3))
    low = torch.clamp(nearest / least, min=1 - share, max=1)
    high = torch.clamp(farthest / most, min=1, max=1 + share)
    place = (signed.to(units) + 1) / 2
    factor = low + (high - low) * place
    return units * factor[:, None, None, None]
