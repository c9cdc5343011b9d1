"""Hostile motion captures (.npz)."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from echoform_train.radar.mocap import CMU_NAMES
from hostile.corpus import Row
from hostile.rows_radar import Write, bytes_of, npy_of_shape, pickled


def walk(seconds: float = 4.0, fps: float = 120.0) -> dict[str, Any]:
    """A straight walk of CMU's skeleton along x, y up: a body that glides, with legs that swing."""
    time_s = np.arange(int(seconds * fps)) / fps
    heights = {"lowerneck": 1.45, "head": 1.7, "clavicle": 1.4, "humerus": 1.15, "wrist": 0.9}
    heights |= {"hipjoint": 0.95, "femur": 0.5, "tibia": 0.1, "toes": 0.02}
    names = tuple(CMU_NAMES.values())
    joints = np.zeros((len(time_s), len(names), 3))
    for number, name in enumerate(names):
        bone = name if name in heights else name[1:]
        side = {"r": 1, "l": -1}[name[0]] if name not in heights else 0
        swing = 0.25 * side * (1 - heights[bone]) * np.sin(2 * np.pi * 0.9 * time_s)
        joints[:, number] = np.stack([1.3 * time_s + swing, heights[bone] + 0 * time_s, 0.1 * side + 0 * time_s], -1)
    return {"joints": joints, "names": np.array(names), "fps": fps}


def _simulate(folder: Path) -> list[str]:
    return ["simulate", str(folder / "out"), "--joints", str(folder / "joints"), "--resolution", "32", "--workers", "1"]


def capture(name: str, write: Write, expected: str, *flags: str, accepted: bool = False) -> Row:
    """A row whose only motion capture is written by `write`."""

    def make(folder: Path) -> list[str]:
        (folder / "joints").mkdir()
        write(folder / "joints" / "07_01.npz")
        return [*_simulate(folder), *flags]

    return Row(f"capture: {name}", "simulate", make, expected, accepted=accepted)


def _capture(**changes: Any) -> Write:
    def write(path: Path) -> None:
        held = {name: value for name, value in (walk() | changes).items() if value is not None}
        with path.open("wb") as stream:
            np.savez(stream, **held)

    return write


def _members(**members: bytes) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(f"{name}.npy", content)

    return write


def _stored(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _zip_bomb(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("joints.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy_of_shape(2**28, kind="<f8"))
        for _ in range(512):
            member.write(bytes(2**20))


def _damaged_zip(path: Path) -> None:
    _capture()(path)
    data = bytearray(path.read_bytes())
    data[2000:9000] = bytes(7000)
    path.write_bytes(data)


GOOD = walk()
CAPTURES = [
    capture("no bytes", bytes_of(b""), r"07_01\.npz must be an \.npz file"),
    capture("text", bytes_of(b"walk " * 50), "must be an .npz file"),
    capture("a pickle", bytes_of(pickled([1])), "must be an .npz file"),
    capture("a .npy", bytes_of(_stored(np.ones(5))), "must be an .npz file"),
    capture("a pipe", os.mkfifo, "must be an .npz file"),
    capture("a folder", lambda path: path.mkdir(), "must be an .npz file"),
    capture("a link to nothing", lambda path: path.symlink_to("no.npz"), "must be an .npz file"),
    capture("an empty archive", _members(), "lacks joints, names, fps"),
    capture("512 MB in 2 MB", _zip_bomb, "at most 64 MiB"),
    capture("damaged", _damaged_zip, "cannot be read"),
    capture("member that is text", _members(joints=b"x", names=b"y", fps=b"z"), "must be one number"),
    capture("objects", _capture(joints=np.array([{}, {}], object)), "cannot be read"),
    capture(
        "shape of terabytes",
        _members(joints=npy_of_shape(2**30, 31, 3, kind="<f8"), names=b"", fps=b""),
        "cannot be read",
    ),
    capture("no joints", _capture(joints=None), "lacks joints"),
    capture("no rate", _capture(fps=None), "lacks fps"),
    capture("rate of NaN", _capture(fps=np.nan), r"fps of [^\n]* must be in 30\.\.1000"),
    capture("rate of 0", _capture(fps=0), "must be in 30"),
    capture("rate of 10^9", _capture(fps=1e9), "must be in 30"),
    capture("rate that is a text", _capture(fps=np.array("120")), "must be one number"),
    capture("two rates", _capture(fps=np.array([120, 100])), "must be one number"),
    capture("names that are numbers", _capture(names=np.arange(len(CMU_NAMES))), "list of texts"),
    capture("too few names", _capture(names=GOOD["names"][:3]), r"must be \[T, 3, 3\]"),
    capture("other names", _capture(names=np.array([f"j{i}" for i in range(len(CMU_NAMES))])), "are missing"),
    capture("joints in a plane", _capture(joints=GOOD["joints"][..., :2]), r"must be \[T"),
    capture("complex joints", _capture(joints=GOOD["joints"] + 1j), "must hold numbers as joints"),
    capture("NaN", _capture(joints=GOOD["joints"] * np.nan), "must be finite"),
    capture("10^300 metres", _capture(joints=GOOD["joints"] * 1e300), "must be finite|within"),
    capture("millimetres", _capture(joints=GOOD["joints"] * 1000), "within"),
    capture("no moments", _capture(joints=GOOD["joints"][:0]), r"07_01\.npz|at least a window"),
    capture("one moment", _capture(joints=GOOD["joints"][:1]), "at least a window"),
    capture("standing", _capture(joints=np.repeat(GOOD["joints"][:1], 480, 0)), "0.5 m or more"),
    capture("upside down", _capture(joints=GOOD["joints"] * [1, -1, 1]), "head must stand above"),
    capture("zeros", _capture(joints=GOOD["joints"] * 0), r"07_01\.npz: "),
    Row("capture: no folder", "simulate", _simulate, "there is no folder"),
    Row("capture: folder of nothing", "simulate", lambda folder: _nothing(folder), "holds none"),
    Row("capture: another name", "simulate", lambda folder: _named(folder, "walk.npz"), "must be named"),
]


def _nothing(folder: Path) -> list[str]:
    (folder / "joints").mkdir()
    return _simulate(folder)


def _named(folder: Path, name: str) -> list[str]:
    words = _nothing(folder)
    _capture()(folder / "joints" / name)
    return words


ROWS = [capture("a good walk", _capture(), "", accepted=True), *CAPTURES]
