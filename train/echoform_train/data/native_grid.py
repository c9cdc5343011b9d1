"""The native grid of enlarged spectrograms: how many rows and columns the radar's software computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

FEWEST_CELLS = 16
"""Smallest number of rows or columns that is looked for."""
_LARGEST_SHARE = 0.55
"""Largest number of cells per pixel: blocks of less than two pixels cannot be told from pixels."""
_STEP = 0.25
"""Distance of the numbers that are tried. The crop of a figure need not end at the edge of a cell."""
_PEAK = 4.0
"""Edges of blocks count as regular if their strength exceeds the median strength by this factor."""
_FUNDAMENTAL = 0.6
"""The smallest number of this share of the greatest strength is the native one; its multiples are as strong."""
_LONGEST_TREND = 15
_PHASES = 8
_DEPTH = 1.8
"""Neighbours that lie in different cells differ by this factor more than neighbours within one."""


@dataclass(frozen=True)
class NativeGrid:
    """Rows and columns before an image was enlarged; None where it was not, or smoothly."""

    rows: float | None
    """Native rows in the height of the image."""
    columns: float | None
    """Native columns in the width of the image."""


def native_grid(level: NDArray[np.floating]) -> NativeGrid:
    """Find the native grid of images whose cells were drawn as blocks of pixels, of equal size or nearly so.

    Where blocks meet, neighbouring pixels differ; the rate at which such places come along an image is the number of
    cells. Compression by JPEG does no harm, though its own blocks of 2 and 8 pixels make edges as well.

    Args:
        level: Images [N, H, W] of one size and one grid in 0..1, best some tens.
    """
    return NativeGrid(rows=_cells(np.swapaxes(level, 1, 2)), columns=_cells(level))


def _cells(level: NDArray[np.floating]) -> float | None:
    """Number of native columns in the width of images [N, H, W]."""
    width = level.shape[-1]
    numbers = np.arange(FEWEST_CELLS, _LARGEST_SHARE * width, _STEP)
    if not len(numbers):
        return None
    # Mean difference of neighbours along the width, relative to its trend: what walks in the images is smooth here.
    edges = np.abs(np.diff(level, axis=-1)).mean(axis=(0, 1))
    trend = np.maximum(median_filter(edges, _LONGEST_TREND), 1e-3)
    relative = np.clip(edges / trend - 1, -1, 3)
    waves = np.exp(-2j * np.pi * numbers[:, None] * np.arange(len(relative)) / width)
    strength = np.abs(waves @ (relative * np.hanning(len(relative))))
    if strength.max() < _PEAK * np.median(strength):
        return None
    first = int(np.argmax(strength >= _FUNDAMENTAL * strength.max()))
    # Climb to the top of the peak that begins there.
    while first + 1 < len(strength) and strength[first + 1] > strength[first]:
        first += 1
    return _cells_at(edges / trend, float(numbers[first]), width)


def _cells_at(relative: NDArray[np.floating], rate: float, width: int) -> float | None:
    """Number of cells, given the rate at which differences of neighbours vary along the width.

    Cells of several pixels have few large differences, at their edges. Where there are between one and two pixels to a
    cell, some pixels are twice: there are few small differences, at a rate of the width less the number of cells.
    """
    phase = np.floor(np.arange(len(relative)) * rate / width * _PHASES).astype(np.int64) % _PHASES
    # Cells of a whole number of pixels have that many phases only.
    profile = np.array([relative[phase == index].mean() for index in np.unique(phase)])
    highest, usual, lowest = profile.max(), np.median(profile), max(float(profile.min()), 1e-6)
    if highest - usual >= usual - lowest:
        return rate if highest >= _DEPTH * lowest else None
    return width - rate if usual >= _DEPTH * lowest else None
