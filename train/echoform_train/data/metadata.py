"""Read metadata.jsonl or metadata.csv, and axes.json, which describe the images of a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from echoform_train.engine.csv_files import read_located_csv_rows
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import METADATA, METADATA_CSV
from echoform_train.engine.json_files import read_json_object, read_located_json_lines
from echoform_train.engine.names import check_label, check_name, check_relative_path, composed, composed_values

LARGEST_START_S = 1e20
"""Latest start of a window in its recording; sensors count nanoseconds since 1970 too, which are 1e18."""

_ORDERED = (("doppler_min_hz", "doppler_max_hz"), ("db_min", "db_max"))
_POSITIVE = ("window_s", "hop_s")
_LARGEST_AXIS = 1e15


def read_metadata(folder: Path, splits: dict[str, str]) -> tuple[dict[str, dict[str, Any]] | None, list[str]]:
    """Read metadata.jsonl or metadata.csv at the top of a folder and in its split folders.

    Args:
        folder: The folder.
        splits: Its split folders, see `split_folders`.

    Returns:
        Rows by name of the image, None if there is no such file; and the names of the files that hold them. `user` and
        `recording` of a row are checked texts; all names and texts are in the composed Unicode form.

    Raises:
        ValueError: If a row is malformed, names a file outside the folder, has a user, recording or start that is none,
            an image has two rows, or a folder has both files.
    """
    rows: dict[str, dict[str, Any]] = {}
    read = []
    for subfolder in ("", *splits):
        path = metadata_file(folder / subfolder)
        if path is None:
            continue
        read.append(path.relative_to(folder).as_posix())
        for where, row in _read_rows(path):
            name = (PurePosixPath(subfolder) / _file_name(row.get("file_name"), where)).as_posix()
            if name in rows:
                raise UserError(f"{where}: each file must have one row, {name} has two")
            rows[name] = _checked_row(row, where)
    return (rows if read else None), read


def metadata_file(folder: Path) -> Path | None:
    """The metadata.jsonl or metadata.csv of a folder; None if it has neither.

    Raises:
        UserError: If it has both.
    """
    found = [folder / name for name in (METADATA, METADATA_CSV) if os.path.lexists(folder / name)]
    if len(found) > 1:
        raise UserError(f"a folder must have one file of metadata, {folder} holds {METADATA} and {METADATA_CSV}")
    return found[0] if found else None


def _read_rows(path: Path) -> Sequence[tuple[str, Mapping[str, Any]]]:
    if path.name == METADATA:
        return read_located_json_lines(path)
    rows = read_located_csv_rows(path, texts=("file_name", "user", "recording"))
    if rows and "file_name" not in rows[0][1]:
        columns = ", ".join(repr(name)[:60] for name in rows[0][1])
        raise UserError(f"{path} must have a column file_name, and commas between its columns; it has {columns}")
    return rows


def _file_name(value: object, where: str) -> str:
    r"""The path that a row names, in the composed Unicode form; Windows writes it with `\`."""
    name = value.replace("\\", "/") if isinstance(value, str) else value
    return composed(check_relative_path(name, "file_name", where))


def check_start(value: Any, source: object) -> float:
    """Check the start of a window in its recording.

    Returns:
        Seconds.

    Raises:
        UserError: If it is no number, or is not within 1e20 seconds of 0.
    """
    if not (_is_number(value) and abs(value) <= LARGEST_START_S):
        raise UserError(f"start_s of {source} must be a number of seconds, got {repr(value)[:40]}")
    return float(value)


def _checked_row(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The row with its user and recording as text; a number is a common name for either."""
    checked = composed_values(row)
    if row.get("user") is not None:
        checked["user"] = check_name(_number_as_text(row["user"]), "user", where)
    if row.get("recording") is not None:
        checked["recording"] = check_label(_number_as_text(row["recording"]), "recording", where)
    if row.get("start_s") is not None:
        checked["start_s"] = check_start(row["start_s"], where)
    return checked


def _number_as_text(value: Any) -> Any:
    return str(value) if type(value) is int and abs(value) < 10**18 else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_axes(path: Path) -> dict[str, float] | None:
    """Read an axes.json: finite numbers by name; None if there is no such file.

    Raises:
        ValueError: If it holds anything else, a length that is not positive, or a range that is upside down.
    """
    if not path.exists():
        return None
    return check_axes(read_json_object(path, utf_16=True), path)


def check_axes(axes: Mapping[str, Any], path: object) -> dict[str, float]:
    """Check what an axes.json, or the same entry of a model, holds.

    Args:
        axes: Numbers by name.
        path: Where they were read.

    Raises:
        UserError: If one is no plain number, a length is not positive, or a range is upside down.
    """
    for name, value in axes.items():
        check_label(name, "a name", path)
        if not (_is_number(value) and abs(value) <= _LARGEST_AXIS):
            raise UserError(f"{path} must map names to plain numbers, {name} is {repr(value)[:40]}")
    for name in _POSITIVE:
        if axes.get(name, 1) <= 0:
            raise UserError(f"{path} must have a {name} above 0, it is {axes[name]}")
    for low, high in _ORDERED:
        if low in axes and high in axes and axes[low] >= axes[high]:
            raise UserError(f"{path} must have {low} below {high}, they are {axes[low]} and {axes[high]}")
    return {name: float(value) for name, value in axes.items()}
