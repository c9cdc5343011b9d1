"""Tiny painted pictures in folders, made for each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image


def smooth_index(seed: int, size: int = 32) -> np.ndarray:
    """A smooth picture that uses the whole range, uint8 [size, size]."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
    fine = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=float)
    return np.round((fine - fine.min()) / (fine.max() - fine.min()) * 255).astype(np.uint8)


@pytest.fixture
def picture() -> Callable[..., np.ndarray]:
    """Draws smooth pictures, uint8 [size, size]."""
    return smooth_index


@pytest.fixture
def write_picture() -> Callable[..., Path]:
    """Writes a picture painted by matplotlib (rounded colours), a new one for each path."""

    def write(path: Path, *, colormap: str = "jet", seed: int | None = None, size: int = 32) -> Path:
        index = smooth_index(sum(str(path).encode()) if seed is None else seed, size)
        rgb = np.round(matplotlib.colormaps[colormap](np.arange(256))[:, :3] * 255).astype(np.uint8)[index]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(path)
        return path

    return write


@pytest.fixture
def two_users(tmp_path: Path, write_picture: Callable[..., Path]) -> Path:
    """A folder of two users with ten pictures each."""
    folder = tmp_path / "two_users"
    for user in ("ID_1", "ID_2"):
        for number in range(10):
            write_picture(folder / user / f"{number}.png")
    return folder
