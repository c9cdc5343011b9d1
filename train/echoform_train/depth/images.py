"""Files of 16-bit depth: every value as the sensor wrote it, or one error that names the file and the rule."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from echoform.pipeline_depth_autoencoder import units_of_image
from echoform_train.data.image_check import BadFile, BadFileError


def read_depth(path: str | Path) -> np.ndarray:
    """Read one depth image.

    Args:
        path: PNG or TIFF of 16-bit greyscale, either byte order; 12 bits in 16 are what they are.

    Returns:
        uint16 [H, W] in the sensor's units, as the file has them; 0 is no reading.

    Raises:
        FileNotFoundError: If there is no such file.
        BadFileError: A ValueError; see `decode_depth`.
    """
    return decode_depth(Path(path).read_bytes(), str(path))


def decode_depth(data: bytes, file: str) -> np.ndarray:
    """Decode one depth image, without any conversion of its values.

    Args:
        data: The whole file.
        file: Its name, for the error.

    Returns:
        uint16 [H, W] in the sensor's units.

    Raises:
        BadFileError: A ValueError. If the file is truncated or no PNG or TIFF, holds several images, colour, 8 bits,
            floating point, or whole numbers that do not fit 16 bits.
    """
    if not data:
        raise BadFileError(BadFile(file, "a depth image must hold data, the file is empty"))
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = units_of_image(image)
    except (OSError, EOFError, SyntaxError, struct.error) as error:  # what PIL raises on broken files
        raise BadFileError(BadFile(file, f"cannot be decoded, it is truncated or no image ({error})")) from error
    except ValueError as error:
        raise BadFileError(BadFile(file, str(error))) from error
    if pixels.dtype.kind == "f":
        raise BadFileError(BadFile(file, "depth must be whole units of 16 bits, it is floating point (mode F)"))
    if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
        span = f"{pixels.min()}..{pixels.max()}"
        raise BadFileError(BadFile(file, f"depth must be whole units in 0..65535, it holds {span}"))
    return pixels.astype(np.uint16, copy=False)
