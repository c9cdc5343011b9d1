"""Spectrograms of a file or a folder that a pipeline varies or learns from, read as its training data were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from echoform_train.data.colormap import COLORMAPS, MAX_RESIDUAL, detect
from echoform_train.data.dataset import kind_of_files
from echoform_train.data.image_check import decode_image, read_file, refuse
from echoform_train.data.layout import ARRAYS, IMAGES, ImageFile
from echoform_train.data.metadata import read_axes
from echoform_train.data.pixels import Pixels, read_pixels
from echoform_train.data.reading import ReadingConfig
from echoform_train.data.walk import find_files
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import AXES
from echoform_train.engine.resolution import resolution_of, shown_size
from echoform_train.latent_diffusion.first_stage import downsampling

_ASPECT = 0.05
"""Relative difference of the ratio of height to width above which an image shows another part of time or Doppler."""
_LEVELS = 4
"""Folders in which axes.json is looked for: the source, and those above it, as users and conditions have folders."""
_NOT_OF_ONE_IMAGE = frozenset(("hop_s", "native_bins", "native_columns"))
"""Axes that tell of the windows of a recording, or of the grid before resizing."""
_SAME = 1e-6
"""Relative difference of two axes that are equal but for rounding."""


@dataclass(frozen=True)
class Purpose:
    """Words for messages."""

    images: str = "images to vary"
    flag: str = "--image"


@dataclass(frozen=True)
class VariedImages:
    """Images to make variations of, or to learn from."""

    files: tuple[str, ...]
    """Path of each inside the folder."""
    names: tuple[str, ...]
    """Path of each inside the folder, without the ending: what metadata.jsonl calls the recording of a variation."""
    pixels: Tensor
    """uint8 [N, C, H, W] at the size of the pipeline: indices into its colour map, or RGB."""
    colormap: str | None
    """Colour map whose indices the pixels are; None for RGB."""
    residual: float
    """Mean distance to the colour map, RGB units."""
    sha256: str
    """Hash of the names and the content of the files."""
    reading: str
    """How the files were read, if not as they are."""
    notes: tuple[str, ...]
    """What was found in the files, as lines of text."""

    def image(self, index: int) -> Tensor:
        """An image as the pipeline takes it, float32 [C, H, W] in 0..1."""
        return self.pixels[index].float() / 255


def read_varied_images(
    source: Path, pipeline: Any, reading: ReadingConfig, usual_residual: float = 0.0, purpose: Purpose = Purpose()
) -> VariedImages:
    """Read the images of a file or a folder as the pipeline's training images were: one scalar, or RGB, at its size.

    Args:
        source: A file, or a folder with files at any depth.
        pipeline: A `VQLDMDopplerPipeline`.
        reading: How the files are read.
        usual_residual: Mean distance of the training images from the colour map, RGB units; that of JPEG is large.
        purpose: What the images are for, in messages.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        UserError: If a file cannot be used, is not in the colours of the pipeline, is smaller than its images or of
            another shape, has axes or a rim, or axes.json of the folder has other axes than the pipeline.
    """
    reading.check()
    paths = _find(source, reading, purpose)
    axes = pipeline.config["axes"] or {}
    for folder in (source, *source.parents)[:_LEVELS]:
        if (own := read_axes(folder / AXES)) is not None:
            _check_axes(own, axes, str(folder / AXES), purpose)
            break
    _check_colors(paths, source, colormap := _colormap_of(pipeline, purpose), purpose)
    unet, first_stage = pipeline.unet.config.sample_size, pipeline.vqvae.config
    sides = (unet, unet) if isinstance(unet, int) else tuple(unet)
    height, width = (side * downsampling(pipeline.vqvae) for side in sides)
    read = read_pixels(
        [ImageFile(file=name, data=path, user="") for name, path in paths.items()],
        colormap=colormap,
        resolution=resolution_of(height, width),
        reading=reading,
        axes=axes,
    )
    refuse(read.bad_files)
    _check_axes(read.axes or {}, axes, "--db-range", purpose)
    if read.pixels.shape[1] != first_stage.in_channels:
        raise UserError(
            f"{purpose.images} must be in colour, as those of the pipeline, {source} holds grey ones or numbers"
        )
    is_array = any(path.suffix.lower() in ARRAYS.suffixes for path in paths.values())
    if not is_array:  # an array is resized to any shape, as in the training
        _check_shape(read, source, height, width, purpose)
    _check_content(read, source, colormap, usual_residual, purpose)
    return VariedImages(
        files=tuple(image.file for image in read.images),
        names=tuple(PurePosixPath(image.file).with_suffix("").as_posix() for image in read.images),
        pixels=torch.from_numpy(read.pixels),
        colormap=read.colormap,
        residual=read.residual,
        sha256=read.images_sha256,
        reading=read.reading,
        notes=read.notes,
    )


def _find(source: Path, reading: ReadingConfig, purpose: Purpose) -> dict[str, Path]:
    """Files by name, in natural order."""
    if source.is_file():
        known = (*IMAGES.suffixes, *ARRAYS.suffixes)
        if source.suffix.lower() not in known:
            raise UserError(f"{purpose.flag} must be a folder or a file of {', '.join(known)}, got {source}")
        return {source.name: source}
    if not source.is_dir():
        raise MissingFileError(f"{purpose.flag} must be a file or a folder, there is no {source}")
    kind = kind_of_files(source, reading)
    if not (paths := find_files(source, kind.suffixes)):
        raise UserError(f"{purpose.flag} must be a folder of {', '.join(kind.suffixes)}, {source} holds none")
    stems = {PurePosixPath(name).with_suffix("").as_posix(): name for name in paths}
    if len(stems) < len(paths):
        twice = next(name for name in paths if name not in stems.values())
        raise UserError(
            f"files of {purpose.flag} must differ in more than their ending, {source} holds {twice} and another"
        )
    return paths


def _check_axes(own: Mapping[str, float], axes: Mapping[str, float], where: str, purpose: Purpose) -> None:
    """Refuse images whose axes are not those of the pipeline."""
    for name in sorted((own.keys() & axes.keys()) - _NOT_OF_ONE_IMAGE):
        if abs(own[name] - axes[name]) > _SAME * max(abs(own[name]), abs(axes[name])):
            raise UserError(
                f"{purpose.images} must have the axes of the pipeline, {name} {axes[name]:g}; {where} has {own[name]:g}"
            )


def _colormap_of(pipeline: Any, purpose: Purpose) -> str:
    """Colour map of the pipeline, as `read_pixels` takes it."""
    if pipeline.vqvae.config.in_channels != 1:
        return "none"
    name = (pipeline.config["colormap"] or {"name": "gray"})["name"]
    if name not in COLORMAPS:
        raise UserError(
            f"{purpose.flag} needs a pipeline with a known colour map ({', '.join(COLORMAPS)}), it has {name}"
        )
    return name


def _check_colors(paths: Mapping[str, Path], source: Path, colormap: str, purpose: Purpose) -> None:
    """Refuse pictures that are plainly painted with another colour map, before they are read as if in this one."""
    name, path = next(iter(paths.items()))
    if colormap == "none" or path.suffix.lower() in ARRAYS.suffixes:
        return
    decoded = decode_image(read_file(path, name), name, numbers=True)
    if decoded.dtype != np.uint8:
        return
    found = "gray" if decoded.ndim == 2 else detect(decoded).name
    if found not in (None, colormap):
        raise UserError(
            f"{purpose.images} must be painted with {colormap}, the colour map of the pipeline; {source} is painted "
            f"with {found}"
        )


def _check_shape(read: Pixels, source: Path, height: int, width: int, purpose: Purpose) -> None:
    """Refuse pictures that are smaller than those of the pipeline, or of another shape."""
    native_height, native_width = read.native_size
    is_smaller = native_height < height or native_width < width
    if is_smaller or abs(native_height * width / (native_width * height) - 1) > _ASPECT:
        raise UserError(
            f"{purpose.images} must have the size of those of the pipeline, {shown_size(height, width)}, or the same "
            f"shape at a larger size; {source} has {shown_size(native_height, native_width)}"
        )


def _check_content(read: Pixels, source: Path, colormap: str, usual_residual: float, purpose: Purpose) -> None:
    """Refuse images in other colours, and images of one colour."""
    limit = max(MAX_RESIDUAL, (3 if usual_residual <= MAX_RESIDUAL else 2) * usual_residual)
    if colormap not in ("none", "gray") and read.residual > limit:
        raise UserError(
            f"{purpose.images} must be painted with {colormap}, the colour map of the pipeline; the colours of "
            f"{source} are {read.residual:.0f} RGB units from it"
        )
    flat = read.pixels.reshape(len(read.pixels), -1)
    if (equal := (flat == flat[:, :1]).all(1)).any():
        name = read.images[int(equal.argmax())].file
        raise UserError(f"{purpose.images} must show a spectrogram, all pixels of {name} are equal")
