"""Good inputs, small ones, which the makers of rows then spoil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from echoform_train.data.colormap import paint


def spectrogram(seed: int = 0, side: int = 32) -> np.ndarray:
    """A torso line over noise, painted in jet, uint8 [side, side, 3]."""
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 60, (side, side))
    index[side // 2 + rng.integers(-3, 4)] = 230
    return paint(index.astype(np.uint8), "jet")


def spectrograms(folder: Path, users: int = 2, images: int = 12) -> Path:
    """A source of `<folder>/ID_<user>/walk_t<centiseconds>.png`; returns the folder."""
    for user in range(1, users + 1):
        (folder / f"ID_{user}").mkdir(parents=True)
        for number in range(images):
            path = folder / f"ID_{user}" / f"walk_t{100 * number:04d}.png"
            Image.fromarray(spectrogram(100 * user + number)).save(path)
    return folder


def depth_image(seed: int = 0, side: int = 32) -> np.ndarray:
    """A slanted wall with a nearer box, uint16 millimetres [side, side]."""
    rng = np.random.default_rng(seed)
    depth_mm = 1500 + 300 * (np.arange(side) / side)[None] + np.zeros((side, 1)) + rng.integers(0, 100)
    depth_mm[side // 4 : side // 2, side // 4 : side // 2] = 800
    return depth_mm.astype(np.uint16)


def depth_images(folder: Path, images: int = 24) -> Path:
    """A source of `<folder>/<class>/depth_<class>_<number>.png` of two classes; returns the folder."""
    for label in ("ball", "box"):
        (folder / label).mkdir(parents=True)
        for number in range(images):
            Image.fromarray(depth_image(number)).save(folder / label / f"depth_{label}_{number:04d}.png")
    return folder


PULSE_RATE_HZ = 500
RECORDING_FLAGS = ["--from-iq", "--pulse-rate-hz", str(PULSE_RATE_HZ), "--carrier-ghz", "5.8", "--resolution", "32"]


def samples(seed: int = 0, seconds: float = 20.0) -> np.ndarray:
    """I/Q of a target at 1.2 m/s at 5.8 GHz, complex64 [T]."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * PULSE_RATE_HZ)) / PULSE_RATE_HZ
    noise = rng.normal(size=len(time_s)) + 1j * rng.normal(size=len(time_s))
    return (np.exp(2j * np.pi * 46.4 * time_s) + 0.1 * noise).astype(np.complex64)


def recordings(folder: Path, users: int = 2, seconds: float = 20.0) -> Path:
    """A source of `<folder>/ID_<user>/walk.npy`; returns the folder."""
    for user in range(1, users + 1):
        (folder / f"ID_{user}").mkdir(parents=True)
        np.save(folder / f"ID_{user}" / "walk.npy", samples(user, seconds))
    return folder


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """A file of one JSON object per line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
