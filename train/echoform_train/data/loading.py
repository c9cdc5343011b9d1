"""The steps that every loader of images shares: reading files in parallel, refusing bad ones, reading a split file."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from datasets import Dataset

from echoform_train.data.image_check import BadFile, BadFileError, refuse
from echoform_train.data.split import Split, check_split
from echoform_train.engine.errors import UserError

File = TypeVar("File")
Content = TypeVar("Content")

logger = logging.getLogger(__name__)


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

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = list(pool.map(read_or_refuse, files))
    kept = [file for file, result in zip(files, results, strict=True) if not isinstance(result, BadFile)]
    contents = [result for result in results if not isinstance(result, BadFile)]
    return kept, contents, [result for result in results if isinstance(result, BadFile)]


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
        split_file: The user's split; used if the file exists.
        published_split: The split that a published data set contains; used if the user's does not exist.
        window_s: Length of a spectrogram window in seconds; None if unknown.

    Returns:
        The split, or None if neither file exists: the caller then makes a new one.

    Raises:
        ValueError: If the split does not fit the images.
    """
    existing = split_file if split_file is not None and split_file.exists() else published_split
    if existing is None:
        return None
    split = Split.load(existing)
    try:
        check_split(table, split, window_s=window_s)
    except UserError as error:
        raise UserError(f"{existing} cannot be used with {source}: {error}") from error
    return split
