"""Output folders that hold something else: data, results of other settings, files of a person, records that lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from hostile.corpus import Row
from hostile.inputs import depth_images, recordings, spectrograms
from hostile.models import copied

Prepare = Callable[[Path], None]
"""Puts something into the output folder."""


def file(name: str, content: str = "mine") -> Prepare:
    """A file."""

    def put(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return put


def record(text: str) -> Prepare:
    """A record of settings."""
    return file("settings.json", text)


def generate(prepare: Prepare) -> Callable[[Path], list[str]]:
    """Generate into a folder that holds something."""

    def make(folder: Path) -> list[str]:
        prepare(folder / "out")
        pipeline = copied("doppler", folder)
        return ["generate", "--pipeline", str(pipeline), "--output-dir", str(folder / "out"), "--num-images", "1"]

    return make


def data_folder(folder: Path) -> None:
    """Spectrograms of a person."""
    spectrograms(folder)


def simulate(folder: Path) -> list[str]:
    """Simulate into a data folder."""
    return ["simulate", str(spectrograms(folder / "data"))]


def file_as_folder(folder: Path) -> list[str]:
    """Simulate into a file."""
    file("out")(folder)
    return ["simulate", str(folder / "out")]


def from_iq(folder: Path) -> list[str]:
    """Spectrograms of recordings, into the folder of the recordings."""
    source = recordings(folder / "data")
    return [
        "prepare",
        str(source),
        "--from-iq",
        "--output-dir",
        str(source),
        "--pulse-rate-hz",
        "1000",
        "--carrier-ghz",
        "24",
    ]


def encode(folder: Path) -> list[str]:
    """An index in a folder of depth images."""
    source, pipeline = depth_images(folder / "data"), copied("depth", folder)
    return ["encode", str(source), "--pipeline", str(pipeline), "--output-dir", str(source)]


def extract(folder: Path) -> list[str]:
    """An encoder in the folder of its pipeline."""
    pipeline = copied("depth", folder)
    return ["extract-encoder", str(pipeline), "--output-dir", str(pipeline)]


def quickstart(prepare: Prepare) -> Callable[[Path], list[str]]:
    """Quickstart in a folder that holds something."""

    def make(folder: Path) -> list[str]:
        prepare(folder / "out")
        return ["quickstart", "--output-dir", str(folder / "out"), "--data", str(spectrograms(folder / "data"))]

    return make


NEW = "must be a new or an empty folder"
DEEP = "[" * 100_000
EQUAL = {"--seed": 0, "--dtype": "float32"}

ROWS = [
    Row("generate into data", "generate", generate(data_folder), NEW),
    Row("generate beside a note", "generate", generate(file("note.txt")), rf"{NEW}, .* holds note\.txt"),
    Row("generate beside a hidden file", "generate", generate(file(".git/HEAD")), rf"{NEW}, .* holds \.git"),
    Row("generate with other settings", "generate", generate(record(json.dumps(EQUAL))), "holds results of other set"),
    Row("generate: a record of nothing", "generate", generate(record("")), r"settings\.json must be JSON"),
    Row("generate: a record that is a list", "generate", generate(record("[]")), r"settings\.json must hold a JSON"),
    Row("generate: a deep record", "generate", generate(record(DEEP)), r"settings\.json must .*deeper than 64"),
    Row("generate: a record that is a folder", "generate", generate(file("settings.json/x")), r"settings\.json"),
    Row("simulate into data", "simulate", simulate, NEW),
    Row("simulate into a file", "simulate", file_as_folder, "must be a folder, .* is a file"),
    Row("spectrograms into their recordings", "prepare", from_iq, NEW),
    Row("index in its own source", "encode", encode, rf"--output-dir {NEW}"),
    Row("encoder in its own pipeline", "extract-encoder", extract, rf"--output-dir {NEW}"),
    Row(
        "quickstart over a training",
        "quickstart",
        quickstart(file("vq-vae/state.json")),
        "must begin with an empty",
    ),
    Row(
        "quickstart with a broken record",
        "quickstart",
        quickstart(file("stages/vq-vae/stage.json", "{")),
        r"stage\.json",
    ),
]
