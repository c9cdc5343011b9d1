"""Hostile inputs as rows: what is made, at which door it comes in, and the sentence that must answer it.

A file `rows_<area>.py` in this folder holds a list `ROWS` of `Row`. To add a row, write a maker: a function that
takes an empty folder, writes the input below it and returns the words of the command line (without `echoform`):

    def _empty_image(folder: Path) -> list[str]:
        data = spectrograms(folder / "data")          # a good source, from inputs.py
        (data / "ID_1" / "walk_t0000.png").write_bytes(b"")
        return ["prepare", str(data)]

    ROWS = [Row("image of no bytes", "prepare", _empty_image, r"walk_t0000\\.png: .* the file is empty")]

Where the door is no command, `door` is a function at the top level of the file, which takes the words that `make`
returned and must raise: a ValueError or OSError raised by a line of ours (an OSError of the system passes where it has
a file name).

`test_hostile.py` runs each row in a process of its own, whose current folder, home and folder for temporary files are
empty ones, and asserts:

- exit status 1 or 2 (2 only for a flag that the parser refuses), or 0 for a row with `accepted=True`;
- `expected`, a regular expression, is found in stderr (with `accepted=True`: in stdout);
- stderr is one sentence: no traceback, at most MAX_LINES lines and MAX_CHARACTERS characters, beside the lines of
  files that --skip-bad-files skips;
- nothing is written, changed or removed outside the row's folder, and no temporary file is left;
- at most MAX_SECONDS and MAX_MIB of memory, Python and its libraries included.

Makers run in the process of the tests and may be slow once: what several rows share is made in a function with
`functools.cache` (in `tempfile.mkdtemp()`), and copied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

MAX_SECONDS = 20
MAX_MIB = 1536
MAX_LINES = 3
MAX_CHARACTERS = 1500

Door = str | Callable[[list[str]], object]


@dataclass(frozen=True)
class Row:
    """One hostile input."""

    name: str
    """What is wrong with it; unique in its file."""
    door: Door
    """The verb, such as "train ldm", with which the words of `make` begin; or a function that must raise."""
    make: Callable[[Path], list[str]]
    """Writes the input below an empty folder, and returns the words."""
    expected: str
    """Regular expression that is found in stderr; in stdout for an accepted row."""
    accepted: bool = False
    """Whether this input is right, although it looks odd: the command must succeed."""


def all_rows() -> dict[str, Row]:
    """Every row of the files rows_*.py in this folder, by "<area>: <name>"."""
    rows: dict[str, Row] = {}
    for path in sorted(Path(__file__).parent.glob("rows_*.py")):
        area = path.stem.removeprefix("rows_")
        for row in import_module(f"hostile.{path.stem}").ROWS:
            key = f"{area}: {row.name}"
            assert key not in rows, f"two rows are called {key}"
            rows[key] = row
    return rows
