"""Hostile spectrograms at the doors of studies and scores, and of the convolutional pipeline in Python."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hostile.corpus import Row
from hostile.image_bytes import encoded, png
from hostile.inputs import depth_image, spectrogram, spectrograms, write_lines
from hostile.rows_data import BROKEN, REGULAR, TOO_LARGE, changed, instead, replaced


def at_study(door: str, make: Callable[[Path], list[str]], expected: str, name: str) -> Row:
    """A bad source at the door of a command that trains and scores."""

    def words(folder: Path) -> list[str]:
        data, out = make(folder)[1], str(folder / "out")
        return ["augment", data, out] if door == "augment" else ["quickstart", "--data", data, "--output-dir", out]

    return Row(f"{name}: {door}", door, words, expected)


def at_score(name: str, content: bytes | Callable[[], bytes], line: dict[str, object], expected: str) -> Row:
    """A folder of generated images at the door of `score generated`."""

    def words(folder: Path) -> list[str]:
        data, generated = spectrograms(folder / "data"), folder / "generated"
        generated.mkdir()
        (generated / "a.png").write_bytes(content if isinstance(content, bytes) else content())
        write_lines(generated / "metadata.jsonl", [{"file_name": "a.png", "user": "ID_1", "seed": 0} | line])
        split = ["--split-file", str(folder / "split.json")]
        return ["score", "generated", "--data", str(data), *split, "--generated-dir", str(generated)]

    return Row(f"generated: {name}", "score generated", words, expected)


def embed(words: list[str]) -> object:
    """The door of the convolutional pipeline in Python: `encode` of the file named by the first word."""
    from tiny_conv import tiny_conv_pipeline

    pipeline = tiny_conv_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.encode(words[0])


def python(name: str, content: bytes | Callable[[], bytes], expected: str) -> Row:
    """A bad file at the door of the pipeline in Python."""

    def words(folder: Path) -> list[str]:
        (folder / "image.png").write_bytes(content if isinstance(content, bytes) else content())
        return [str(folder / "image.png")]

    return Row(f"pipeline: {name}", embed, words, expected)


STUDIES = [
    at_study(door, make, expected, name)
    for door in ("augment", "quickstart")
    for name, make, expected in (
        ("promises", replaced(png(13_000, 13_000), every=True), TOO_LARGE),
        ("pipe", changed(instead(os.mkfifo)), REGULAR),
        ("one user", changed(lambda data: None, users=1), "at least 2 users"),
    )
]
SCORES = [
    at_score("promises", png(13_000, 13_000), {}, TOO_LARGE),
    at_score("no bytes", b"", {}, "the file is empty"),
    at_score("name that climbs", encoded(spectrogram(), "PNG"), {"file_name": "../a.png"}, r"without \.\."),
    at_score("user that climbs", encoded(spectrogram(), "PNG"), {"user": "../x"}, "must not hold /"),
    at_score("seed that is a text", encoded(spectrogram(), "PNG"), {"seed": "0"}, "whole number"),
    at_score("image that is not there", encoded(spectrogram(), "PNG"), {"file_name": "b.png"}, r"b\.png"),
]
PIPELINE = [
    python("promises", png(13_000, 13_000), "pixels"),
    python("promises 100,000", png(100_000, 100_000), "pixels"),
    python("text", b"walk", BROKEN),
    python("cut", lambda: encoded(spectrogram(), "PNG")[:700], BROKEN),
    python("16 bits", lambda: encoded(depth_image(), "PNG"), "RGB or 8-bit grey"),
]

ROWS = [*STUDIES, *SCORES, *PIPELINE]
