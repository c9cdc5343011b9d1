"""Hostile sizes of spectrograms: what --resolution cannot mean, and sizes that the levels of models cannot halve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from echoform_train.data.colormap import paint
from hostile.corpus import Row
from hostile.inputs import RECORDING_FLAGS, recordings, spectrograms

NOT_A_SIZE = r"--resolution must be one number for a square, or HEIGHTxWIDTH [^\n]* such as 64x128, got "
SHORT = ["--max-train-images", "8", "--train-batch-size", "2"]


def sized(folder: Path, height: int, width: int) -> Path:
    """A source of images of one size."""
    rng = np.random.default_rng(0)
    for user in ("ID_1", "ID_2"):
        (folder / user).mkdir(parents=True)
        for number in range(12):
            index = rng.integers(0, 256, (height, width)).astype(np.uint8)
            Image.fromarray(paint(index, "jet")).save(folder / user / f"walk_t{100 * number:04d}.png")
    return folder


def of_size(*verb: str, height: int, width: int, flags: tuple[str, ...] = ()) -> Callable[[Path], list[str]]:
    """A maker of a source of one size, and of the words of a verb that reads it."""

    def make(folder: Path) -> list[str]:
        data = str(sized(folder / "data", height, width))
        named = [data] if verb[0] == "prepare" else ["--data", data, "--output-dir", str(folder / "out")]
        if verb[0] == "augment":
            named = [data, str(folder / "out")]
        return [*verb, *named, *flags]

    return make


def with_flag(*words: str) -> Callable[[Path], list[str]]:
    """A maker of a good source, and of the words of `prepare` with further flags."""
    return lambda folder: ["prepare", str(spectrograms(folder / "data")), *words]


def _simulate(resolution: str) -> Callable[[Path], list[str]]:
    return lambda folder: ["simulate", str(folder / "out"), "--resolution", resolution]


def _quickstart(folder: Path) -> list[str]:
    return ["quickstart", "--output-dir", str(folder / "out"), "--resolution", "100x75"]


def _from_iq(folder: Path) -> list[str]:
    flags = [word for word in RECORDING_FLAGS if word not in ("--resolution", "32")]
    source = recordings(folder / "data")
    return ["prepare", str(source), *flags, "--output-dir", str(folder / "out"), "--resolution", "51x17"]


def multiples(of: int, size: str, nearest: str) -> str:
    """The sentence that refuses a size and proposes another one."""
    return rf"multiples of {of}, because .* halve them, got {size} [^\n]*--resolution {nearest}[^\n]*\n$"


ROWS = [
    *(
        Row(f"--resolution {text}", "prepare", with_flag("--resolution", text), NOT_A_SIZE)
        for text in ("64x", "x64", "64x128x3", "64,128", "6.4", "64 x 128", "64*128", "big", "")
    ),
    *(
        Row(f"no size in {verb}", verb, make, NOT_A_SIZE)
        for verb, make in (
            ("train vq-vae", of_size("train", "vq-vae", height=32, width=32, flags=("--resolution", "64x"))),
            ("augment", of_size("augment", height=32, width=32, flags=("--resolution", ""))),
            ("simulate", _simulate("big")),
            ("quickstart", lambda folder: ["quickstart", "--output-dir", str(folder / "out"), "--resolution", "x"]),
        )
    ),
    Row("0 by 64", "prepare", with_flag("--resolution", "0x64"), "--resolution 16x64|at least 1, got 0x64"),
    Row("16 by 2048", "prepare", with_flag("--resolution", "16x2048"), "at most 1024, got 16x2048"),
    Row("51x17 in prepare", "prepare", of_size("prepare", height=51, width=17), multiples(16, "51x17", "48x16")),
    Row("100x75 in prepare", "prepare", of_size("prepare", height=100, width=75), multiples(16, "100x75", "96x80")),
    Row("75x100 by the flag", "prepare", with_flag("--resolution", "75x100"), multiples(16, "75x100", "80x96")),
    Row("recordings as 51x17", "prepare", _from_iq, multiples(16, "51x17", "48x16")),
    *(
        Row(f"100x75 in {verb}", verb, of_size(*verb.split(), height=100, width=75, flags=(*SHORT,)), expected)
        for verb, expected in (
            ("train vq-vae", multiples(4, "100x75", "96x80")),
            ("train kl-vae", multiples(4, "100x75", "96x80")),
        )
    ),
    Row("100x75 in augment", "augment", of_size("augment", height=100, width=75), multiples(8, "100x75", "96x72")),
    Row("100x75 in quickstart", "quickstart", _quickstart, multiples(16, "100x75", "96x80")),
    Row("8 columns in simulate", "simulate", _simulate("64x8"), r"resolution must be in 16\.\.1024, got 64x8"),
    Row("2048 rows in simulate", "simulate", _simulate("2048x64"), r"resolution must be in 16\.\.1024, got 2048x64"),
    Row("112x256 is right", "prepare", of_size("prepare", height=112, width=256), r"112x256 pixels", accepted=True),
]
