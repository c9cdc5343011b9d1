"""Hostile depth images: other units, arrays, sparse readings, and columns of a data set."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from hostile.corpus import Row
from tiny_depth import tiny_depth_pipeline

Save = Callable[[Path, np.ndarray], object]


def frame_mm(number: int, side: int = 32) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] * 32 / side
    return (800 + 20 * rows + 10 * columns + number).astype(np.uint16)


def source(folder: Path, suffix: str, save: Save, frames: int = 24, side: int = 32) -> Path:
    """Two classes of frames, each written by `save`."""
    for label in ("ball", "box"):
        (folder / label).mkdir(parents=True)
        for number in range(frames):
            save(folder / label / f"depth_{label}_{number:04d}{suffix}", frame_mm(number, side))
    return folder


def save_png(path: Path, units: np.ndarray) -> None:
    Image.fromarray(units.astype(np.uint16)).save(path)


def npy(change: Callable[[np.ndarray], Any]) -> Save:
    return lambda path, units: np.save(path, change(units))


def _sparse(path: Path, units: np.ndarray) -> None:
    kept = np.zeros(units.shape, bool)
    kept[2::5, 2::5] = True
    save_png(path, np.where(kept, units, 0))


def _times(factor: int) -> Save:
    return lambda path, units: save_png(path, units * factor)


def _mostly_far(path: Path, units: np.ndarray) -> None:
    save_png(path, units if path.stem[-1] in "05" else np.full(units.shape, 60_000))


def _mat(path: Path, units: np.ndarray) -> None:
    savemat(path, {"depth": units, "colour": units + 1})


@cache
def _pipeline() -> Path:
    folder = Path(tempfile.mkdtemp()) / "pipeline"
    tiny_depth_pipeline().save_pretrained(folder)
    return folder


def prepare(
    name: str, suffix: str, save: Save, expected: str, *flags: str, side: int = 32, accepted: bool = False
) -> Row:
    """A source at the door of `prepare-depth`."""

    def make(folder: Path) -> list[str]:
        return ["prepare-depth", str(source(folder / "data", suffix, save, side=side)), *flags]

    return Row(name, "prepare-depth", make, expected, accepted=accepted)


def encode(name: str, suffix: str, save: Save, expected: str, *flags: str, side: int = 32) -> Row:
    """A source at the door of `encode`, whose pipeline takes millimetres in 300..5000."""

    def make(folder: Path) -> list[str]:
        data = source(folder / "data", suffix, save, frames=2, side=side)
        return ["encode", str(data), "--pipeline", str(_pipeline()), "--output-dir", str(folder / "out"), *flags]

    return Row(f"encode: {name}", "encode", make, expected)


def train(name: str, save: Save, expected: str, *flags: str, side: int = 32) -> Row:
    """A source at the door of `train depth-ae`."""

    def make(folder: Path) -> list[str]:
        data = source(folder / "data", ".png", save, side=side)
        run = ["--max-train-images", "8", "--train-batch-size", "2", "--resolution", "32"]
        return ["train", "depth-ae", "--data", str(data), "--output-dir", str(folder / "out"), *run, *flags]

    return Row(f"train depth-ae: {name}", "train depth-ae", make, expected)


def query(folder: Path) -> list[str]:
    """A query that no pipeline of millimetres sees, at the door of the pipeline itself."""
    path = folder / "far.png"
    save_png(path, np.full((32, 32), 40_000, np.uint16))
    return [str(path), str(_pipeline())]


def embed(words: list[str]) -> object:
    from echoform import DepthAutoencoderPipeline

    pipeline = DepthAutoencoderPipeline.from_pretrained(words[1])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.encode(words[0])


NONE = "has a reading in the range|must have readings"
METRES = ("--float-unit", "m")

ROWS = [
    prepare("metres without a unit", ".npy", npy(lambda mm: (mm / 1000).astype(np.float32)), "--float-unit"),
    prepare("metres called millimetres", ".npy", npy(lambda mm: mm / 1000), "at most 1 %", "--float-unit", "mm"),
    prepare("millimetres called metres", ".npy", npy(lambda mm: mm * 1.0), "16 bits, up to 65", *METRES),
    prepare("minus one for nothing", ".npy", npy(lambda mm: np.where(mm < 900, -1.0, mm / 1000)), "negative", *METRES),
    prepare("infinity for nothing", ".npy", npy(lambda mm: np.where(mm < 900, np.inf, mm / 1000)), "finite", *METRES),
    prepare("NaN alone", ".npy", npy(lambda mm: np.full(mm.shape, np.nan)), "must have a reading", *METRES),
    prepare("text in .npy", ".npy", npy(lambda mm: np.full(mm.shape, "far")), "numbers", *METRES),
    prepare("objects in .npy", ".npy", npy(lambda mm: np.array([{}, None])), r"depth_ball_0000\.npy: ", *METRES),
    prepare("stacks", ".npy", npy(lambda mm: np.stack([mm] * 3)), r"one array \[H, W\]"),
    prepare("a line", ".npy", npy(lambda mm: mm[0]), r"one array \[H, W\]"),
    prepare("8 bits in .npy", ".npy", npy(lambda mm: (mm // 16).astype(np.uint8)), "at least 16 bits"),
    prepare("two variables", ".mat", _mat, "--mat-variable"),
    prepare("no such variable", ".mat", _mat, "--mat-variable", "--mat-variable", "range"),
    prepare("text called .mat", ".mat", lambda path, _: path.write_text("depth"), r"depth_ball_0000\.mat: "),
    prepare("text called .exr", ".exr", lambda path, _: path.write_text("depth"), r"depth_ball_0000\.exr: |OpenEXR"),
    prepare("8 bits in .pgm", ".pgm", lambda path, _: path.write_bytes(b"P5 1 1 255\n0"), "8 bits"),
    prepare("a promise in .pgm", ".pgm", lambda path, _: path.write_bytes(b"P5 99999 99999 65535\n"), "pixels"),
    prepare("no header in .pgm", ".pgm", lambda path, _: path.write_bytes(b"P5" + b" " * 99_999), "no binary PGM"),
    prepare("disparity of 16 bits", ".png", _times(3), r"0\.\.2047", "--sensor", "kinect-raw"),
    prepare("sparse readings", ".png", _sparse, "--resize-rule any", "--resolution", "32", side=160),
    prepare("a sensor that is none", ".png", save_png, "sensor", "--sensor", "kinect3"),
    prepare("a column of a folder", ".png", save_png, "data sets", "--image-column", "depth"),
    prepare("quarter millimetres", ".png", _times(4), "", "--sensor", "l515", accepted=True),
    train("sparse readings", _sparse, "--resize-rule any", side=160),
    train("most images out of range", _mostly_far, NONE, "--depth-min-mm", "300", "--depth-max-mm", "3000"),
    encode("tenths of a millimetre", ".png", _times(10), r"readings in 300\.\.5000 mm"),
    encode("metres", ".npy", npy(lambda mm: (mm / 1000).astype(np.float32)), "--float-unit"),
    encode("sparse readings", ".png", _sparse, "too few readings", side=160),
    Row("pipeline: nothing in range", embed, query, r"readings in 300\.\.5000 mm"),
]
