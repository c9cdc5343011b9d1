"""Flags that name images of any kind, and how they are split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Color = Literal["auto", "rgb", "grey"]


@dataclass(frozen=True, kw_only=True)
class ImageSourceConfig:
    """Which images to read, and how to split them."""

    data: Annotated[str, tyro.conf.arg(aliases=["--dataset-name"])]
    """Folder of images in any subfolders, or the id of a data set on the Hub: user/name, user/name@revision."""
    split_file: Path | None = None
    """File of an existing split to use. Default: split.json in the output folder of the training, which each training
    writes."""
    validation_share: float = 0.15
    """Share of the images for validation."""
    test_share: float = 0.2
    """Share of the images for the test."""
    gap_images: int = 2
    """Images left out at each cut through a folder, or through a recording whose window length is unknown."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig(ImageSourceConfig):
    """Which images to read, how to split them, and what the model sees of them."""

    resolution: int = 224
    """Height and width in pixels: images are cut to a square around their centre and resized."""
    color: Color = "auto"
    """auto: grey if every file is grey, else RGB; rgb: grey is repeated three times; grey: the luminance of colours."""
