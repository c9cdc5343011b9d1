"""The images of a figure as colours, whatever they are given as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import KDTree
from torch import Tensor

from echoform_train.data.colormap import lookup_table, paint
from echoform_train.engine.errors import UserError

FigureImage: TypeAlias = "Image.Image | NDArray[Any] | Tensor"
"""A PIL image, an array [H, W] or [H, W, C], or a tensor [C, H, W], with C of 1 or 3: uint8, or float in 0..1."""


def table_of(colormap: str | Mapping[str, str]) -> NDArray[np.uint8]:
    """Colours uint8 [256, 3] of a map, by its name or as a pipeline holds it."""
    if isinstance(colormap, str):
        return lookup_table(colormap)
    return np.frombuffer(bytes.fromhex(colormap["rgb_hex"]), dtype=np.uint8).reshape(-1, 3)


def grey_table() -> NDArray[np.uint8]:
    """Greys uint8 [256, 3], from black to white."""
    return np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)


def is_grey(images: Sequence[FigureImage]) -> bool:
    """Whether no image has colours."""
    return all(_pixels(image).ndim == 2 for image in images)


def _pixels(image: FigureImage) -> NDArray[np.uint8]:
    """An image as uint8: indices [H, W], or colours [H, W, 3]."""
    if isinstance(image, Image.Image):
        array = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    elif isinstance(image, Tensor):
        array = image.detach().cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    else:
        array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] != 3):
        raise UserError(f"an image must be [H, W] or have 1 or 3 channels, got {list(array.shape)}")
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating) or not (array.min() >= 0 and array.max() <= 1):
        raise UserError(f"an image must be uint8, or float in 0..1, got {array.dtype} in {array.min()}..{array.max()}")
    return (array * 255).round().astype(np.uint8)


def painted(image: FigureImage, table: NDArray[np.uint8] | None, figure_colormap: str | None) -> NDArray[np.uint8]:
    """An image as RGB uint8 [H, W, 3], in the colours of the figure if it has its own."""
    pixels = _pixels(image)
    if pixels.ndim == 3:
        if figure_colormap is None:
            return pixels
        if table is None:
            raise UserError(f"a figure in {figure_colormap} needs images in the colours of one map, got RGB images")
        pixels = _indices(pixels, table)
    if figure_colormap is not None:
        return paint(pixels, figure_colormap)
    return (grey_table() if table is None else table)[pixels]


def _indices(rgb: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Index of the nearest colour of a map, uint8 [H, W], of colours [H, W, 3]."""
    colors, inverse = np.unique(rgb.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = np.asarray(KDTree(table).query(colors)[1])
    return nearest.astype(np.uint8)[inverse].reshape(rgb.shape[:2])
