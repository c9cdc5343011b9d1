"""A user's own spectrograms as what `echoform simulate --like` measures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from echoform_train.data.dataset import SourceImages, read_source
from echoform_train.engine.errors import UserError
from echoform_train.radar.likeness import Measured

_SIDE = 256
_USUAL_SUM = 3688
"""Sum of the luminance table of JPEG at quality 50 (ITU-T T.81, table K.1), which software scales by the quality."""


def measure_source(source: str | Path, *, window_s: float | None = None, skip_bad_files: bool = False) -> Measured:
    """Read a folder or data set of spectrograms, whose split does not matter here.

    Args:
        source: Folder or id of a data set on the Hub.
        window_s: Length of an image in seconds; None is the one in axes.json, if there is one.
        skip_bad_files: Leave out files that cannot be used instead of stopping.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If a file cannot be used, or the pictures have no known colour map.
    """
    read = read_source(source, skip_bad_files=skip_bad_files)
    if read.pixels.colormap is None:
        raise UserError(f"--like needs spectrograms in the colours of a known map, {source} holds RGB pictures")
    axes = read.axes or {}
    return Measured(
        level=np.divide(read.pixels.pixels[:, 0], 255, dtype=np.float32),
        users=np.asarray(read.dataset["user"][:], dtype=np.int64),
        axes=read.axes,
        jpeg_quality=_jpeg_quality(read),
        window_s=axes.get("window_s") if window_s is None else window_s,
        images_sha256=read.pixels.images_sha256,
    )


def _jpeg_quality(read: SourceImages) -> int | None:
    """Quality of the first file if it is a JPEG, from its quantisation table; None otherwise."""
    data = read.pixels.images[0].data
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
        tables = getattr(image, "quantization", None)
        if image.format != "JPEG" or not tables:
            return None
        scale = 100 * sum(tables[0]) / _USUAL_SUM
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    return int(np.clip(round(quality), 1, 95))
