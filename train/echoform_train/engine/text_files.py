"""Text files that others may have written: bounded, and in any Unicode encoding that they say."""

from __future__ import annotations

import codecs
from pathlib import Path

from echoform_train.engine.errors import MissingFileError, UserError

LARGEST_BYTES = 64 * 2**20
"""Largest text file that is read; a metadata file of a million rows has some 60 MB."""


def read_text(path: Path, *, utf_16: bool = False) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        utf_16: Read UTF-16 too where a byte order mark says so, as Windows writes it.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If it is no regular file, is larger than 64 MiB, or is in another encoding.
    """
    if not path.exists():
        raise MissingFileError(f"there is no file {path}")
    # A pipe of this name would be waited for without end.
    if not path.is_file():
        raise UserError(f"{path} must be a regular file")
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise UserError(f"{path} must be at most {LARGEST_BYTES // 2**20} MiB, it is {size / 2**20:.0f} MiB")
    content = path.read_bytes()
    is_utf_16 = utf_16 and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        rule = "UTF-8 text, or UTF-16 with a byte order mark" if utf_16 else "UTF-8 text"
        raise UserError(f"{path} must be {rule}: {error}") from error
