"""Stored pixels as PIL images and as sheets in a PNG file, painted if they are indices into a colour map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import save_image

from echoform_train.data.colormap import paint


def to_pil_images(pixels: Tensor, colormap: str | None) -> list[Image.Image]:
    """Pixels uint8 [N, C, H, W] as N images, painted with the colour map unless it is None."""
    return [Image.fromarray(image) for image in _painted(pixels, colormap)]


def save_sheet(pixels: Tensor, columns: int, colormap: str | None, path: Path) -> None:
    """Write pixels uint8 [N, C, H, W] as one PNG with `columns` columns and white lines between the images."""
    painted = torch.from_numpy(_painted(pixels, colormap)).permute(0, 3, 1, 2)  # [N, 3, H, W]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(painted / 255, path, nrow=columns, padding=2, pad_value=1.0)


def _painted(pixels: Tensor, colormap: str | None) -> np.ndarray:
    images = pixels.permute(0, 2, 3, 1).numpy()  # [N, H, W, C]
    return images if colormap is None else paint(images[..., 0], colormap)
