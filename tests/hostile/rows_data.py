"""Hostile sources of spectrograms: images, folders, metadata."""

from __future__ import annotations

from pathlib import Path

from hostile.corpus import Row
from hostile.inputs import spectrograms


def _good(folder: Path) -> list[str]:
    return ["prepare", str(spectrograms(folder / "data"))]


def _empty(folder: Path) -> list[str]:
    data = spectrograms(folder / "data")
    (data / "ID_1" / "walk_t0000.png").write_bytes(b"")
    return ["prepare", str(data)]


ROWS = [
    Row("a good source", "prepare", _good, r"24 images of 2 users", accepted=True),
    Row("image of no bytes", "prepare", _empty, r"ID_1/walk_t0000\.png: .* the file is empty"),
]
