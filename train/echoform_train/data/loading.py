"""The steps that every loader of images shares: reading files in parallel, refusing bad ones, reading a split file."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from datasets import Dataset

from echoform_train.data.image_check import BadFile, BadFileError, refuse
from echoform_train.data.split import Split, check_split
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.hashes import json_hash

File = TypeVar("File")
Content = TypeVar("Content")

logger = logging.getLogger(__name__)

_READERS = min(4, os.cpu_count() or 1)  # each may hold a decoded image of MAX_PIXELS, 100 MB


def read_files(
    files: Sequence[File], read: Callable[[File], Content]
) -> tuple[list[File], list[Content], list[BadFile]]:
    """Read files in parallel threads.

    Args:
        files: What to read, in any form that `read` takes.
        read: Reads one file; raises `BadFileError` for a file that cannot be used.

    Returns:
        The files that can be used, what was read of each of them (same order), and the files that cannot be used.
    """

    def read_or_refuse(file: File) -> Content | BadFile:
        try:
            return read(file)
        except BadFileError as error:
            return error.bad

    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        results = list(pool.map(read_or_refuse, files))
    kept = [file for file, result in zip(files, results, strict=True) if not isinstance(result, BadFile)]
    contents = [result for result in results if not isinstance(result, BadFile)]
    return kept, contents, [result for result in results if isinstance(result, BadFile)]


class NamedContent(Protocol):
    """A file of a source, as `ImageFile` and `DepthFile` are."""

    @property
    def file(self) -> str:
        """Its name inside the source."""
        ...

    def read(self) -> bytes:
        """Its content."""
        ...


class ContentHashes:
    """Reads files, and keeps the hash of the content of each; several threads can share it."""

    def __init__(self) -> None:
        self._hashes: dict[str, str] = {}

    def read(self, file: NamedContent) -> bytes:
        """Content of a file."""
        content = file.read()
        self._hashes[file.file] = hashlib.sha256(content).hexdigest()
        return content

    def of(self, files: Sequence[NamedContent]) -> str:
        """sha256, in hexadecimal, of the names and the content of files that were read, whatever their order."""
        return json_hash({file.file: self._hashes[file.file] for file in files})


def refuse_or_skip(bad_files: Sequence[BadFile], *, skip_bad_files: bool) -> None:
    """Stop at files that cannot be used, or log each as a warning if the user chose to skip them.

    Raises:
        ValueError: If there is a bad file and `skip_bad_files` is False.
    """
    if not skip_bad_files:
        refuse(bad_files)
    for bad in bad_files:
        logger.warning("skipped %s", bad)


def read_split(
    table: Dataset,
    source: str | Path,
    split_file: Path | None,
    published_split: Path | None,
    *,
    window_s: float | None = None,
) -> Split | None:
    """Read the split of a source, if it has one, and check that it fits the images.

    Args:
        table: The images of the source, with the columns that `make_split` reads.
        source: Name of the source, for the error message.
        split_file: The user's split, if there is one.
        published_split: The split that a published data set contains; used if the user gives none.
        window_s: Length of a spectrogram window in seconds; None if unknown.

    Returns:
        The split, or None if there is neither: the caller then makes a new one.

    Raises:
        FileNotFoundError: If the user's file does not exist.
        ValueError: If a file holds no split, or one that does not fit the images.
    """
    if split_file is not None and not split_file.exists():
        raise MissingFileError(
            f"--split-file {split_file} does not exist; it must name a split that was written before, such as "
            f"split.json in the folder of a training, and `prepare` with --save-split writes a new one"
        )
    existing = split_file or published_split
    if existing is None:
        return None
    split = Split.load(existing)
    try:
        check_split(table, split, window_s=window_s)
    except UserError as error:
        raise UserError(f"{existing} cannot be used with {source}: {error}") from error
    return split
