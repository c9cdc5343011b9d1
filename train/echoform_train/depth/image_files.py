"""Reading 16-bit depth files: exact sensor values, checked, and resized to the size of the model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from echoform.pipeline_depth_autoencoder import resize_depth, units_of_image
from echoform_train.data.image_check import BadFile, BadFileError, opened_image, read_file
from echoform_train.data.loading import ContentHashes
from echoform_train.depth.sources import DepthFile
from echoform_train.engine.errors import MissingFileError

MAX_UNITS = 65535
"""Largest value of 16 bits."""


def read_depth(path: str | Path) -> np.ndarray:
    """Read one depth image.

    Args:
        path: PNG or TIFF of 16-bit greyscale, either byte order.

    Returns:
        uint16 [H, W], the sensor's units exactly as stored; 0 means no reading.

    Raises:
        FileNotFoundError: If there is no such file.
        BadFileError: If the file is no 16-bit depth image, see `decode_depth`; it is a ValueError.
    """
    if not Path(path).exists():
        raise MissingFileError(f"there is no file {path}")
    return decode_depth(read_file(Path(path), str(path)), str(path))


def decode_depth(data: bytes, file: str) -> np.ndarray:
    """Decode one depth image without changing its values.

    Args:
        data: Content of the file.
        file: Name of the file, for the error message.

    Returns:
        uint16 [H, W], the sensor's units exactly as stored; 0 means no reading.

    Raises:
        BadFileError: If the file is truncated, is neither PNG nor TIFF or has more than MAX_PIXELS, or holds several
            images, colours, 8-bit values, floating-point values, integers that do not fit into 16 bits, or nothing but
            0. It is a ValueError.
    """
    with opened_image(data, file) as image:
        # A rule that the image breaks is not a damage of the file.
        try:
            pixels = units_of_image(image)
        except ValueError as error:
            raise BadFileError(BadFile(file, str(error))) from error
    if pixels.dtype.kind == "f":
        raise BadFileError(BadFile(file, "depth must be whole units of 16 bits, it is floating point (mode F)"))
    if pixels.min() < 0 or pixels.max() > MAX_UNITS:
        span = f"{pixels.min()}..{pixels.max()}"
        raise BadFileError(BadFile(file, f"depth must be whole units in 0..65535, it holds {span}"))
    if pixels.max() == 0:
        raise BadFileError(BadFile(file, "a depth image must have a reading, it is 0 everywhere"))
    return pixels.astype(np.uint16, copy=False)


@dataclass(frozen=True)
class ReadImage:
    """One depth image at the size of the model, and the smallest and largest reading of its file."""

    units: np.ndarray
    """uint16 [1, H, W], sensor units; 0 means no reading."""
    low: int
    """Smallest reading of the file."""
    high: int
    """Largest reading of the file."""


@dataclass(frozen=True)
class DepthReader:
    """Reads depth files as images of one size, in which every pixel without a reading is 0."""

    invalid: frozenset[int]
    """Sensor values that mean no reading."""
    resolution: int
    """Height and width of the images, pixels."""
    hashes: ContentHashes = field(default_factory=ContentHashes)
    """Hashes of the files that were read."""

    def read(self, file: DepthFile) -> ReadImage:
        """Read and resize one file.

        Raises:
            BadFileError: If the file is no 16-bit depth image, or has no reading.
        """
        units = self._decode(file)
        readings = units[units != 0]
        if readings.size == 0:
            values = ", ".join(map(str, sorted(self.invalid)))
            raise BadFileError(BadFile(file.file, f"a depth image must have a reading, it holds only {values}"))
        return ReadImage(self._resize(units), int(readings.min()), int(readings.max()))

    def erase_out_of_range(
        self, files: Sequence[DepthFile], images: Sequence[ReadImage], low: int, high: int
    ) -> list[int]:
        """Set readings outside low..high to 0 in place. Affected files are read again, so that it precedes resizing.

        Returns:
            Number of erased readings of each affected file, counted before resizing.
        """
        affected = [
            (file, image) for file, image in zip(files, images, strict=True) if image.low < low or image.high > high
        ]

        def erase(pair: tuple[DepthFile, ReadImage]) -> int:
            file, image = pair
            units = self._decode(file)
            outside = (units != 0) & ((units < low) | (units > high))
            units[outside] = 0
            image.units[:] = self._resize(units)
            return int(outside.sum())

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            return list(pool.map(erase, affected))

    def _decode(self, file: DepthFile) -> np.ndarray:
        units = decode_depth(self.hashes.read(file), file.file)
        for value in self.invalid - {0}:
            units[units == value] = 0
        return units

    def _resize(self, units: np.ndarray) -> np.ndarray:
        size = (self.resolution, self.resolution)
        resized = resize_depth(torch.from_numpy(units.astype(np.float32))[None, None], size)
        return resized[0].round().to(torch.int32).numpy().astype(np.uint16)
