"""CSV files: read what spreadsheets and others have written."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

from echoform_train.engine.errors import UserError, refused_by
from echoform_train.engine.text_files import read_text

MOST_ROWS = 1_000_000

# fmt: off
_MISSING = frozenset((
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
))
# fmt: on
"""Cells without a value, as pandas and so `datasets` read them."""
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9]\d{0,24})(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)


def read_located_csv_rows(
    path: Path, *, texts: Sequence[str] = ()
) -> list[tuple[str, dict[str, str | int | float | None]]]:
    """Read a file of comma-separated cells, in quotes or not, under a first line of column names.

    A column is of numbers where every cell reads as one, as in pandas; but numbers with leading zeros, such as 007, are
    names and stay texts. Empty lines are skipped.

    Args:
        path: The file, UTF-8 or UTF-16 with a byte order mark.
        texts: Columns that are texts whatever they hold, and of which only an empty cell is none.

    Returns:
        For each row, "line 3 of PATH" for the messages of further checks, and its cells by column.

    Raises:
        MissingFileError: If there is no such file.
        UserError: As `read_text`, and if a column has no name or the name of another, a row has more cells than there
            are columns, or the file is no CSV.
    """
    lines: list[tuple[str, list[str]]] = []
    text = read_text(path, utf_16=True)
    if "\0" in text:
        raise UserError(f"{path} must be text, it holds NUL bytes")
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    with refused_by(f"{path} must be a table of comma-separated cells", (csv.Error,)):
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((f"line {reader.line_num} of {path}", [cell.strip() for cell in cells]))
            if len(lines) > MOST_ROWS + 1:
                raise UserError(f"{path} must hold at most {MOST_ROWS:,} rows")
    if not lines:
        raise UserError(f"{path} must hold a line of column names, it is empty")
    (where, names), *rows = lines
    for name in names:
        if not name or names.count(name) > 1:
            problem = f"the column {name[:100]!r} twice" if name else "a column without a name"
            raise UserError(f"{where} must name each column once, it holds {problem}")
    for where, cells in rows:
        if len(cells) > len(names):
            raise UserError(f"{where} must have {len(names)} cells, as there are columns, it has {len(cells)}")

    columns = {}
    for index, name in enumerate(names):
        cells = [row[index] if index < len(row) else "" for _, row in rows]
        columns[name] = [cell or None for cell in cells] if name in texts else _values(cells)
    return [
        (where, {name: values[number] for name, values in columns.items()}) for number, (where, _) in enumerate(rows)
    ]


def _values(cells: Sequence[str]) -> list[str | int | float | None]:
    given = [None if cell in _MISSING else cell for cell in cells]
    numbers = [None if cell is None else _number(cell) for cell in given]
    if all(number is not None or cell is None for cell, number in zip(given, numbers, strict=True)):
        return list(numbers)
    return list(given)


def _number(cell: str) -> int | float | None:
    """The number that a cell holds; None for a text."""
    if _NUMBER.fullmatch(cell) is None:
        return None
    number = float(cell)
    if not math.isfinite(number):
        return None
    return int(cell) if cell.lstrip("+-").isdigit() else number
