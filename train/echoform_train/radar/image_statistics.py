"""Statistics of spectrograms: levels, speckle, torso line, limbs and steps."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from echoform_train.engine.errors import UserError
from echoform_train.radar.doppler_lines import above_noise, contour, torso_line
from echoform_train.radar.step_rhythm import step_rhythm

Array = NDArray[np.float64]

GRID = 64
"""Rows and columns on which statistics are computed; the native grid of most such radars is no larger."""
LIT = 0.05
"""Level above which a cell counts as lit, a share of the colour scale."""
BANDS = 8
"""Bands of the Doppler profile around the torso."""
BAND_ROWS = 3
FEWEST_STEPS = 1.5
MOST_STEPS = 12.0

STATISTICS = {
    "lit_share": "share of lit cells",
    "top_level": "level of the brightest thousandth of the cells",
    "level_10": "10th percentile of lit levels",
    "level_50": "median of lit levels",
    "level_90": "90th percentile of lit levels",
    "rows_apart_1": "difference of lit neighbours in Doppler",
    "rows_apart_2": "difference of lit cells two rows apart",
    "columns_apart_1": "difference of lit neighbours in time",
    "columns_apart_2": "difference of lit cells two columns apart",
    "torso_row": "mean row of the torso line",
    "torso_wave": "standard deviation of the torso line within an image, rows",
    "torso_range": "range of the torso line within an image, 5th to 95th percentile, rows",
    "torso_level": "level on the torso line over the mean of lit cells",
    "torso_width": "width of the torso line, rows",
    "reach_above": "95th percentile of the contour's distance above the torso, rows",
    "reach_below": "95th percentile of the contour's distance below the torso, rows",
    "reach_above_mean": "mean distance of the contour above the torso, rows",
    "steps": "steps per image",
    "rhythm": "share of the change in time that repeats with the steps",
    "full_columns": "share of columns that are lit over nearly their whole height",
    **{f"band_{band}": f"mean level in band {band} of the Doppler profile around the torso" for band in range(BANDS)},
}


def image_statistics(level: NDArray[np.floating]) -> dict[str, Array]:
    """Statistics of each image, by the names of STATISTICS, float64 [N] each; NaN where one cannot be read.

    Args:
        level: Images [N, H, W], shares of the colour scale in 0..1, row 0 the highest Doppler.

    Raises:
        ValueError: If the shape or the range of the levels is another.
    """
    if level.ndim != 3 or not len(level) or not 0 <= level.min() <= level.max() <= 1:
        raise UserError(f"levels must be [N, H, W] in 0..1, got {list(level.shape)}")
    grid = adaptive_avg_pool2d(torch.from_numpy(np.ascontiguousarray(level, np.float32))[:, None], GRID)[:, 0].numpy()
    lit = grid > LIT
    with warnings.catch_warnings():
        # An image or a column without a lit cell has no percentiles: they are NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        shown = np.where(lit, grid, np.nan).reshape(len(grid), -1)
        found = {
            "lit_share": lit.mean(axis=(1, 2)),
            "top_level": np.quantile(grid, 0.999, axis=(1, 2)),
            **{f"level_{percent}": np.nanpercentile(shown, percent, axis=1) for percent in (10, 50, 90)},
            **_differences(grid, lit),
            **_torso(grid, np.nanmean(shown, axis=1)),
        }
    rhythm = step_rhythm(grid, FEWEST_STEPS, MOST_STEPS)
    found |= {"steps": rhythm.steps, "rhythm": rhythm.strength, "full_columns": (lit.mean(axis=1) > 0.85).mean(axis=1)}
    return {name: np.asarray(found[name], dtype=np.float64) for name in STATISTICS}


def _differences(grid: NDArray[np.float32], lit: NDArray[np.bool_]) -> dict[str, Array]:
    """Mean absolute difference of lit cells one and two rows and columns apart."""
    found = {}
    for axis, name in ((1, "rows"), (2, "columns")):
        for apart in (1, 2):
            first, second = (
                np.take(grid, indices, axis) for indices in (range(GRID - apart), range(apart, GRID))
            )  # fmt: skip
            both = np.take(lit, range(GRID - apart), axis) & np.take(lit, range(apart, GRID), axis)
            count = np.maximum(both.sum(axis=(1, 2)), 1)
            found[f"{name}_apart_{apart}"] = (np.abs(first - second) * both).sum(axis=(1, 2)) / count
    return found


def _torso(grid: NDArray[np.float32], lit_mean: Array) -> dict[str, Array]:
    """Place, wave, level and width of the torso line, reach of the limbs around it, and the profile about it."""
    lifted = above_noise(grid)
    row, _ = torso_line(lifted, GRID / 64)
    mean_row = row.mean(axis=1)
    images, columns = np.arange(len(grid))[:, None], np.arange(GRID)[None]
    nearest = np.clip(np.rint(row).astype(np.int64), 0, GRID - 1)
    on_line = grid[images, nearest, columns]
    # Rows next to the line that are at least three quarters as bright belong to it.
    beside = [grid[images, np.clip(nearest + step, 0, GRID - 1), columns] > 0.75 * on_line for step in (-2, -1, 1, 2)]
    upper, lower = contour(lifted)
    above, below = row - upper, lower - row
    profile = _profile(grid, row)
    return {
        "torso_row": mean_row,
        "torso_wave": np.std(row - _straight(row), axis=1),
        "torso_range": np.subtract(*np.quantile(row, [0.95, 0.05], axis=1)),
        "torso_level": on_line.mean(axis=1) - lit_mean,
        "torso_width": 1 + np.mean(beside, axis=2).sum(axis=0),
        "reach_above": np.nanpercentile(above, 95, axis=1),
        "reach_below": np.nanpercentile(below, 95, axis=1),
        "reach_above_mean": np.nanmean(above, axis=1),
        **{f"band_{band}": profile[:, band] for band in range(BANDS)},
    }


def _straight(row: Array) -> Array:
    """Straight line through each torso line [N, W]: a walker who slows down is no wave."""
    time = np.linspace(-1, 1, row.shape[1])
    slope = (row * time).mean(axis=1) / np.square(time).mean()
    return row.mean(axis=1)[:, None] + slope[:, None] * time


def _profile(grid: NDArray[np.float32], row: Array) -> Array:
    """Mean level in bands of BAND_ROWS rows around the torso line, three quarters of them above it, [N, BANDS]."""
    first = -BAND_ROWS * (BANDS * 3 // 4)
    offsets = first + np.arange(BANDS * BAND_ROWS)
    rows = np.rint(row).astype(np.int64)[:, None] + offsets[:, None]  # [N, O, W]
    inside = (rows >= 0) & (rows < GRID)
    level = np.take_along_axis(grid, np.clip(rows, 0, GRID - 1), axis=1) * inside
    return level.mean(axis=2).reshape(len(grid), BANDS, BAND_ROWS).mean(axis=2)
