"""Reading depth files: exact units of 16 bits, checked, and resized to the size of the model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from echoform.depth_units import decoded_units, resize_depth
from echoform_train.data.image_check import BadFile, BadFileError, read_file
from echoform_train.data.loading import ContentHashes
from echoform_train.depth.sensors import Reading
from echoform_train.depth.sources import DepthFile
from echoform_train.depth.statistics import DepthStatistics
from echoform_train.depth.stored_files import stored_numbers
from echoform_train.engine.errors import MissingFileError

MAX_UNITS = 65535
"""Largest value of 16 bits."""


def read_depth(path: str | Path, reading: Reading | None = None, mat_variable: str | None = None) -> np.ndarray:
    """Read one depth image.

    Args:
        path: File of one of DEPTH_SUFFIXES, such as PNG or TIFF of 16-bit greyscale in either byte order.
        reading: How its numbers become units; None: they are units.
        mat_variable: Variable of a `.mat` file; None takes the only one of an image.

    Returns:
        uint16 [H, W], the sensor's units; 0 means no reading.

    Raises:
        FileNotFoundError: If there is no such file.
        BadFileError: If the file is no 16-bit depth image, see `decode_depth`; it is a ValueError.
    """
    if not Path(path).exists():
        raise MissingFileError(f"there is no file {path}")
    data = read_file(Path(path), str(path))
    return decode_depth(data, str(path), reading, path=Path(path), mat_variable=mat_variable)


def decode_depth(
    data: bytes,
    file: str,
    reading: Reading | None = None,
    *,
    path: Path | None = None,
    mat_variable: str | None = None,
) -> np.ndarray:
    """Decode one depth image; whole units keep their values.

    Args:
        data: Content of the file.
        file: Name of the file, for the error message.
        reading: How its numbers become units; None: they are units.
        path: The file; None if there is only its content, which then must be PNG or TIFF.
        mat_variable: Variable of a `.mat` file; None takes the only one of an image.

    Returns:
        uint16 [H, W], the sensor's units; 0 means no reading, and floating point beyond 16 bits is none.

    Raises:
        BadFileError: If the file is truncated, is of no known kind or has more than MAX_PIXELS, or holds several
            images, colours, 8-bit values, floating-point values without a unit or that lose more than 1 % by rounding,
            integers that do not fit into 16 bits, or nothing but 0. It is a ValueError.
    """
    numbers = stored_numbers(data, file, path=path, mat_variable=mat_variable)
    units = units_of_numbers(numbers, file, reading or Reading())
    if units.max() == 0:
        raise BadFileError(BadFile(file, "a depth image must have a reading, it is 0 everywhere"))
    return units


def units_of_numbers(numbers: np.ndarray, file: str, reading: Reading) -> np.ndarray:
    """Units, uint16 [H, W], of the numbers that a file stores; arguments, errors and what is none as `decode_depth`."""
    if numbers.dtype.kind == "f":
        if reading.float_unit is None:
            reason = "depth must be whole units of 16 bits, it is floating point (mode F); --float-unit names its unit"
            raise BadFileError(BadFile(file, reason))
    elif numbers.min() < 0 or numbers.max() > MAX_UNITS:
        span = f"{numbers.min()}..{numbers.max()}"
        raise BadFileError(BadFile(file, f"depth must be whole units in 0..65535, it holds {span}"))
    elif reading.encoding == "linear":
        return numbers.astype(np.uint16, copy=False)
    try:
        units = decoded_units(numbers, reading.facts())
    except ValueError as error:
        raise BadFileError(BadFile(file, f"{error} (--float-unit, --units-per-mm, --sensor)")) from error
    beyond = units > MAX_UNITS
    if beyond.any() and not (units[~beyond] != 0).any():
        limit_m = MAX_UNITS / reading.units_per_mm / 1000
        nearest_m = units[beyond].min() / MAX_UNITS * limit_m
        reason = f"depth must fit 16 bits, up to {limit_m:g} m, it starts at {nearest_m:g} m"
        raise BadFileError(BadFile(file, f"{reason} (--float-unit, --units-per-mm)"))
    return np.where(beyond, 0, units).astype(np.uint16)


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

    reading: Reading
    """How the numbers of the files become units."""
    resolution: int
    """Height and width of the images, pixels."""
    mat_variable: str | None = None
    """Variable of `.mat` files; None takes the only one of an image."""
    hashes: ContentHashes = field(default_factory=ContentHashes)
    """Hashes of the files that were read."""
    statistics: DepthStatistics = field(default_factory=DepthStatistics)
    """Counts of the readings of the files that were read."""

    def read(self, file: DepthFile) -> ReadImage:
        """Read and resize one file.

        Raises:
            BadFileError: If the file is no 16-bit depth image, or has no reading.
        """
        units = self._decode(file)
        readings = units[units != 0]
        if readings.size == 0:
            values = ", ".join(map(str, sorted(map(int, self.reading.invalid_values))))
            raise BadFileError(BadFile(file.file, f"a depth image must have a reading, it holds only {values}"))
        self.statistics.add(units)
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
        path = file.data if isinstance(file.data, Path) else None
        content = self.hashes.read(file)
        units = decode_depth(content, file.file, self.reading, path=path, mat_variable=self.mat_variable)
        return without_invalid(units, self.reading)

    def _resize(self, units: np.ndarray) -> np.ndarray:
        size = (self.resolution, self.resolution)
        numbers = torch.from_numpy(units.astype(np.float32))[None, None]
        resized = resize_depth(numbers, size, self.reading.resize_rule)
        return resized[0].round().to(torch.int32).numpy().astype(np.uint16)


def without_invalid(units: np.ndarray, reading: Reading) -> np.ndarray:
    """The same units with 0 in place of the values that mean no reading; changed in place where that is possible."""
    units = units if units.flags.writeable else units.copy()
    for value in {int(value) for value in reading.invalid_values} - {0}:
        units[units == value] = 0
    return units
