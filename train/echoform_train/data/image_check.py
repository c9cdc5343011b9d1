"""Checks of image files: unusable files, suspicious images, and the error that lists unusable files."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from echoform_train.engine.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_LISTED = 5


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


def decode_image(data: bytes, file: str) -> np.ndarray:
    """Decode an image without changing the values of its pixels.

    An indexed PNG (mode P) gives its RGB colours.

    Args:
        data: Content of the file.
        file: Name of the file, for the error message.

    Returns:
        uint8 [H, W] for a greyscale image, uint8 [H, W, 3] for a colour image.

    Raises:
        BadFileError: If the file is truncated or no image, or is neither 8-bit greyscale nor RGB, or has alpha.
    """
    if not data:
        raise BadFileError(BadFile(file, "an image must hold data, the file is empty"))
    try:
        with Image.open(io.BytesIO(data)) as image:
            reason = _mode_problem(image)
            if reason is None:
                image.load()
                return np.array(image.convert("RGB") if image.mode == "P" else image)
    except (OSError, EOFError, SyntaxError, ValueError, struct.error) as error:  # what PIL raises on broken files
        raise BadFileError(BadFile(file, f"cannot be decoded, it is truncated or no image ({error})")) from error
    raise BadFileError(BadFile(file, reason))


def _mode_problem(image: Image.Image) -> str | None:
    if getattr(image, "n_frames", 1) != 1:
        return f"a file must hold one image, it holds {getattr(image, 'n_frames', 1)}"
    # PIL opens 16-bit RGB as mode RGB and silently drops the low byte; only the raw mode shows it.
    if image.mode.startswith(("I", "F")) or ";16" in str(getattr(image, "tile", "")):
        return f"pixels must have 8 bits, it is 16-bit or wider (mode {image.mode})"
    if "A" in image.getbands() or "transparency" in image.info:
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
