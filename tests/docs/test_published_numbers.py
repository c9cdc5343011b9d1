"""Every measured number of the pages is that of a file in benchmarks/results/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from doc_pages import ROOT, load_script

RESULTS = ROOT / "benchmarks" / "results"
FILES = sorted(RESULTS.glob("*.json"))
SCRIPTS = [
    path
    for path in sorted(ROOT.glob("benchmarks/*.py"))
    if "from tables import RESULTS" in path.read_text(encoding="utf-8")
]
"""Benchmarks that write a file of results."""
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("benchmarks/*.md")),
    *(page for page in sorted(ROOT.glob("docs/*.md")) if page.name != "command-line.md"),  # written from the flags
]
UNITS = r"(?:%|dB|ms|s|min|minutes|points?|times|mm|[MG]i?B|GFLOP/s)(?!\w)"
NUMBER = re.compile(r"(?<![\w.#-])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?![\w.-]*\w)")
ENUMERATED = re.compile(rf"(?:(?:,| and| to| or) ?[-+]?\d[\d.,]*\d|(?:,| and| to| or) ?\d)*\s{UNITS}")
TABLE = re.compile(r"^<!-- table: (\S+) (\S+) -->\n.*?^<!-- end of table -->\n", re.MULTILINE | re.DOTALL)
NOT_PROSE = re.compile(
    r"^```.*?^```|^\|[-|]+\|$|^#+ [^\n]*$|`[^`]*`|\]\([^)]*\)|\d{4}-\d\d-\d\d|<!-- (?!numbers).*?-->"
    r"|95 %(?=\s+interval)",
    re.MULTILINE | re.DOTALL,
)
MARKER = re.compile(r"<!-- numbers: ([^>]*) -->")


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    """The script that writes the tables of the pages."""
    return load_script("tables", folder="benchmarks")


def passages(page: Path) -> Iterator[tuple[list[str], str]]:
    """Text of a page without its written tables, code and links, beside the files that its numbers come from.

    A marker holds up to the next marker or heading; text without one comes with an empty list.
    """
    for section in re.split(r"^(?=#+ )", TABLE.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE):
        unmarked, *parts = MARKER.split(NOT_PROSE.sub("", section))
        yield [], unmarked
        for files, text in zip(parts[::2], parts[1::2], strict=True):
            yield files.split(), text


def measured(text: str) -> Iterator[tuple[str, bool]]:
    """Numbers with a decimal point or a unit of measurement, or alone in a cell of a table.

    Yields:
        The number as printed, and whether a percent sign or points follow.
    """
    for match in NUMBER.finditer(text):
        unit = ENUMERATED.match(text, match.end())
        is_alone = text[: match.start()].rstrip(" *").endswith("|") and text[match.end() :].lstrip(" *").startswith("|")
        if unit or is_alone or "." in match[0]:
            yield match[0], bool(unit and re.search(r"(%|points?)$", unit[0]))


def numbers(value: Any) -> Iterator[float]:
    """All numbers of a JSON value, those in its texts too."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, str):  # settings, such as those of a command or in the title of a column
        yield from (float(match[0].replace(",", "")) for match in NUMBER.finditer(value))
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)


def is_rounding_of(printed: str, is_percent: bool, known: set[float]) -> bool:
    """Whether a printed number is one of the known ones, or the percentage of a share, rounded as it is printed."""
    digits = printed.replace(",", "")
    value, places = float(digits), max(0, -int(Decimal(digits).as_tuple().exponent))
    half = 0.5 * 10**-places + 1e-9
    signs = (1,) if digits[0] in "+-" else (1, -1)  # "loses 1.8 points" for -1.8
    factors = (1, 100) if is_percent else (1,)
    return any(abs(sign * factor * one - value) <= half for one in known for sign in signs for factor in factors)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_of_a_page_are_those_of_their_files(page: Path, tables: ModuleType):
    assert page.read_text(encoding="utf-8") == tables.rendered(page), "run `make tables`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_numbers_quoted_in_a_page_are_in_the_files_that_it_names(page: Path):
    wrong = []
    for files, text in passages(page):
        if files == ["settings"]:  # numbers of formats and commands, which no run measured
            continue
        known = {one for file in files for one in numbers(json.loads((RESULTS / file).read_text(encoding="utf-8")))}
        wrong += [
            (number, files)
            for number, percent in measured(text)
            if files and not is_rounding_of(number, percent, known)
        ]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_holds_no_measured_number_without_a_file(page: Path):
    assert not [(number, text[:80]) for files, text in passages(page) if not files for number, _ in measured(text)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_says_where_its_numbers_come_from(file: Path):
    facts = json.loads(file.read_text(encoding="utf-8"))
    if facts["origin"] == "written by the run":
        assert re.fullmatch(r"[0-9a-f]{12}|release \S+", facts["commit"])  # of a checkout without changes
        assert facts["command"]
        assert facts["settings"]
        assert {"torch", "diffusers"} <= set(facts["versions"])
        assert {"processor", "cores", "threads", "instruction_sets"} <= set(facts["machine"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", facts["date"])
        # Each part that a file keeps from an earlier run names its own commit.
        assert all(re.fullmatch(r"[0-9a-f]{12}|release \S+", part["commit"]) for part in _parts(facts))
    elif facts["origin"].startswith("not measured"):
        rows = [row for table in facts["tables"].values() for row in table["rows"]]
        assert {cell for row in rows for cell in row[1:]} == {"not measured"}
        assert facts["commit"] is None and not facts["parts"]
    else:
        assert re.match(r"transcribed from the table published at commit [0-9a-f]{12};", facts["origin"])
        assert facts["commit"] is None


def _parts(facts: dict[str, Any]) -> list[dict[str, Any]]:
    parts = facts.get("parts", {})
    return list(parts.values()) if isinstance(parts, dict) else []


def test_every_file_is_quoted_by_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not [file.name for file in FILES if file.name not in pages]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_benchmark_writes_to_the_results_by_default(script: Path):
    # The settings of stock.py stand in stock_calls.py, those of gpu.py in gpu_config.py.
    name = script.stem.removesuffix("_calls").removesuffix("_config")
    assert f'output: Path = RESULTS / "{name}.json"' in script.read_text(encoding="utf-8")


def test_a_table_is_rendered_with_the_digits_of_its_formats(tables: ModuleType):
    entry = {"mean": 0.91666, "low": 0.8776, "high": 0.9557}
    rows = [
        ["judge", tables.mean_cell(entry, "{:.1f}", " %", 100), tables.cell("{:,.0f} ms", 1244.4)],
        ["none", tables.mean_cell({"mean": 2.5, "low": None, "high": None}, "{:.2f}"), tables.cell("{}", None)],
    ]
    lines = ["| | share | cost |", "|---|---|---|", "| judge | 91.7 % (87.8 to 95.6) | 1,244 ms |", "| none | 2.50 | |"]
    assert tables.markdown({"columns": ["", "share", "cost"], "rows": rows}) == "\n".join(lines) + "\n"


def test_measured_numbers_are_those_with_a_decimal_point_or_a_unit():
    text = "15 people in 256x256 named 81 to 92 % right, -0.3 points less; see `--seed 3` of 2026-11-22, 95 % intervals"
    assert list(measured(NOT_PROSE.sub("", text))) == [("81", True), ("92", True), ("-0.3", True)]
    assert list(measured("| 256 images | **151** | some 3 | 1,244 |")) == [("151", False), ("1,244", False)]


@pytest.mark.parametrize(
    ("printed", "is_percent", "known", "holds"),
    [
        ("34.1", False, 34.05, True),
        ("34.2", False, 34.05, False),
        ("93.4", True, 0.934375, True),
        ("93.4", False, 0.934375, False),
        ("1.8", True, -1.8, True),
        ("+0.7", True, -0.7, False),
        ("1,244", False, 1244.4, True),
    ],
)
def test_a_quoted_number_is_a_rounding_of_the_measured_one(printed: str, is_percent: bool, known: float, holds: bool):
    assert is_rounding_of(printed, is_percent, {known}) == holds
