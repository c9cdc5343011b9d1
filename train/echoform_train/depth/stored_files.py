"""Depth files of every kind as the numbers that they store: PNG, TIFF, NumPy, MATLAB, 16-bit PGM and OpenEXR."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from echoform.depth_units import MAX_PIXELS, units_of_image
from echoform_train.data.image_check import BadFile, BadFileError, opened_image
from echoform_train.engine.array_files import read_array
from echoform_train.engine.errors import UserError
from echoform_train.engine.extras import MissingPackageError, needs_extra

IMAGE_SUFFIXES = (".png", ".tif", ".tiff")
DEPTH_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".pgm", ".exr", ".mat")

_PGM_NUMBER = re.compile(rb"(?:#[^\n]*\n|\s)*(\d{1,6})")
_DEPTH_CHANNELS = ("Z", "Y", "V", "depth")


def stored_numbers(data: bytes, file: str, *, path: Path | None = None, mat_variable: str | None = None) -> np.ndarray:
    """Read the numbers of one depth file as they are stored.

    Args:
        data: Content of the file.
        file: Name of the file, for the error message.
        path: The file; None if there is only its content, which then must be PNG or TIFF.
        mat_variable: Variable of a `.mat` file; None takes the only one of an image.

    Returns:
        Integers or floating point [H, W].

    Raises:
        BadFileError: If the file is truncated or no depth image of at least 16 bits; it is a ValueError.
        MissingPackageError: If the file needs a package that is not installed.
    """
    suffix = path.suffix.lower() if path is not None else ""
    if path is not None and suffix in (".npy", ".mat"):
        return _from_array(path, file, mat_variable)
    if path is not None and suffix == ".exr":
        return _from_exr(path, file)
    if suffix == ".pgm":
        return _from_pgm(data, file)
    with opened_image(data, file) as image:
        # A rule that the image breaks is not a damage of the file.
        try:
            return units_of_image(image)
        except ValueError as error:
            raise BadFileError(BadFile(file, str(error))) from error


def encode_tiff_or_png(numbers: np.ndarray) -> bytes:
    """Stored numbers as the content of a 16-bit PNG, or of a TIFF if they are floating point or larger."""
    whole = numbers.dtype.kind in "iu" and numbers.min() >= 0 and numbers.max() <= 65535
    kept = numbers.astype(np.uint16) if whole else numbers.astype(np.float32 if numbers.dtype.kind == "f" else np.int32)
    content = io.BytesIO()
    Image.fromarray(kept).save(content, "PNG" if whole else "TIFF")
    return content.getvalue()


def _from_array(path: Path, file: str, mat_variable: str | None) -> np.ndarray:
    try:
        array = read_array(path, mat_variable)
    except MissingPackageError:
        raise
    except UserError as error:
        raise BadFileError(BadFile(file, str(error))) from error
    # One channel or one image is the image alone.
    shape = list(array.shape)
    array = array.reshape([side for side in shape if side != 1]) if len(shape) > 2 and shape.count(1) else array
    if array.ndim != 2 or 0 in array.shape or array.size > MAX_PIXELS:
        reason = f"a depth image must be one array [H, W] of at most {MAX_PIXELS:,} pixels, it is {shape}"
        raise BadFileError(BadFile(file, reason))
    if array.dtype.kind not in "iuf" or array.dtype.itemsize < 2:
        raise BadFileError(BadFile(file, f"depth must be real numbers of at least 16 bits, it is {array.dtype}"))
    return np.array(array.astype(array.dtype.newbyteorder("="), copy=False))


def _from_pgm(data: bytes, file: str) -> np.ndarray:
    """Pixels of a binary PGM of 16 bits, which PIL would stretch."""
    head, place = [], 2
    for _ in range(3):
        match = _PGM_NUMBER.match(data, place)
        if not data.startswith(b"P5") or match is None:
            raise BadFileError(BadFile(file, "cannot be decoded, it is no binary PGM (P5)"))
        head.append(int(match[1]))
        place = match.end()
    width, height, largest = head
    if not 0 < width * height <= MAX_PIXELS:
        raise BadFileError(BadFile(file, f"an image must have 1 to {MAX_PIXELS:,} pixels, it has {width}x{height}"))
    if not 255 < largest <= 65535:
        reason = f"depth must be 16-bit greyscale, its largest value is {largest}; 8 bits hold no millimetres"
        raise BadFileError(BadFile(file, reason))
    pixels = data[place + 1 : place + 1 + 2 * width * height]
    if len(pixels) < 2 * width * height:
        raise BadFileError(BadFile(file, "cannot be decoded, it is truncated"))
    return np.frombuffer(pixels, ">u2").reshape(height, width).astype(np.uint16)


def _from_exr(path: Path, file: str) -> np.ndarray:
    """The only channel of an OpenEXR file, or the one that is called depth."""
    with needs_extra("exr", "an EXR file (or convert it to .npy or floating-point TIFF)"):
        import OpenEXR  # pyright: ignore[reportMissingImports]
    exr: Any = OpenEXR
    try:
        # The header is checked before any pixel is decoded.
        with exr.File(str(path), separate_channels=True, header_only=True) as opened:
            low, high = (np.asarray(corner, np.int64) for corner in opened.header()["dataWindow"])
            names = [str(channel.name) for channel in opened.header()["channels"]]
        width, height = (int(side) for side in high - low + 1)
        if not 0 < width * height <= MAX_PIXELS:
            raise BadFileError(BadFile(file, f"an image must have 1 to {MAX_PIXELS:,} pixels, it has {width}x{height}"))
        chosen = names if len(names) == 1 else [name for name in names if name.rpartition(".")[2] in _DEPTH_CHANNELS]
        if len(chosen) != 1:
            raise BadFileError(BadFile(file, f"an EXR must have one channel of depth (Z), it has {', '.join(names)}"))
        with exr.File(str(path), separate_channels=True) as opened:
            return np.array(opened.channels()[chosen[0]].pixels)
    except BadFileError:
        raise
    except (RuntimeError, ValueError, LookupError, TypeError, MemoryError, OSError, AttributeError) as error:
        reason = f"cannot be decoded, it is truncated or no EXR ({' '.join(str(error).split())[:200]})"
        raise BadFileError(BadFile(file, reason)) from error
