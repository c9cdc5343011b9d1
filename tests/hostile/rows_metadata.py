"""Hostile metadata.jsonl and axes.json beside good spectrograms."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile.corpus import Row
from hostile.inputs import spectrograms, write_lines

IMAGE = "ID_1/walk_t0000.png"


def _lines(data: Path) -> list[dict[str, Any]]:
    return [
        {"file_name": path.relative_to(data).as_posix(), "user": path.parent.name, "condition": "normal"}
        for path in sorted(data.rglob("*.png"))
    ]


def _with_rows(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], list[str]]:
    """A maker of a good source whose rows are changed."""

    def make(folder: Path) -> list[str]:
        data = spectrograms(folder / "data")
        rows = _lines(data)
        change(rows)
        write_lines(data / "metadata.jsonl", rows)
        return ["prepare", str(data)]

    return make


def _first(**values: Any) -> Callable[[list[dict[str, Any]]], object]:
    return lambda rows: rows[0].update(values)


def _with_file(name: str, content: bytes | str | Callable[[Path], object]) -> Callable[[Path], list[str]]:
    """A maker of a good source with one more file."""

    def make(folder: Path) -> list[str]:
        data = spectrograms(folder / "data")
        if isinstance(content, (bytes, str)):
            (data / name).write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            content(data / name)
        return ["prepare", str(data)]

    return make


def rows(name: str, change: Callable[[list[dict[str, Any]]], object], expected: str) -> Row:
    """A row of the corpus whose rows of metadata are changed."""
    return Row(name, "prepare", _with_rows(change), rf"metadata\.jsonl[^\n]*{expected}|{expected}")


def _two_kinds(folder: Path) -> list[str]:
    words = _with_rows(lambda rows: None)(folder)
    (folder / "data" / "metadata.csv").write_text(f"file_name\n{IMAGE}\n")
    return words


def table(name: str, content: bytes | str | Callable[[Path], object], expected: str) -> Row:
    """A row of the corpus with this metadata.csv."""
    return Row(f"table: {name}", "prepare", _with_file("metadata.csv", content), expected)


def metadata(name: str, content: bytes | str | Callable[[Path], object], expected: str) -> Row:
    """A row of the corpus with another metadata.jsonl."""
    return Row(
        f"metadata: {name}", "prepare", _with_file("metadata.jsonl", content), rf"metadata\.jsonl[^\n]*{expected}"
    )


def axes(name: str, content: Any, expected: str) -> Row:
    """A row of the corpus with an axes.json."""
    text = content if isinstance(content, (bytes, str)) or callable(content) else json.dumps(content)
    return Row(f"axes: {name}", "prepare", _with_file("axes.json", text), rf"axes\.json[^\n]*{expected}")


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**36)


METADATA = [
    rows("user that climbs", _first(user="../../x"), "must not hold / "),
    rows("user that is empty", _first(user=""), "must not be empty"),
    rows("user of spaces", _first(user="   "), "must not be empty"),
    rows("user of NUL", _first(user="a\0b"), r"U\+0000"),
    rows("user of two lines", _first(user="a\nb"), r"U\+000A"),
    rows("user with an escape code", _first(user="\x1b[31mred"), r"U\+001B"),
    rows("user that turns the text around", _first(user="a\u202eb"), r"U\+202E"),
    rows("user of 300 letters", _first(user="a" * 300), "at most 100 characters"),
    rows("user called like our file", _first(user="metadata.jsonl"), "must not be called"),
    rows("user that is a list", _first(user=["a"]), "must be a text"),
    rows("user that is a fraction", _first(user=1.5), "must be a text"),
    rows("user that is true", _first(user=True), "must be a text"),
    rows("user of half a letter", _first(user="\ud800"), r"U\+D800"),
    rows("recording that is an object", _first(recording={"a": 1}), "must be a text"),
    rows("file name that climbs", _first(file_name="../" + IMAGE), r"without \.\."),
    rows("file name that is absolute", _first(file_name="/etc/passwd"), "relative path"),
    rows("file name that is a number", _first(file_name=3), "must be a text"),
    rows("file name that is empty", _first(file_name=""), "must not be empty"),
    rows("no file name", lambda rows: rows[0].pop("file_name"), "file_name"),
    rows("two rows of one file", lambda rows: rows.append(rows[0]), "has two"),
    rows("two spellings of one file", lambda rows: rows.append(rows[0] | {"file_name": "./" + IMAGE}), "has two"),
    rows("row of a file that is not there", lambda rows: rows.append({"file_name": "ID_1/no.png"}), "does not exist"),
    rows("image without a row", lambda rows: rows.pop(0), "must have a row"),
    rows("start that is a text", _first(start_s="soon"), "number of seconds"),
    rows("start that is true", _first(start_s=True), "number of seconds"),
    rows("start of 10^300 seconds", _first(start_s=1e300), "number of seconds"),
    rows("condition that is a list", _first(condition=["a"]), "condition"),
    rows("condition of two lines", _first(condition="a\nb"), r"U\+000A|condition"),
    rows("condition of a million letters", _first(condition="a" * 1_000_000), "condition|at most"),
    metadata("no bytes", b"", "row"),
    metadata("no JSON", "walk\n", "must be JSON"),
    metadata("a list in a line", "[1, 2]\n", "must hold a JSON object"),
    metadata("null in a line", "null\n", "must hold a JSON object"),
    metadata("cut line", '{"file_name": "ID_1/wa', "must be JSON"),
    metadata("100,000 brackets", '{"file_name": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested deeper"),
    metadata("number of 400 digits", f'{{"file_name": "{IMAGE}", "start_s": {"9" * 400}}}', "digits|too large"),
    metadata("number of 5,000 digits", f'{{"file_name": "{IMAGE}", "start_s": {"9" * 5000}}}', "digits|too large"),
    metadata("NaN", f'{{"file_name": "{IMAGE}", "start_s": NaN}}', "finite"),
    metadata("infinity by its exponent", f'{{"file_name": "{IMAGE}", "start_s": 1e999}}', "finite|too large"),
    metadata("a name twice in a row", f'{{"file_name": "{IMAGE}", "user": "a", "user": "b"}}', "twice"),
    metadata("UTF-16 that is cut", f'{{"file_name": "{IMAGE}"}}'.encode("utf-16")[:-1], "UTF-8 text, or UTF-16"),
    metadata("UTF-16 without its mark", f'{{"file_name": "{IMAGE}"}}'.encode("utf-16-le"), "must be JSON"),
    metadata("no Unicode", b'{"file_name": "\xff\xfe"}', "must be UTF-8"),
    metadata("NUL bytes", bytes(1000), "must be JSON"),
    metadata("10 million empty lists", '{"a": [' + "[]," * 10_000_000 + "0]}", "lists and objects"),
    metadata("64 GiB", _sparse, "at most 64 MiB"),
    metadata("a folder", lambda path: path.mkdir(), "regular file"),
    metadata("a pipe", os.mkfifo, "regular file"),
    metadata("a device", lambda path: path.symlink_to("/dev/zero"), "regular file"),
    Row(
        "metadata: a link to nothing",
        "prepare",
        _with_file("metadata.jsonl", lambda path: path.symlink_to("nowhere")),
        r"there is no file [^\n]*metadata\.jsonl",
    ),
    table("no rows", "file_name,user\n", "must have a row"),
    table("no bytes", "", r"metadata\.csv must hold a line of column names"),
    table("semicolons", f"file_name;user\n{IMAGE};a\n", r"metadata\.csv must have a column file_name, and commas"),
    table(
        "more cells than columns", f"file_name,user\n{IMAGE},a,b\n", r"line 2 of [^\n]*metadata\.csv must have 2 cells"
    ),
    table("a column twice", f"file_name,user,user\n{IMAGE},a,b\n", "the column 'user' twice"),
    table("a column without a name", f"file_name,\n{IMAGE},a\n", "a column without a name"),
    table("a cell of a megabyte", f"file_name,user\n{IMAGE},{'a' * 1_000_000}\n", "table of comma-separated cells"),
    table("NUL bytes", bytes(1000), r"metadata\.csv must"),
    table("no Unicode", b"file_name,user\nJ\xf6rg/1.png,a\n", "UTF-8 text, or UTF-16"),
    table("a row twice", f"file_name,user\n{IMAGE},a\n{IMAGE},b\n", "must have one row"),
    table(
        "a path outside", "file_name,user\n..\\..\\x.png,a\n", r"line 2 of [^\n]*metadata\.csv must be a relative path"
    ),
    table("a start that is a text", f"file_name,start_s\n{IMAGE},soon\n", "number of seconds"),
    table("10 million rows", "file_name\n" + "x\n" * 10_000_000, "at most 1,000,000 rows"),
    table("a folder", lambda path: path.mkdir(), "regular file"),
    Row("two kinds of metadata", "prepare", _two_kinds, "must have one file of metadata"),
]

AXES = [
    axes("no bytes", b"", "must be JSON"),
    axes("a list", [1, 2], "must hold a JSON object"),
    axes("a number", 3, "must hold a JSON object"),
    axes("texts", {"window_s": "3"}, "plain numbers"),
    axes("true", {"window_s": True}, "plain numbers"),
    axes("null", {"window_s": None}, "plain numbers"),
    axes("nested", {"window_s": {"s": 3}}, "plain numbers"),
    axes("NaN", '{"window_s": NaN}', "finite"),
    axes("infinity", '{"db_max": Infinity}', "finite"),
    axes("number of 400 digits", f'{{"window_s": {"1" * 400}}}', "digits|too large|plain numbers"),
    axes("window of no length", {"window_s": 0}, "above 0"),
    axes("window of negative length", {"window_s": -3}, "above 0"),
    axes("Doppler upside down", {"doppler_min_hz": 200, "doppler_max_hz": -200}, "doppler_min_hz below"),
    axes("Doppler without extent", {"doppler_min_hz": 0, "doppler_max_hz": 0}, "doppler_min_hz below"),
    axes("decibels upside down", {"db_min": 0, "db_max": -30}, "db_min below"),
    axes("a name twice", '{"window_s": 3, "window_s": 1}', "twice"),
    axes("a name with an escape code", {"\x1b[2J": 1}, r"U\+001B"),
    axes("deep", "[" * 2000 + "]" * 2000, "nested deeper"),
    axes("a pipe", os.mkfifo, "regular file"),
    axes("a folder", lambda path: path.mkdir(), "regular file"),
    axes("UTF-16 without its mark", json.dumps({"window_s": 3}).encode("utf-16-le"), "must be JSON"),
    Row(
        "axes: UTF-16",
        "prepare",
        _with_file("axes.json", json.dumps({"window_s": 3}).encode("utf-16")),
        "Axes: window_s 3",
        accepted=True,
    ),
    Row(
        "axes: with the mark of UTF-8",
        "prepare",
        _with_file("axes.json", b"\xef\xbb\xbf" + b'{"window_s": 3}'),
        "Axes: window_s 3",
        accepted=True,
    ),
]

ROWS = [*METADATA, *AXES]
