"""Read metadata.jsonl and axes.json, which describe the images of a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePosixPath
from typing import Any

from echoform_train.engine.errors import UserError
from echoform_train.engine.files import METADATA


def read_metadata(folder: Path, splits: dict[str, str]) -> tuple[dict[str, dict[str, Any]] | None, list[str]]:
    """Read metadata.jsonl at the top of a folder and in its split folders.

    Args:
        folder: The folder.
        splits: Its split folders, see `split_folders`.

    Returns:
        Rows by name of the image, None if there is no such file; and the names of the files that hold them.

    Raises:
        ValueError: If a row is malformed, an image has two rows, or there is a metadata.csv.
    """
    rows: dict[str, dict[str, Any]] = {}
    read = []
    for subfolder in ("", *splits):
        csv_path = folder / subfolder / "metadata.csv"
        if csv_path.is_file():
            raise UserError(f"metadata must be a {METADATA}, {csv_path} is not read")
        path = folder / subfolder / METADATA
        if not path.is_file():
            continue
        read.append(path.relative_to(folder).as_posix())
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                name, row = _parse_row(line, f"{path} line {number}")
                name = (PurePosixPath(subfolder) / name).as_posix()
                if name in rows:
                    raise UserError(f"{path} line {number}: each file must have one row, {name} has two")
                rows[name] = row
    return (rows if read else None), read


def _parse_row(line: str, where: str) -> tuple[str, dict[str, Any]]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: a row must be one JSON object ({error})") from error
    if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
        raise UserError(f"{where}: a row must name its file as a file_name, got {line[:80]}")
    start_s = row.get("start_s")
    if start_s is not None and not (_is_number(start_s) and math.isfinite(start_s)):
        raise UserError(f"{where}: start_s must be a number of seconds, got {start_s!r}")
    return PurePosixPath(row["file_name"]).as_posix(), row


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_axes(path: Path) -> dict[str, float] | None:
    """Read an axes.json: numbers by name; None if there is no such file, ValueError if it holds anything else."""
    if not path.is_file():
        return None
    try:
        axes = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} must be one JSON object ({error})") from error
    if not isinstance(axes, dict) or not all(_is_number(value) for value in axes.values()):
        raise UserError(f"{path} must map names to plain numbers, got {axes}")
    return {name: float(value) for name, value in axes.items()}
