"""Which images a folder holds and what its folder names, file names and metadata say of each."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from echoform_train.data.image_check import IMAGE_SUFFIXES, BadFile
from echoform_train.engine.files import AXES, METADATA

SPLITS = ("train", "validation", "test")
SIDES = (*SPLITS, "left_out")
"""Sides of a split. `left_out` holds the images in the gaps: they overlap two sides and belong to neither."""

_SPLIT_OF = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
_TIMED_NAME = re.compile(r"(?P<recording>.+)_t(?P<centiseconds>\d+)")
_OWN_COLUMNS = ("file", "file_name", "image", "user", "recording", "start_s", "split")


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """What a source is a folder of; the layouts are the same."""

    noun: str
    article: str
    suffixes: tuple[str, ...]


IMAGES = FileKind(noun="image", article="an", suffixes=IMAGE_SUFFIXES)
RECORDINGS = FileKind(noun="recording", article="a", suffixes=(".npy", ".mat"))


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One image (or recording of complex samples) of a source, not decoded yet."""

    file: str
    """Unique name: its path inside the source, with forward slashes."""
    data: Path | bytes
    """Where its encoded bytes are, or they themselves."""
    user: str
    recording: str | None = None
    start_s: float | None = None
    """Start of the window (or of the file's samples) in its recording, seconds."""
    split: str | None = None
    """train, validation or test where the source itself says so."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """What else is known of it: conditions, height_m ..."""

    def read(self) -> bytes:
        """The encoded image."""
        return self.data if isinstance(self.data, bytes) else self.data.read_bytes()


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source, not decoded yet."""

    images: tuple[ImageFile, ...]
    bad_files: tuple[BadFile, ...] = ()
    other_files: tuple[str, ...] = ()
    """Files that are neither images (or recordings) nor known to us."""
    axes: dict[str, float] | None = None
    split_file: Path | None = None
    """The split that a published data set brings along."""


def natural_key(name: str) -> tuple[Any, ...]:
    """Sorting key that puts ID_2 before ID_10."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part.casefold()) for part in parts], name


def split_name(name: str) -> str | None:
    """train, validation or test for the name of a split ("val" and "valid" too), None for any other name."""
    return _SPLIT_OF.get(name.casefold())


def recording_of(file_name: str) -> tuple[str | None, float | None]:
    """Recording and start in seconds of a file called `<recording>_t<centiseconds>.<suffix>`, else (None, None)."""
    match = _TIMED_NAME.fullmatch(PurePosixPath(file_name).stem)
    if match is None:
        return None, None
    return match["recording"], int(match["centiseconds"]) / 100


def find_files(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files below a folder that have one of the suffixes, by path inside the folder, in natural order of these paths.

    Hidden files and folders and those of macOS archives are left out.
    """

    def hidden(path: PurePosixPath) -> bool:
        return any(part.startswith((".", "__MACOSX")) for part in path.parts)

    paths = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and path.is_file()
    }
    return {name: paths[name] for name in sorted(paths, key=natural_key) if not hidden(PurePosixPath(name))}


def split_folders(folder: Path, names: Sequence[str], *, loose_files: bool = False) -> dict[str, str]:
    """Find top folders that are called train, validation or test.

    Args:
        folder: The source, for error messages.
        names: Paths of its files, relative to it.
        loose_files: Whether files at the top may stand beside such folders; the caller then deals with them.

    Returns:
        train, validation or test by name of the folder; empty if no folder is called so.

    Raises:
        ValueError: If something else stands beside such folders, two of them are the same split, or train is missing.
    """
    tops = dict.fromkeys(PurePosixPath(name).parts[0] if "/" in name else "" for name in names)
    splits = {top: split for top in sorted(tops) if (split := split_name(top))}
    if not splits:
        return {}
    others = [top or "images at the top" for top in tops if top not in splits and (top or not loose_files)]
    if others:
        raise ValueError(
            f"split folders must stand alone, {folder} holds {', '.join(splits)} beside {', '.join(others[:3])}"
        )
    if len(set(splits.values())) < len(splits):
        raise ValueError(f"each split must have one folder, {folder} holds {', '.join(splits)}")
    if "train" not in splits.values():
        raise ValueError(f"a source with split folders must hold train, {folder} holds only {', '.join(splits)}")
    return splits


def find_in_folder(folder: Path, kind: FileKind = IMAGES) -> SourceFiles:
    """Every image (or recording) below a folder with its user, condition, recording and split.

    Layouts: `<user>/x.png` or `<user>/<condition>/x.png`, either of them with train, validation and test folders
    above or not, and/or a metadata.jsonl at the top (or in each split folder) whose rows name a `file_name` and any of
    `user`, `recording`, `start_s` and further columns (a `split` is not read). A row's word stands over that of the
    folders. A `.npy` with the name of an image holds that image's decibels.

    Raises:
        ValueError: If the folder holds no images, mixes split folders with others, or its metadata or axes are
            malformed. Files that break a rule one by one are listed in `bad_files`.
    """
    paths = list(_walk(folder))
    names = [path.relative_to(folder).as_posix() for path in paths]
    splits = split_folders(folder, [name for name in names if _is(kind, name)], loose_files=True)
    rows, metadata_names = _read_metadata(folder, splits)

    images, bad_files, other_files = [], [], []
    for path, name in zip(paths, names, strict=True):
        if _is(kind, name):
            try:
                images.append(_describe(path, name, kind, splits, rows))
            except _LayoutError as error:
                bad_files.append(BadFile(name, str(error)))
        elif name not in (*metadata_names, AXES):
            other_files.append(name)
    if not images and not bad_files:
        raise ValueError(f"a source must hold {kind.noun}s ({', '.join(kind.suffixes)}), {folder} holds none")
    stems = {_stem(image.file) for image in images}
    other_files = [name for name in other_files if not (name.endswith(".npy") and _stem(name) in stems)]

    present = set(names)
    reason = f"each row of {METADATA} must name {kind.article} {kind.noun}, this is not there"
    bad_files += [BadFile(name, reason) for name in rows or () if name not in present]
    bad_files += _empty_folders(folder, kind, splits)
    return SourceFiles(tuple(images), tuple(bad_files), tuple(other_files), read_axes(folder / AXES))


def separate_incomplete(images: Sequence[ImageFile]) -> tuple[list[ImageFile], list[BadFile]]:
    """Part images that lack a text column (a condition) which most have, or have one which most lack."""
    text_columns = {name for image in images for name, value in image.columns.items() if isinstance(value, str)}
    kept, bad_files = list(images), []
    for name in sorted(text_columns):
        having = [image for image in kept if name in image.columns]
        lacking = [image for image in kept if name not in image.columns]
        if len(having) >= len(lacking):
            kept = having
            bad_files += [BadFile(image.file, f"every image must have a {name}, it has none") for image in lacking]
        else:
            kept = lacking
            bad_files += [BadFile(image.file, f"it has a {name}, which most images lack") for image in having]
    return kept, bad_files


class _LayoutError(ValueError):
    """An image stands where no layout explains it; the message is the reason alone."""


def _walk(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        if path.name.startswith((".", "__MACOSX")) or path.name == "Thumbs.db":
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def _is(kind: FileKind, name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in kind.suffixes


def _stem(name: str) -> PurePosixPath:
    return PurePosixPath(name).with_suffix("")


def _read_metadata(folder: Path, splits: dict[str, str]) -> tuple[dict[str, dict[str, Any]] | None, list[str]]:
    """Rows by file name, None where there is no metadata, and the names of the files that held them."""
    rows: dict[str, dict[str, Any]] = {}
    read = []
    for place in ("", *splits):
        csv_path = folder / place / "metadata.csv"
        if csv_path.is_file():
            raise ValueError(f"metadata must be a {METADATA}, {csv_path} is not read")
        path = folder / place / METADATA
        if not path.is_file():
            continue
        read.append(path.relative_to(folder).as_posix())
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                name, row = _parse_row(line, f"{path} line {number}")
                name = (PurePosixPath(place) / name).as_posix()
                if name in rows:
                    raise ValueError(f"{path} line {number}: each file must have one row, {name} has two")
                rows[name] = row
    return (rows if read else None), read


def _parse_row(line: str, where: str) -> tuple[str, dict[str, Any]]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: a row must be one JSON object ({error})") from error
    if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
        raise ValueError(f"{where}: a row must name its file as a file_name, got {line[:80]}")
    start_s = row.get("start_s")
    if start_s is not None and not (_is_number(start_s) and math.isfinite(start_s)):
        raise ValueError(f"{where}: start_s must be a number of seconds, got {start_s!r}")
    return PurePosixPath(row["file_name"]).as_posix(), row


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _describe(
    path: Path, name: str, kind: FileKind, splits: dict[str, str], rows: dict[str, dict[str, Any]] | None
) -> ImageFile:
    one = f"{kind.article} {kind.noun}"
    folders: list[str] = list(PurePosixPath(name).parts[:-1])
    split = None
    if splits:
        if not folders:
            raise _LayoutError(f"{one} must stand in one of the split folders ({', '.join(splits)})")
        split = splits[folders.pop(0)]
    row: dict[str, Any] = {}
    if rows is not None:
        if name not in rows:
            raise _LayoutError(f"each {kind.noun} must have a row in {METADATA}, it has none")
        row = rows[name]
    recording, start_s = recording_of(name)
    if row.get("recording") is not None:
        recording, start_s = str(row["recording"]), None
    if row.get("start_s") is not None:
        start_s = float(row["start_s"])
    columns = {key: value for key, value in row.items() if key not in _OWN_COLUMNS and value is not None}
    if row.get("user") is not None:
        user = str(row["user"])
    elif not folders:
        raise _LayoutError(f"{one} must stand in a folder of its user, it stands at the top")
    elif len(folders) > 2:
        raise _LayoutError(f"{one} must stand in <user>/ or <user>/<condition>/, it stands deeper")
    else:
        user = folders[0]
        if len(folders) == 2:
            columns = {"condition": folders[1], **columns}
    return ImageFile(
        file=name, data=path, user=user, recording=recording, start_s=start_s, split=split, columns=columns
    )


def _empty_folders(folder: Path, kind: FileKind, splits: dict[str, str]) -> list[BadFile]:
    empty = []
    for top in [folder / name for name in splits] or [folder]:
        for place in sorted(top.iterdir(), key=lambda path: natural_key(path.name)):
            hidden = place.name.startswith((".", "__MACOSX"))
            if place.is_dir() and not hidden and not any(_is(kind, path.name) for path in _walk(place)):
                name = place.relative_to(folder).as_posix()
                empty.append(BadFile(f"{name}/", f"a user's folder must hold {kind.noun}s, it is empty"))
    return empty


def read_axes(path: Path) -> dict[str, float] | None:
    """Numbers by name, None where there is no such file; raises ValueError where it holds anything else."""
    if not path.is_file():
        return None
    try:
        axes = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must be one JSON object ({error})") from error
    if not isinstance(axes, dict) or not all(_is_number(value) for value in axes.values()):
        raise ValueError(f"{path} must map names to plain numbers, got {axes}")
    return {name: float(value) for name, value in axes.items()}
