"""Hostile windows and names: overlap that cannot be told, hops that contradict, patterns that say nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from echoform_train.data.colormap import paint
from hostile.corpus import Row
from hostile.inputs import spectrograms

SIDE = 64


def _windows(folder: Path, *, hop: int = 16, periodic: bool = False, hashed: bool = False) -> Path:
    """Windows cut from one long picture per user."""
    for user in (1, 2):
        rng = np.random.default_rng(user)
        if periodic:
            long = 120 + 120 * np.sin(2 * np.pi * np.arange(SIDE * 30) / 16 + np.arange(SIDE)[:, None] / (5 + user))
        else:
            long = rng.exponential(60, size=(SIDE, SIDE * 30))
        (folder / f"ID_{user}").mkdir(parents=True)
        for number in range(20):
            name = f"{rng.integers(2**60):x}" if hashed else f"w{number}"
            window = np.clip(long[:, hop * number : hop * number + SIDE], 0, 255).astype(np.uint8)
            Image.fromarray(paint(window, "jet")).save(folder / f"ID_{user}" / f"{name}.png")
    return folder


def _prepare(*flags: str, hop: int = 16, periodic: bool = False, hashed: bool = False) -> Callable[[Path], list[str]]:
    return lambda f: ["prepare", str(_windows(f / "data", hop=hop, periodic=periodic, hashed=hashed)), *flags]


def _pattern(pattern: str) -> Callable[[Path], list[str]]:
    return lambda folder: ["prepare", str(spectrograms(folder / "data")), "--name-pattern", pattern]


ROWS = [
    Row("windows that overlap", "prepare", _prepare(), r"every 16 of 64 columns", accepted=True),
    Row("windows that overlap, hashed", "prepare", _prepare(hashed=True), r"found from the pixels", accepted=True),
    Row("windows that do not overlap", "prepare", _prepare(hop=80), r"no two windows", accepted=True),
    Row("one period for ever", "prepare", _prepare(hop=68, periodic=True), r"cannot be told .* --hop-s must give"),
    Row("hop of nothing", "prepare", _prepare("--hop-s", "0"), r"--hop-s must be a positive|hop-s"),
    Row("hop of NaN", "prepare", _prepare("--hop-s", "nan"), r"--hop-s must be a positive"),
    Row(
        "hop that the pixels contradict",
        "prepare",
        _prepare("--hop-s", "2", "--window-s", "3"),
        r"their columns are 25% of a window apart",
    ),
    Row("hop without a length", "prepare", _prepare("--hop-s", "2", hop=80), r"--hop-s needs --window-s"),
    Row("hop of hashes", "prepare", _prepare("--hop-s", "1", hashed=True), r"needs names that count up"),
    Row("pattern without fields", "prepare", _pattern("walk"), r"must name parts of a file name in braces"),
    Row("pattern that no name fits", "prepare", _pattern("{user}-{index}"), r"does not fit --name-pattern"),
    Row("pattern of a field twice", "prepare", _pattern("{user}_{user}"), r"must hold each field once"),
    Row("pattern of an open brace", "prepare", _pattern("{user}_{index"), r"must close each brace"),
    Row("pattern of a file path", "prepare", _pattern("../{user}_{index}"), r"does not fit --name-pattern"),
    Row("pattern of escape codes", "prepare", _pattern("\x1b[31m{user}"), r"does not fit|control characters"),
    Row("pattern of 10,000 letters", "prepare", _pattern("{user}" + "a" * 10_000), r"must name parts"),
]
