"""Checks of image files: unusable files, suspicious images, and the error that lists unusable files."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from echoform_train.engine.errors import UserError
from echoform_train.engine.resolution import sides_of

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""Formats of image files by their names in PIL; what a file holds counts, not its suffix."""

MAX_PIXELS = 4096 * 4096
"""Most pixels of an image file."""
MAX_SIDE = 1024
"""Largest height and width at which images are kept and trained on, pixels."""
MAX_FILE_BYTES = 96 * 2**20
"""Largest image file: MAX_PIXELS of 16-bit RGB, uncompressed, are as large."""

_LISTED = 5

# What PIL raises on broken files: most of its decoders do not check what they read.
_PIL_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class BadFile:
    """A file (or folder) that cannot be used."""

    file: str
    reason: str
    """The rule that the file breaks, then what the file holds."""

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


class BadFileError(UserError):
    """A file cannot be used; with `skip_bad_files` it is left out instead."""

    def __init__(self, bad: BadFile) -> None:
        super().__init__(str(bad))
        self.bad = bad


@dataclass(frozen=True)
class Suspicious:
    """Images that can be used, but should be looked at before training."""

    duplicates: tuple[tuple[str, ...], ...]
    """Groups of files with exactly the same pixels."""
    blank: tuple[str, ...]
    """Files whose pixels all have the same value."""


def refuse(bad_files: Sequence[BadFile]) -> None:
    """Raise one error that names the files that cannot be used; do nothing if there are none.

    Raises:
        ValueError: If there is a bad file.
    """
    if not bad_files:
        return
    lines = [str(bad) for bad in bad_files[:_LISTED]]
    if len(bad_files) > _LISTED:
        lines.append(f"and {len(bad_files) - _LISTED} more")
    noun = "file" if len(bad_files) == 1 else "files"
    raise UserError(f"{len(bad_files)} {noun} cannot be used (--skip-bad-files leaves them out): {'; '.join(lines)}")


def check_resolution(resolution: int | str, smallest: int = 1) -> None:
    """Check the height and width to which images are resized.

    Raises:
        ValueError: If one of them is not in smallest..MAX_SIDE.
    """
    sides = sides_of(resolution)
    if min(sides) < smallest:
        raise UserError(f"resolution must be at least {smallest}, got {resolution}")
    if max(sides) > MAX_SIDE:
        raise UserError(f"resolution must be at most {MAX_SIDE}, got {resolution}")


def read_file(path: Path, file: str) -> bytes:
    """Content of an image file.

    Args:
        path: The file.
        file: Its name for the error message.

    Raises:
        BadFileError: If it is no regular file, cannot be read, or is larger than MAX_FILE_BYTES.
    """
    try:
        # A pipe of this name would be waited for without end.
        if not path.is_file():
            raise BadFileError(BadFile(file, "it must be a regular file; it is a pipe, a device or a link to nothing"))
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            limit = f"{MAX_FILE_BYTES // 2**20} MiB"
            raise BadFileError(BadFile(file, f"an image file must be at most {limit}, it is {size // 2**20} MiB"))
        return path.read_bytes()
    except OSError as error:
        raise BadFileError(BadFile(file, f"it cannot be read ({error.strerror})")) from error


@contextmanager
def opened_image(data: bytes, file: str) -> Iterator[Image.Image]:
    """Open an image for a block that decodes it; its header is checked before any pixel is decoded.

    Args:
        data: Content of the file.
        file: Name of the file, for the error message.

    Raises:
        BadFileError: If the file is truncated or no image of FORMATS, holds several images or more than
            MAX_PIXELS; and in place of every error of PIL inside the block, or a ValueError about the image.
    """
    if not data:
        raise BadFileError(BadFile(file, "an image must hold data, the file is empty"))
    # PIL warns of sizes that are refused here, and of damage that then is an error or makes no difference.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                reason = (
                    f"an image must have at most {MAX_PIXELS:,} pixels, its header says {image.width}x{image.height}"
                )
                raise BadFileError(BadFile(file, reason))
            if _holds_several(image):
                raise BadFileError(BadFile(file, "a file must hold one image, it holds several"))
            yield image
    except BadFileError:
        raise
    except Image.DecompressionBombError as error:
        reason = f"an image must have at most {MAX_PIXELS:,} pixels, its header says many more"
        raise BadFileError(BadFile(file, reason)) from error
    except Image.UnidentifiedImageError as error:
        reason = f"cannot be decoded, it is truncated or no image ({', '.join(FORMATS)})"
        raise BadFileError(BadFile(file, reason)) from error
    except _PIL_ERRORS as error:
        reason = f"cannot be decoded, it is truncated or no image ({_one_line(error)})"
        raise BadFileError(BadFile(file, reason)) from error


def decode_image(data: bytes, file: str) -> np.ndarray:
    """Decode an image without changing the values of its pixels.

    An indexed PNG (mode P) gives its RGB colours.

    Args:
        data: Content of the file.
        file: Name of the file, for the error message.

    Returns:
        uint8 [H, W] for a greyscale image, uint8 [H, W, 3] for a colour image.

    Raises:
        BadFileError: See `opened_image`; and if the image is neither 8-bit greyscale nor RGB, or has alpha.
    """
    with opened_image(data, file) as image:
        reason = _mode_problem(image)
        if reason is not None:
            raise BadFileError(BadFile(file, reason))
        image.load()
        return np.array(image.convert("RGB") if image.mode == "P" else image)


def _holds_several(image: Image.Image) -> bool:
    """Whether the file holds a second image; counting all could take minutes."""
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _mode_problem(image: Image.Image) -> str | None:
    # PIL opens 16-bit RGB as mode RGB and silently drops the low byte; only the raw mode shows it.
    if image.mode.startswith(("I", "F")) or ";16" in str(getattr(image, "tile", "")):
        return f"pixels must have 8 bits, it is 16-bit or wider (mode {image.mode})"
    if image.mode.upper() in ("LA", "RGBA", "PA") or "transparency" in image.info:
        return f"an image must have no alpha channel, it has one (mode {image.mode})"
    if image.mode not in ("L", "RGB", "P"):
        return f"an image must be RGB or 8-bit greyscale, its mode is {image.mode}"
    return None


def find_suspicious(pixels: np.ndarray, files: Sequence[str]) -> Suspicious:
    """Find exact duplicates and blank images.

    Args:
        pixels: uint8 [N, ...].
        files: Names of the N images.
    """
    same: dict[bytes, list[str]] = {}
    blank = []
    for image, file in zip(pixels, files, strict=True):
        same.setdefault(hashlib.sha256(image.tobytes()).digest(), []).append(file)
        if image.min() == image.max():
            blank.append(file)
    return Suspicious(tuple(tuple(group) for group in same.values() if len(group) > 1), tuple(blank))
