"""Pixels as pictures, painted where the data were."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from echoform_train.data.colormap import paint


def to_pictures(pixels: Tensor, colormap: str | None) -> list[Image.Image]:
    """Pixels uint8 [N, C, H, W] as N pictures, painted with the colour map unless it is None."""
    images = pixels.permute(0, 2, 3, 1).numpy()  # [N, H, W, C]
    if colormap is not None:
        images = paint(images[..., 0], colormap)
    return [Image.fromarray(image) for image in images]


def save_sheet(pixels: Tensor, columns: int, colormap: str | None, path: Path) -> None:
    """Write uint8 [N, C, H, W] as one PNG of `columns` columns, on white."""
    channels_first = make_grid(pixels, nrow=columns, padding=2, pad_value=255)
    path.parent.mkdir(parents=True, exist_ok=True)
    to_pictures(channels_first[: 1 if colormap else 3][None], colormap)[0].save(path)
