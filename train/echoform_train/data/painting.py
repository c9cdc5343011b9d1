"""Stored pixels as PIL images, painted if they are indices into a colour map."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from echoform_train.data.colormap import paint


def to_pil_images(pixels: Tensor, colormap: str | None) -> list[Image.Image]:
    """Pixels uint8 [N, C, H, W] as N images, painted with the colour map unless it is None."""
    images = pixels.permute(0, 2, 3, 1).numpy()  # [N, H, W, C]
    return [Image.fromarray(image) for image in (images if colormap is None else paint(images[..., 0], colormap))]
