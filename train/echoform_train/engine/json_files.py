"""JSON files: read what others may have written, and write atomically."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from echoform_train.engine.atomic_files import write_text
from echoform_train.engine.errors import UserError
from echoform_train.engine.text_files import read_text

DEEPEST = 64
"""Deepest nesting of lists and objects that is read."""
MOST_LISTS = 2_000_000
"""Most lists and objects that one text holds; each takes some 30 times its two characters of memory."""
LONGEST_INTEGER = 25
"""Most characters of a whole number."""


def read_json(path: Path, *, with_infinity: bool = False, utf_16: bool = False) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        with_infinity: Read Infinity and -Infinity too, which diffusers writes into the settings of its schedulers.
        utf_16: See `read_text`.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If it is no regular file, is larger than 64 MiB, is no UTF-8 or no JSON, is nested deeper than 64
            levels, or holds a number that is not finite.
    """
    return parse_json(read_text(path, utf_16=utf_16), str(path), with_infinity=with_infinity)


def read_json_object(path: Path, *, with_infinity: bool = False, utf_16: bool = False) -> dict[str, Any]:
    """Read a JSON file that must hold an object; the arguments are those of `read_json`.

    Raises:
        MissingFileError: If there is no such file.
        UserError: As `read_json`, and if it holds anything but an object.
    """
    value = read_json(path, with_infinity=with_infinity, utf_16=utf_16)
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object, it holds {_kind(value)}")
    return value


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object per line, UTF-8 or UTF-16 with a byte order mark; empty lines are skipped.

    Raises:
        MissingFileError: If there is no such file.
        UserError: As `read_json`, and if a line holds anything but an object; the message has the line's number.
    """
    return [row for _, row in read_located_json_lines(path)]


def read_located_json_lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """As `read_json_lines`, with "line 3 of PATH" beside each object, for the messages of further checks."""
    rows = []
    # Not splitlines(), which also cuts at characters that may stand inside a text.
    for number, line in enumerate(re.split(r"\r\n|\r|\n", read_text(path, utf_16=True)), start=1):
        if line.strip():
            where = f"line {number} of {path}"
            row = parse_json(line, where)
            if not isinstance(row, dict):
                raise UserError(f"{where} must hold a JSON object, it holds {_kind(row)}")
            rows.append((where, row))
    return rows


def parse_json(text: str, name: str, *, with_infinity: bool = False) -> Any:
    """Parse JSON text.

    Args:
        text: The text.
        name: What it is, as the subject of the error's sentence.
        with_infinity: See `read_json`.

    Raises:
        UserError: If it is no JSON, is nested deeper than 64 levels, or holds a number that is not finite, a whole
            number of more than 25 digits, a name twice in one object, or more than two million lists and objects.
    """
    if text.count("[") + text.count("{") > MOST_LISTS:
        raise UserError(f"{name} must hold at most {MOST_LISTS:,} lists and objects")
    try:
        value = json.loads(
            text,
            parse_constant=_infinity if with_infinity else _refuse_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
            object_pairs_hook=_object,
        )
    # Deep nesting is a RecursionError.
    except (ValueError, RecursionError) as error:
        reason = f"it is nested deeper than {DEEPEST} levels" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{name} must be JSON with finite numbers: {reason}") from error
    if _is_deeper(value, DEEPEST):
        raise UserError(f"{name} must not be nested deeper than {DEEPEST} levels")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically.

    Raises:
        ValueError: If it holds a number that is not finite.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, atomically.

    Raises:
        ValueError: If a row holds a number that is not finite.
    """
    write_text(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no finite number")


def _infinity(name: str) -> float:
    return _refuse_constant(name) if name == "NaN" else float(name)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is too large for a number")
    return value


def _bounded_int(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER:
        raise ValueError(f"{digits[:10]}... has {len(digits)} digits")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object holds {twice[:100]!r} twice")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    if levels == 0:
        return True
    return any(_is_deeper(each, levels - 1) for each in (value.values() if isinstance(value, dict) else value))


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
