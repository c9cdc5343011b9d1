"""Hostile splits and names: files of --split-file and --save-split, users, conditions, folders and links."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile.corpus import Row
from hostile.inputs import depth_images, spectrograms, write_lines


def _good_split() -> dict[str, Any]:
    files = [f"ID_{user}/walk_t{100 * number:04d}.png" for user in (1, 2) for number in range(12)]
    sides = {"train": files[:6] + files[12:18], "validation": files[7:9] + files[19:21]}
    sides |= {"test": files[10:12] + files[22:24], "left_out": [files[6], files[9], files[18], files[21]]}
    return {**sides, "how": "contiguous with a gap", "gap_windows": 1, "seed": 0}


def _split(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], list[str]]:
    """A maker of a good source with a spoilt split."""

    def make(folder: Path) -> list[str]:
        split = _good_split()
        text = change(split)
        path = folder / "split.json"
        path.write_text(text if isinstance(text, str) else json.dumps(split))
        return ["prepare", str(spectrograms(folder / "data")), "--split-file", str(path)]

    return make


def _not_a_file(make_it: Callable[[Path], object], flag: str = "--split-file") -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        make_it(folder / "split.json")
        return ["prepare", str(spectrograms(folder / "data")), flag, str(folder / "split.json")]

    return make


def _rows(*rows: dict[str, Any], **every: Any) -> Callable[[Path], list[str]]:
    """A maker of a source with a metadata.jsonl whose first rows are changed."""

    def make(folder: Path) -> list[str]:
        data = spectrograms(folder / "data")
        names = [f"ID_{user}/walk_t{100 * number:04d}.png" for user in (1, 2) for number in range(12)]
        described = [{"file_name": name} | every for name in names]
        described[: len(rows)] = [old | new for old, new in zip(described, rows, strict=False)]
        write_lines(data / "metadata.jsonl", described)
        return ["prepare", str(data)]

    return make


def _folders(change: Callable[[Path], object], verb: str = "prepare") -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        data = (spectrograms if verb == "prepare" else depth_images)(folder / "data")
        change(data)
        return [verb, str(data)]

    return make


def _flags(*flags: str) -> Callable[[Path], list[str]]:
    return lambda folder: ["prepare", str(spectrograms(folder / "data")), *flags]


def _deep(data: Path) -> None:
    path = data / "ID_1"
    for number in range(60):
        path = path / f"f{number}"
    path.mkdir(parents=True)
    (path / "x.png").write_bytes(b"")


def _rename(old: str, new: str) -> Callable[[Path], object]:
    return lambda data: (data / old).rename(data / new)


def _with_axes(text: str) -> Callable[[Path], list[str]]:
    return _folders(lambda data: (data / "axes.json").write_text(text))


ROWS = [
    Row("good split", "prepare", _split(lambda split: None), r"Split read from", accepted=True),
    Row("split without validation", "prepare", _split(lambda s: s.update(validation=[])), r"none for validation"),
    Row("split without a test", "prepare", _split(lambda s: s.update(test=[])), r"none for test"),
    Row(
        "split of empty sides",
        "prepare",
        _split(lambda s: s.update(train=[], validation=[], test=[])),
        r"none for train",
    ),
    Row("split with an image twice", "prepare", _split(lambda s: s["test"].append(s["test"][0])), r"one side"),
    Row("split with an image on two sides", "prepare", _split(lambda s: s["test"].append(s["train"][0])), r"one side"),
    Row("split with an unknown name", "prepare", _split(lambda s: s["test"].append("ID_9/x.png")), r"not there"),
    Row(
        "split that lacks images",
        "prepare",
        _split(lambda s: s["train"].remove(s["train"][0])),
        r"1 images are not in it",
    ),
    Row("split with numbers for names", "prepare", _split(lambda s: s.update(train=[1, 2])), r"must be a text"),
    Row(
        "split with a text for a side",
        "prepare",
        _split(lambda s: s.update(train="ID_1")),
        r"a list of images",
    ),
    Row("split with null for a side", "prepare", _split(lambda s: s.update(train=None)), r"a list of images"),
    Row(
        "split with an object for a side",
        "prepare",
        _split(lambda s: s.update(train={})),
        r"a list of images",
    ),
    Row("split with a way out", "prepare", _split(lambda s: s["test"].append("../../x.png")), r"without \.\."),
    Row("split with an absolute path", "prepare", _split(lambda s: s["test"].append("/etc/x.png")), r"relative path"),
    Row("split with an escape code", "prepare", _split(lambda s: s["test"].append("\x1b[31m")), r"control characters"),
    Row("split with NUL", "prepare", _split(lambda s: s["test"].append("a\0")), r"control characters"),
    Row("split with half a character", "prepare", _split(lambda s: s["test"].append("\ud800")), r"control characters"),
    Row("split with a long name", "prepare", _split(lambda s: s["test"].append("a" * 5000)), r"at most 1000"),
    Row("split of an unknown method", "prepare", _split(lambda s: s.update(how="random")), r"must have a how among"),
    Row("split of a list for a method", "prepare", _split(lambda s: s.update(how=[])), r"must have a how among"),
    Row("split with a negative gap", "prepare", _split(lambda s: s.update(gap_windows=-1)), r"gap_windows in 0"),
    Row(
        "split with a gap of 400 digits",
        "prepare",
        _split(lambda s: s.update(gap_windows=10**400)),
        r"gap_windows in 0|401 digits",
    ),
    Row("split with a text for a seed", "prepare", _split(lambda s: s.update(seed="0")), r"whole seed"),
    Row("split without a seed", "prepare", _split(lambda s: s.pop("seed")), r"must be a split with"),
    Row("split that is a list", "prepare", _split(lambda s: "[]"), r"must hold a JSON object"),
    Row("split that is empty", "prepare", _split(lambda s: " "), r"must be JSON"),
    Row("split that is cut", "prepare", _split(lambda s: json.dumps(s)[:100]), r"must be JSON"),
    Row("split nested deep", "prepare", _split(lambda s: "[" * 200_000), r"nested deeper"),
    Row("split with NaN", "prepare", _split(lambda s: s.update(seed=float("nan"))), r"finite numbers"),
    Row("split of another number base", "prepare", _split(lambda s: "9" * 100_000), r"must be JSON"),
    Row("split file that is missing", "prepare", _not_a_file(lambda path: None), r"does not exist; it must"),
    Row("folder for a split", "prepare", _not_a_file(Path.mkdir), r"must be a regular file"),
    Row("pipe for a split", "prepare", _not_a_file(os.mkfifo), r"must be a regular file"),
    Row("device for a split", "prepare", _not_a_file(lambda p: p.symlink_to("/dev/zero")), r"must be a regular file"),
    Row("link to itself for a split", "prepare", _not_a_file(lambda p: p.symlink_to(p)), r"split\.json"),
    Row("folder to save a split", "prepare", _not_a_file(Path.mkdir, "--save-split"), r"must be a regular file"),
    Row("pipe to save a split", "prepare", _not_a_file(os.mkfifo, "--save-split"), r"must be a regular file"),
    Row(
        "text in the place of a split to save",
        "prepare",
        _not_a_file(lambda path: path.write_text("my notes"), "--save-split"),
        r"must be JSON",
    ),
    Row("user with a way out", "prepare", _rows({"user": "../../x"}), r"line 1 of .*metadata.jsonl must not hold /"),
    Row("user that is a parent folder", "prepare", _rows({"user": ".."}), r"must not start with a dot"),
    Row("user that is empty", "prepare", _rows({"user": ""}), r"must not be empty or blank"),
    Row("user of blanks", "prepare", _rows({"user": "   "}), r"must not be empty or blank"),
    Row("user with NUL", "prepare", _rows({"user": "a\0b"}), r"U\+0000"),
    Row("user with a newline", "prepare", _rows({"user": "a\nb"}), r"U\+000A"),
    Row("user with an escape code", "prepare", _rows({"user": "\x1b[2J"}), r"U\+001B"),
    Row("user that turns the text around", "prepare", _rows({"user": "a\u202eb"}), r"U\+202E"),
    Row("user of 300 letters", "prepare", _rows({"user": "a" * 300}), r"at most 100 characters, it has 300"),
    Row("user called as a file", "prepare", _rows({"user": "metadata.jsonl"}), r"must not be called as a file"),
    Row("user that is a list", "prepare", _rows({"user": ["a"]}), r"must be a text"),
    Row("user that is half a number", "prepare", _rows({"user": 1.5}), r"must be a text"),
    Row("user that is true", "prepare", _rows({"user": True}), r"must be a text"),
    Row("recording with an escape code", "prepare", _rows({"recording": "\x1b]0;x\x07"}), r"U\+001B"),
    Row("recording that is an object", "prepare", _rows({"recording": {}}), r"recording of line 1 .* must be a text"),
    Row("start of 400 digits", "prepare", _rows({"start_s": 10**400}), r"has 401 digits"),
    Row("start that is true", "prepare", _rows({"start_s": True}), r"must be a number of seconds"),
    Row("file outside the folder", "prepare", _rows({"file_name": "../data/ID_1/walk_t0000.png"}), r"without \.\."),
    Row("absolute file", "prepare", _rows({"file_name": "/etc/passwd"}), r"relative path"),
    Row("file that is a number", "prepare", _rows({"file_name": 3}), r"file_name of line 1 .* must be a text"),
    Row("condition with a way out", "prepare", _rows({"load": "../x"}, load="none"), r"load .* must not hold /"),
    Row("condition with a newline", "prepare", _rows({"load": "a\nb"}, load="none"), r"U\+000A"),
    Row("name of a condition with a dot", "prepare", _rows(**{"a.b": "none"}), r"must not hold a dot"),
    Row("folder with a newline", "prepare", _folders(_rename("ID_1", "ID\n1")), r"U\+000A"),
    Row("folder with an escape code", "prepare", _folders(_rename("ID_1", "\x1b[31mID")), r"U\+001B"),
    Row("folder of 150 letters", "prepare", _folders(_rename("ID_1", "a" * 150)), r"at most 100 characters"),
    Row("class with escape code", "prepare-depth", _folders(_rename("box", "\x1b[31m"), "prepare-depth"), r"U\+001B"),
    Row("folders 60 deep", "prepare", _folders(_deep), r"at most 32 folders deep"),
    Row(
        "link to the folder above",
        "prepare",
        _folders(lambda data: (data / "ID_1" / "loop").symlink_to(data)),
        r"must not hold a link to a folder above it",
    ),
    Row(
        "depth images with a link to the folder above",
        "prepare-depth",
        _folders(lambda data: (data / "box" / "loop").symlink_to(data), "prepare-depth"),
        r"must not hold a link to a folder above it",
    ),
    Row(
        "pipe named like an image",
        "prepare",
        _folders(lambda data: os.mkfifo(data / "ID_1" / "x.png")),
        r"must be a regular file",
    ),
    Row(
        "pipe named like a depth image",
        "prepare-depth",
        _folders(lambda data: os.mkfifo(data / "box" / "depth_box_0099.png"), "prepare-depth"),
        r"must be a regular file",
    ),
    Row(
        "image that links nowhere",
        "prepare",
        _folders(lambda d: (d / "ID_1/x.png").symlink_to("no")),
        r"regular file",
    ),
    Row("pipe named metadata", "prepare", _folders(lambda data: os.mkfifo(data / "metadata.jsonl")), r"regular file"),
    Row("pipe named axes", "prepare", _folders(lambda data: os.mkfifo(data / "axes.json")), r"regular file"),
    Row(
        "axes of 400 digits",
        "prepare",
        _with_axes('{"window_s": 1' + "0" * 400 + "}"),
        r"has 401 digits",
    ),
    Row("axes of no length", "prepare", _with_axes('{"window_s": 0}'), r"must have a window_s above 0"),
    Row("axes upside down", "prepare", _with_axes('{"db_min": 0, "db_max": -30}'), r"must have db_min below db_max"),
    Row("axes with NaN", "prepare", _with_axes('{"window_s": NaN}'), r"finite numbers"),
    Row(
        "window of NaN",
        "prepare",
        lambda f: ["prepare", str(spectrograms(f / "d")), "--window-s", "nan"],
        r"--window-s must be a positive number of seconds, got nan",
    ),
    Row(
        "gap of 400 digits",
        "prepare",
        _flags("--gap-windows", "1" + "0" * 400),
        r"--gap-windows must be in 0",
    ),
    Row(
        "share of NaN",
        "prepare-depth",
        lambda f: ["prepare-depth", str(depth_images(f / "d")), "--test-share", "nan"],
        r"shares must be positive",
    ),
]
