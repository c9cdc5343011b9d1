"""Hostile pictures to vary, contradicting flags of `generate`, and rooms where there are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from hostile.corpus import Row
from hostile.models import copied

Make = Callable[[Path], list[str]]
LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def _vary(put: Callable[[Path], Path], *flags: str) -> Make:
    """Vary what is put into a folder; the pipeline makes grey images of 16x16."""

    def make(folder: Path) -> list[str]:
        (folder / "given").mkdir()
        image = put(folder / "given")
        words = ["--pipeline", str(copied("doppler", folder)), "--output-dir", str(folder / "out")]
        return ["generate", *words, "--num-images", "1", "--image", str(image), *flags]

    return make


def _png(pixels: np.ndarray) -> Callable[[Path], Path]:
    def put(folder: Path) -> Path:
        Image.fromarray(pixels).save(folder / "walk.png")
        return folder / "walk.png"

    return put


def _file(name: str, content: bytes) -> Callable[[Path], Path]:
    def put(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return put


def _other_axes(folder: Path) -> Path:
    (folder / "axes.json").write_text(json.dumps({"window_s": 1.0}))
    return _png(LEVELS)(folder)


def _generate(*flags: str) -> Make:
    def make(folder: Path) -> list[str]:
        words = ["--pipeline", str(copied("doppler", folder)), "--output-dir", str(folder / "out")]
        return ["generate", *words, "--num-images", "2", *flags]

    return make


def _rooms_as_data(folder: Path) -> list[str]:
    (folder / "data").mkdir()
    return ["prepare-depth", str(folder / "data"), str(folder / "out")]


def _rooms_into_a_folder(folder: Path) -> list[str]:
    (folder / "mine.txt").write_text("mine")
    return ["prepare-depth", "rooms", str(folder), "--rooms", "3"]


def _rooms_of_others(folder: Path) -> list[str]:
    (folder / "data").mkdir()
    return ["encode", str(folder / "data"), "--pipeline", str(copied("depth", folder)), "--output-dir",
            str(folder / "out"), "--rooms", "3"]  # fmt: skip


ROWS = [
    Row("picture of another size", "generate", _vary(_png(LEVELS[:8])), r"must have the size of those of the pipeline"),
    Row("picture in colours", "generate", _vary(_png(np.stack([LEVELS, 255 - LEVELS, LEVELS], 2))), r"gray|frame|rim"),
    Row("picture of one grey", "generate", _vary(_png(LEVELS * 0 + 7)), r"all pixels of walk\.png are equal"),
    Row("text as a picture", "generate", _vary(_file("walk.png", b"hello")), r"walk\.png.*cannot be decoded"),
    Row("program as a picture", "generate", _vary(_file("walk.exe", b"MZ")), r"--image must be a folder or a file of"),
    Row("empty folder", "generate", _vary(lambda folder: folder), r"given holds none"),
    Row("missing picture", "generate", _vary(lambda folder: folder / "none.png"), r"there is no file .*none\.png"),
    Row("axes of another radar", "generate", _vary(_other_axes), r"window_s 3; .*axes\.json has 1"),
    Row(
        "strength above 1",
        "generate",
        _vary(_png(LEVELS), "--strength", "1.5"),
        r"--strength must be above 0 and at most 1",
    ),
    Row(
        "strength that is no number",
        "generate",
        _vary(_png(LEVELS), "--strength", "nan"),
        r"--strength must be above 0",
    ),
    Row(
        "strength without picture",
        "generate",
        _generate("--strength", "0.5"),
        r"--strength is for variations of --image",
    ),
    Row("way from a user to itself", "generate", _generate("--interpolate", "ID_1", "ID_1"), r"two different users"),
    Row(
        "way to a stranger", "generate", _generate("--interpolate", "ID_1", "../x"), r"--interpolate must be among ID_1"
    ),
    Row(
        "crop without picture",
        "generate",
        _generate("--crop", "auto"),
        r"--crop is for files that are read as they are",
    ),
    Row("rooms written over data", "prepare-depth", _rooms_into_a_folder, r"OUT must be a new or an empty folder"),
    Row("OUT without rooms", "prepare-depth", _rooms_as_data, r"OUT is for rooms, which are made"),
    Row("number of rooms with a folder", "encode", _rooms_of_others, r"--rooms need the data rooms"),
]
