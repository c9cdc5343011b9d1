"""Find the images of a folder, and read their users, recordings and conditions from names and metadata."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from echoform_train.data.image_check import BadFile, refused_kinds
from echoform_train.data.layout import (
    ARRAYS,
    IMAGES,
    FileKind,
    ImageFile,
    SourceFiles,
    natural_key,
    recording_of,
    split_name,
)
from echoform_train.data.metadata import read_axes, read_metadata
from echoform_train.data.name_pattern import NamePattern
from echoform_train.data.walk import composed_names, is_hidden, walk
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import AXES
from echoform_train.engine.names import check_name, check_relative_path, composed

_OWN_COLUMNS = ("file", "file_name", "image", "user", "recording", "start_s", "split")


def find_in_folder(folder: Path, kind: FileKind = IMAGES, *, pattern: NamePattern | None = None) -> SourceFiles:
    """Find every image (or recording) below a folder, with its user, condition, recording and split.

    Layouts: `<user>/x.png` or `<user>/<condition>/x.png`, with or without train, validation and test folders above,
    and optionally a metadata.jsonl or metadata.csv at the top (or in each split folder). Its rows hold a `file_name`
    and any of `user`, `recording`, `start_s` and further columns (`split` is not read), which take precedence over the
    folders. A `.npy` file with the name of an image holds the decibels of that image and is not listed.

    Args:
        folder: The folder.
        kind: Which files to look for.
        pattern: What the names of the files tell; it takes precedence over the folders, and rows of metadata over it.

    Returns:
        The files in natural order. A file that breaks a rule of the layout is in `bad_files`.

    Raises:
        ValueError: If the folder holds no images, has other folders beside split folders, or its metadata or axes are
            malformed.
    """
    path_of = composed_names(folder, walk(folder))
    names = list(path_of)
    splits = split_folders(folder, [name for name in names if _is_of_kind(kind, name)], loose_files=True)
    rows, metadata_names = read_metadata(folder, splits)
    if rows is not None and kind is ARRAYS:
        rows = _rows_of_arrays(rows, names)

    # Every file is an image, a bad file, metadata, or something else that is only reported.
    images, bad_files, other_files = [], [], []
    for name, path in path_of.items():
        if _is_of_kind(kind, name):
            try:
                if rows is not None and name not in rows:
                    where = " and ".join(metadata_names)
                    raise _LayoutError(f"each {kind.noun} must have a row in {where}, it has none")
                images.append(_describe(path, name, kind, splits, (rows or {}).get(name, {}), pattern))
            except _LayoutError as error:
                bad_files.append(BadFile(_printable(name), str(error)))
        elif name not in (*metadata_names, AXES):
            other_files.append(name)
    if not images and not bad_files:
        refused = refused_kinds(names)
        instead = f"; it holds {refused}, which are not read: save them as PNG" if refused else ""
        raise UserError(f"a source must hold {kind.noun}s ({', '.join(kind.suffixes)}), {folder} holds none{instead}")
    stems = {_stem(image.file) for image in images}
    twin = IMAGES.suffixes if kind is ARRAYS else (".npy",)
    other_files = [name for name in other_files if not (name.endswith(twin) and _stem(name) in stems)]

    # Rows without a file and users without files are reported like bad files.
    absent = [name for name in rows or () if name not in path_of]
    if absent:
        # A link to a file that is read under another name may have a row too.
        read = {os.path.realpath(path) for path in path_of.values()}
        reason = (
            f"each row of {' and '.join(metadata_names)} must name {kind.article} {kind.noun}, this file does not exist"
        )
        bad_files += [BadFile(name, reason) for name in absent if os.path.realpath(folder / name) not in read]
    bad_files += _empty_folders(folder, kind, splits, names)
    if pattern is not None:
        pattern.check_readings([image.file for image in images])
    return SourceFiles(tuple(images), tuple(bad_files), tuple(other_files), read_axes(folder / AXES))


def separate_incomplete(images: Sequence[ImageFile]) -> tuple[list[ImageFile], list[BadFile]]:
    """Separate the images whose text columns (conditions) differ from those of most images.

    Returns:
        The images that all have the same text columns, and the others as bad files.
    """
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


def split_folders(folder: Path, names: Sequence[str], *, loose_files: bool = False) -> dict[str, str]:
    """Find top folders that are called train, validation or test.

    Args:
        folder: The source, for error messages.
        names: Paths of its files, relative to it.
        loose_files: Whether files beside such folders are allowed; the caller then has to handle them.

    Returns:
        train, validation or test by name of the folder; empty if there is no such folder.

    Raises:
        ValueError: If something else stands beside such folders, two of them are the same split, or train is missing.
    """
    tops = dict.fromkeys(PurePosixPath(name).parts[0] if "/" in name else "" for name in names)
    splits = {top: split for top in sorted(tops) if (split := split_name(top))}
    if not splits:
        return {}
    others = [top or "images at the top" for top in tops if top not in splits and (top or not loose_files)]
    if others:
        raise UserError(
            f"split folders must stand alone, {folder} holds {', '.join(splits)} beside {', '.join(others[:3])}"
        )
    if len(set(splits.values())) < len(splits):
        raise UserError(f"each split must have one folder, {folder} holds {', '.join(splits)}")
    if "train" not in splits.values():
        raise UserError(f"a source with split folders must hold train, {folder} holds only {', '.join(splits)}")
    return splits


class _LayoutError(UserError):
    """An image lies where the layout allows none; the message is the reason without the file."""


def _rows_of_arrays(rows: dict[str, dict[str, Any]], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rows, with that of a picture also under the name of the array of its decibels."""
    of_stem = {_stem(name): row for name, row in rows.items()}
    arrays = {name: of_stem[_stem(name)] for name in names if _is_of_kind(ARRAYS, name) and _stem(name) in of_stem}
    return arrays | rows


def _is_of_kind(kind: FileKind, name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in kind.suffixes


def _stem(name: str) -> PurePosixPath:
    return PurePosixPath(name).with_suffix("")


def _describe(
    path: Path,
    name: str,
    kind: FileKind,
    splits: dict[str, str],
    row: dict[str, Any],
    pattern: NamePattern | None,
) -> ImageFile:
    """Describe one file by its folders, name and row of metadata; raises _LayoutError if its user is unknown."""
    a_file = f"{kind.article} {kind.noun}"
    _check_file(path, name)
    # A split folder stands above the folder of the user.
    folders: list[str] = list(PurePosixPath(name).parts[:-1])
    split = None
    if splits:
        if not folders:
            raise _LayoutError(f"{a_file} must stand in one of the split folders ({', '.join(splits)})")
        split = splits[folders.pop(0)]

    try:
        named = (
            None if pattern is None else pattern.read(name, inside="/".join(PurePosixPath(name).parts[bool(splits) :]))
        )
    except UserError as error:
        raise _LayoutError(str(error)) from error
    # The start in the file name belongs to the recording in the file name, not to one that the row names.
    recording, start_s = recording_of(name) if named is None else (named.recording, None)
    if row.get("recording") is not None:
        recording, start_s = row["recording"], None
    if row.get("start_s") is not None:
        start_s = row["start_s"]

    columns = {key: value for key, value in row.items() if key not in _OWN_COLUMNS and value is not None}
    if named is not None:
        columns = named.columns | columns
    if row.get("user") is not None:
        user = row["user"]
    elif named is not None and named.user is not None:
        user = named.user
    else:
        user, of_folders = _user_of_folders(folders, a_file)
        columns = of_folders | columns
    return ImageFile(
        file=name,
        data=path,
        user=user,
        recording=recording,
        start_s=start_s,
        split=split,
        index=None if named is None else named.index,
        columns=columns,
    )


def _user_of_folders(folders: list[str], a_file: str) -> tuple[str, dict[str, str]]:
    """User and, where there is a second folder, condition."""
    if not folders:
        raise _LayoutError(
            f"{a_file} must stand in a folder of its user, it stands at the top; --name-pattern reads users in names"
        )
    if len(folders) > 2:
        raise _LayoutError(f"{a_file} must stand in <user>/ or <user>/<condition>/, it stands deeper")
    try:
        names = [
            check_name(name, kind, "its folder") for name, kind in zip(folders, ("user", "condition"), strict=False)
        ]
    except UserError as error:
        raise _LayoutError(str(error)) from error
    return names[0], {"condition": names[1]} if len(names) == 2 else {}


def _check_file(path: Path, name: str) -> None:
    """Refuse a name that could change the terminal, and what is no file; a pipe would be waited for without end."""
    try:
        check_relative_path(name, "its name", "this folder")
    except UserError as error:
        raise _LayoutError(str(error)) from error
    if not path.is_file():
        raise _LayoutError("it must be a regular file; it is a pipe, a device or a link to nothing")


def _printable(name: str) -> str:
    """The name as it is, or with escapes in place of characters that a terminal would obey."""
    return name if name.isprintable() else repr(name)


def _empty_folders(folder: Path, kind: FileKind, splits: dict[str, str], names: Sequence[str]) -> list[BadFile]:
    depth = 2 if splits else 1
    filled = {PurePosixPath(name).parts[:depth] for name in names if _is_of_kind(kind, name)}
    empty = []
    for top in [folder / name for name in splits] or [folder]:
        for subfolder in sorted(top.iterdir(), key=lambda path: natural_key(path.name)):
            if is_hidden(subfolder.name) or not subfolder.is_dir():
                continue
            name = composed(subfolder.relative_to(folder).as_posix())
            if PurePosixPath(name).parts in filled:
                continue
            if not any(_is_of_kind(kind, path.name) for path in walk(subfolder)):
                held = refused_kinds(path.name for path in walk(subfolder))
                it_is = f"it holds {held}, which are not read: save them as PNG" if held else "it is empty"
                empty.append(BadFile(f"{name}/", f"a user's folder must hold {kind.noun}s, {it_is}"))
            # A link to the folder of a user is that user; a folder full of links is perhaps meant as another one.
            elif not subfolder.is_symlink():
                reason = f"a user's folder must hold {kind.noun}s, it holds only links to {kind.noun}s of other folders"
                empty.append(BadFile(f"{name}/", reason))
    return empty
