"""Types for the files of a source, and how order, split, recording and start are read from their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from echoform_train.data.image_check import IMAGE_SUFFIXES, BadFile, read_file

SPLITS = ("train", "validation", "test")
SIDES = (*SPLITS, "left_out")
"""Sides of a split. `left_out` holds the images in the gaps: they overlap two sides and belong to neither."""

_SPLIT_OF = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
_TIMED_NAME = re.compile(r"(?P<recording>.+)_t(?P<centiseconds>\d{1,12})")


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """Kind of files that a source consists of; the layouts of folders are the same for all."""

    noun: str
    """What one file is called in error messages."""
    article: str
    """Its indefinite article."""
    suffixes: tuple[str, ...]


IMAGES = FileKind(noun="image", article="an", suffixes=IMAGE_SUFFIXES)
ARRAYS = FileKind(noun="array", article="an", suffixes=(".npy", ".npz", ".mat", ".h5", ".hdf5"))
RECORDINGS = FileKind(noun="recording", article="a", suffixes=(".npy", ".npz", ".mat", ".h5", ".hdf5", ".bin"))


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One image (or recording of complex samples) of a source, not decoded yet."""

    file: str
    """Unique name: its path inside the source, with forward slashes."""
    data: Path | bytes
    """The file, or its content."""
    user: str
    recording: str | None = None
    start_s: float | None = None
    """Start of the window (or of the file's samples) in its recording, seconds."""
    split: str | None = None
    """train, validation or test, if the source gives it."""
    index: int | None = None
    """Number that counts the windows of its recording, where --name-pattern says which number does."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Further facts by name, such as conditions or height_m."""

    def read(self) -> bytes:
        """Content of the file; raises BadFileError if it cannot be read."""
        return self.data if isinstance(self.data, bytes) else read_file(self.data, self.file)


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source, not decoded yet."""

    images: tuple[ImageFile, ...]
    bad_files: tuple[BadFile, ...] = ()
    other_files: tuple[str, ...] = ()
    """Files that are neither images (or recordings) nor metadata."""
    axes: dict[str, float] | None = None
    """Content of axes.json, if there is one."""
    split_file: Path | None = None
    """The split.json of a published data set, if there is one."""


def natural_key(name: str) -> tuple[Any, ...]:
    """Sorting key in natural order: ID_2 before ID_10."""
    return [_key_of_part(part) for part in re.split(r"(\d+)", name)], name


def _key_of_part(part: str) -> tuple[int, int, str]:
    if not part.isdecimal():
        return 0, 0, part.casefold()
    # Not int(), which refuses to read thousands of digits.
    digits = part.lstrip("0")
    return 1, len(digits), digits


def split_name(name: str) -> str | None:
    """train, validation or test for a folder or split of that name, "val" or "valid"; None for other names."""
    return _SPLIT_OF.get(name.casefold())


def recording_of(file_name: str) -> tuple[str | None, float | None]:
    """Recording and start in seconds of a file `<recording>_t<centiseconds>.<suffix>`; (None, None) for other names."""
    match = _TIMED_NAME.fullmatch(PurePosixPath(file_name).stem)
    if match is None:
        return None, None
    return match["recording"], int(match["centiseconds"]) / 100
