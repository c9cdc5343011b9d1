"""Checks of image files: unusable files, suspicious images, and the error that lists unusable files."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from echoform_train.engine.errors import UserError
from echoform_train.engine.resolution import sides_of

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""Formats of image files by their names in PIL; what a file holds counts, not its suffix."""

_KINDS = (
    (b"GIF8", "a GIF"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "a file of Photoshop"),
    (b"<svg", "an SVG"),
    (b"<?xml", "an SVG or another XML file"),
    (b"\0\0\0\x0cjP", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\1\0", "an icon"),
    (b"P5", "a PGM"),
    (b"P6", "a PPM"),
    (b"\x93NUMPY", "an array of numpy"),
    (b"\x89HDF", "HDF5"),
    (b"MATLAB", "a file of MATLAB"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1a\x45\xdf\xa3", "a video"),
)
_BOXES = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"avif": "AVIF"}
REFUSED_SUFFIXES = {
    ".gif": "GIF", ".pdf": "PDF", ".svg": "SVG", ".eps": "PostScript", ".ps": "PostScript", ".fig": "MATLAB figure",
    ".heic": "HEIC", ".avif": "AVIF", ".jp2": "JPEG 2000", ".psd": "Photoshop", ".ico": "icon", ".tga": "TGA",
    ".ppm": "PPM", ".pgm": "PGM", ".emf": "EMF", ".mp4": "video", ".avi": "video", ".mov": "video", ".mkv": "video",
    ".jfif": "JPEG under another name", ".zip": "ZIP archive",
}  # fmt: skip
"""Kinds of files that hold pictures and are not read, by their suffix."""

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
        kind = kind_of(data)
        reason = (
            f"cannot be decoded, it is truncated or no image ({', '.join(FORMATS)})"
            if kind is None
            else f"an image must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, it is {kind}; save it as PNG"
        )
        raise BadFileError(BadFile(file, reason)) from error
    except _PIL_ERRORS as error:
        reason = f"cannot be decoded, it is truncated or no image ({_one_line(error)})"
        raise BadFileError(BadFile(file, reason)) from error


def kind_of(data: bytes) -> str | None:
    """What a file that is not read holds, such as "a GIF", from its first bytes; None if that is not known."""
    head = data[:16].lstrip()
    if data[4:8] == b"ftyp":
        return _BOXES.get(data[8:12], "a video")
    if data[:4] == b"RIFF":
        return "a video" if data[8:11] == b"AVI" else None
    return next((kind for magic, kind in _KINDS if head.startswith(magic) or data.startswith(magic)), None)


def refused_kinds(names: Iterable[str]) -> str:
    """What the files hold that are pictures and not read, for messages, such as "30 GIF"; "" if there are none."""
    kinds = Counter(REFUSED_SUFFIXES.get(PurePosixPath(name).suffix.lower()) for name in names)
    return " and ".join(f"{count} {kind}" for kind, count in kinds.items() if kind)


def decode_image(data: bytes, file: str, *, numbers: bool = False) -> np.ndarray:
    """Decode an image without changing the values of its pixels.

    An indexed PNG (mode P) gives its RGB colours. An alpha channel that is opaque everywhere, as matplotlib writes it,
    is dropped.

    Args:
        data: Content of the file.
        file: Name of the file, for the error message.
        numbers: Whether greyscale of more than 8 bits is taken.

    Returns:
        uint8 [H, W] for a greyscale image, uint8 [H, W, 3] for a colour image; with `numbers`, also uint16, int32 or
        float32 [H, W].

    Raises:
        BadFileError: See `opened_image`; and if the image is neither 8-bit greyscale nor RGB, or is transparent.
    """
    with opened_image(data, file) as image:
        reason = _mode_problem(image, numbers)
        if reason is not None:
            raise BadFileError(BadFile(file, reason))
        image.load()
        if _has_alpha(image):
            return _without_alpha(image, file)
        return np.array(image.convert("RGB") if image.mode == "P" else image)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info


def _without_alpha(image: Image.Image, file: str) -> np.ndarray:
    """Pixels of an image whose alpha channel is 255 everywhere; another one is refused."""
    alpha = np.asarray(image.getchannel("A") if image.mode in ("LA", "RGBA") else image.convert("RGBA").getchannel("A"))
    if alpha.min() < 255:
        share = float((alpha < 255).mean())
        reason = (
            f"an image must be opaque, its alpha channel is below 255 in {100 * share:.3g} % of the pixels "
            f"(mode {image.mode}); paste it onto a background"
        )
        raise BadFileError(BadFile(file, reason))
    return np.array(image.convert("L" if image.mode in ("L", "LA") else "RGB"))


def _holds_several(image: Image.Image) -> bool:
    """Whether the file holds a second image; counting all could take minutes."""
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _mode_problem(image: Image.Image, numbers: bool) -> str | None:
    # PIL opens 16-bit RGB as mode RGB and silently drops the low byte; only the raw mode shows it.
    if image.mode.startswith(("I", "F")) and numbers:
        return None
    if image.mode.startswith(("I", "F")) or ";16" in str(getattr(image, "tile", "")):
        return f"pixels must have 8 bits, it is 16-bit or wider (mode {image.mode})"
    if image.mode not in ("L", "RGB", "P", "LA", "RGBA", "PA"):
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
