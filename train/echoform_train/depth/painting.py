"""Depth images as coloured pixels, and sheets of them as PNG files."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor
from torchvision.utils import save_image


def paint_depth(depth: Tensor, valid: Tensor) -> Tensor:
    """Colour depth images: near is dark violet, far is yellow, no reading is black.

    Args:
        depth: float [N, 1, H, W], model range [-1, 1]; values outside it are clipped.
        valid: Where there is a reading, bool or 0/1 [N, 1, H, W].

    Returns:
        uint8 [N, 3, H, W].
    """
    return _paint(((depth + 1) / 2), valid, "viridis")


def save_sheet(rows: list[Tensor], path: Path) -> None:
    """Write rows of images, each uint8 [N, 3, H, W] with the same N, as one PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(torch.cat(rows).float() / 255, path, nrow=len(rows[0]), padding=2, pad_value=1.0)


def _paint(share: Tensor, valid: Tensor, colormap: str) -> Tensor:
    colours = matplotlib.colormaps[colormap](share[:, 0].clamp(0, 1).cpu().double().numpy(), bytes=True)[..., :3]
    painted = np.where(valid[:, 0].bool().cpu().numpy()[..., None], colours, np.zeros_like(colours))
    return torch.from_numpy(painted).permute(0, 3, 1, 2)
