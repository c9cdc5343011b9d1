"""Hostile rows: pictures with axes or rims, other kinds of files, and spectrograms as numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from hostile.corpus import Row
from hostile.inputs import spectrograms

DB = np.linspace(-60, 0, 32 * 24, dtype=np.float32).reshape(32, 24)


def _framed(folder: Path, left: int, top: int) -> Path:
    """The good source, with white columns on the left and white rows on top of every picture."""
    data = spectrograms(folder / "data")
    for path in data.rglob("*.png"):
        picture = np.asarray(Image.open(path).convert("RGB"))
        Image.fromarray(np.pad(picture, ((top, 0), (left, 0), (0, 0)), constant_values=255)).save(path)
    return data


def figure(left: int, top: int, *flags: str) -> Callable[[Path], list[str]]:
    return lambda folder: ["prepare", str(_framed(folder, left, top)), *flags]


def arrays(values: np.ndarray, *flags: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        for user in ("ID_1", "ID_2"):
            (folder / "data" / user).mkdir(parents=True)
            for number in range(6):
                np.save(folder / "data" / user / f"{number}.npy", np.roll(values, 5 * number, axis=-1))
        return ["prepare", str(folder / "data"), *flags]

    return make


def _gifs(folder: Path) -> list[str]:
    for user in ("ID_1", "ID_2"):
        (folder / "data" / user).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "data" / user / "1.gif")
    return ["prepare", str(folder / "data")]


def _gif_by_content(folder: Path) -> list[str]:
    data = spectrograms(folder / "data")
    path = next(data.rglob("*.png"))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path, format="GIF")
    return ["prepare", str(data)]


def _one_rim(folder: Path) -> list[str]:
    data = spectrograms(folder / "data")
    path = sorted(data.rglob("*.png"))[-1]
    picture = np.array(Image.open(path).convert("RGB"))
    picture[:, :2] = 255
    Image.fromarray(picture).save(path)
    return ["prepare", str(data)]


ROWS = [
    Row("figure", "prepare", figure(9, 7), r"pictures must hold the data alone.*--crop 9,7,\d+,\d+ or --crop auto"),
    Row("rim of one pixel", "prepare", figure(1, 0), r"a rim around the data \(pixels: left 1\).*--crop 1,0,"),
    Row("rim of one picture", "prepare", _one_rim, r"its first column is not in the colours of jet"),
    Row("crop of three numbers", "prepare", figure(0, 0, "--crop", "1,2,3"), r"--crop must be .*got '1,2,3'"),
    Row("crop that is empty", "prepare", figure(0, 0, "--crop", "5,5,5,9"), r"LEFT < RIGHT"),
    Row("crop beyond", "prepare", figure(0, 0, "--crop", "0,0,9999,9"), r"--crop 0,0,9999,9 reaches beyond"),
    Row("folder of GIFs", "prepare", _gifs, r"it holds 2 GIF, which are not read: save them as PNG"),
    Row("GIF called PNG", "prepare", _gif_by_content, r"it is a GIF; save it as PNG"),
    Row("values of pictures", "prepare", figure(0, 0, "--values", "db"), r"--values is for arrays"),
    Row("arrays with NaN", "prepare", arrays(np.where(DB > -9, np.nan, DB)), r"\.npy: numbers must be finite"),
    Row("arrays of whole numbers", "prepare", arrays(DB.astype(np.int16)), r"arrays of whole numbers .*--values db"),
    Row("arrays of power", "prepare", arrays(10 ** (DB / 10)), r"may be power or amplitude; --values"),
    Row("arrays of samples", "prepare", arrays(DB + 1j), r"it is complex .*--from-iq"),
    Row(
        "several spectrograms in an array",
        "prepare",
        arrays(np.broadcast_to(np.float32(0), (2, 2, 9))),
        r"one spectrogram",
    ),
    Row("range upside down", "prepare", arrays(DB, "--db-range", "0,-60"), r"--db-range must be MIN,MAX"),
    Row("range of others", "prepare", arrays(DB, "--db-range", "40,90"), r"--db-range must hold the decibels"),
    Row("range of words", "prepare", arrays(DB, "--db-range", "low,high"), r"--db-range must be MIN,MAX such as"),
]
