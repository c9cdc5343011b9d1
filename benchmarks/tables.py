"""Writes the published tables into the pages: each is rendered from the JSON file that its run wrote.

    python benchmarks/tables.py

A table stands between `<!-- table: FILE NAME -->` and `<!-- end of table -->`, where FILE lies in benchmarks/results/
and NAME is one of its tables. Text below `<!-- numbers: FILE ... -->`, up to the next heading, quotes numbers of these
files. `make tables` runs this script, and tests/docs/test_published_numbers.py checks that it changes nothing, that
quoted numbers are in their files, and that no measured number stands elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

from echoform_train.engine.json_files import read_json
from echoform_train.engine.provenance import code_name

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TABLE = re.compile(r"<!-- table: (\S+) (\S+) -->\n.*?<!-- end of table -->\n", re.DOTALL)

Cell: TypeAlias = "str | Sequence[Any]"
"""Text, or a list of a format string and its numbers, such as `["{:.1f} % ({:.1f} to {:.1f})", 91.7, 89.3, 94.0]`."""


class Table(TypedDict):
    """A published table."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def cell(text: str, *numbers: float | None) -> Cell:
    """A cell of numbers: a format string and what it takes; an empty cell if any of them was not measured."""
    return "" if None in numbers else [text, *numbers]


def mean_cell(entry: Any, text: str, unit: str = "", factor: float = 1) -> list[Any]:
    """A cell of a mean with its 95 % interval, where there is one.

    Args:
        entry: `mean`, `low` and `high`; the ends are None where there is one value only.
        text: Format of each number, such as `{:.1f}`.
        unit: What follows the mean.
        factor: 100 for percent.
    """
    if entry["low"] is None:
        return [text + unit, factor * entry["mean"]]
    return [f"{text}{unit} ({text} to {text})", *(factor * entry[name] for name in ("mean", "low", "high"))]


def markdown(table: Table) -> str:
    """A table in Markdown."""
    lines = [_line(table["columns"]), "|" + "---|" * len(table["columns"])]
    lines += [_line([_text(one) for one in row]) for row in table["rows"]]
    return "\n".join(lines) + "\n"


def source(facts: dict[str, Any], link: str) -> str:
    """One line below a table: whether a run wrote its file, when, and on which commit and machine."""
    if "transcribed" in facts["origin"]:
        return f"*[Transcribed]({link}): the file that the run wrote was not kept.*\n"
    if facts["origin"].startswith("not measured"):
        return f"*[Not measured]({link}): no GPU was at hand.*\n"
    if parts := facts.get("parts"):
        # Several runs may have measured the parts of one file.
        dates, names, devices = (
            ", ".join(sorted({value(part) for part in parts.values()}))
            for value in (lambda part: part["date"], code_name, lambda part: part["device"])
        )
        return f"*[Written by runs]({link}) of {dates} at {names}, {devices}.*\n"
    threads = facts["machine"]["threads"]
    cores = f"{threads} core{'s' if threads > 1 else ''} of {facts['machine']['processor']}"
    return f"*[Written by a run]({link}) of {facts['date']} at {code_name(facts)}, {cores}.*\n"


def pages() -> list[Path]:
    """The pages that publish measured numbers."""
    return [ROOT / "README.md", *sorted(ROOT.glob("benchmarks/*.md")), *sorted(ROOT.glob("docs/*.md"))]


def rendered(page: Path) -> str:
    """The text of a page with every marked table as its file has it."""

    def block(match: re.Match[str]) -> str:
        file, name = match.groups()
        facts = read_json(RESULTS / file)
        link = Path(os.path.relpath(RESULTS / file, page.parent)).as_posix()
        begin, end = f"<!-- table: {file} {name} -->\n", "<!-- end of table -->\n"
        return f"{begin}\n{markdown(facts['tables'][name])}\n{source(facts, link)}\n{end}"

    return TABLE.sub(block, page.read_text(encoding="utf-8"))


def main() -> None:
    for page in pages():
        page.write_text(rendered(page), encoding="utf-8")


def _text(one: Cell) -> str:
    return one if isinstance(one, str) else one[0].format(*one[1:])


def _line(cells: Sequence[str]) -> str:
    # An empty cell is "| |" in these pages.
    return "|" + "".join(f" {text} |" if text else " |" for text in cells)


if __name__ == "__main__":
    main()
