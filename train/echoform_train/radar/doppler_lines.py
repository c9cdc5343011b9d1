"""Lines in a spectrogram to a fraction of a row: the torso, the contour of the limbs, and stationary echoes.

Images are levels [N, H, W]: shares of the colour scale in 0..1, row 0 the highest Doppler. Distances are in rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Array = NDArray[np.float64]
FloatArray = NDArray[np.floating]

CONTOUR_SHARE = 0.02
"""Share of the summed level of a column that lies above the upper contour of the limbs, and below the lower one."""

JUMP_COST = 0.5
BEND_COST = 0.02
"""Costs of a ridge, in levels. A jump to any row costs JUMP_COST; an image that was rolled in time needs one jump. Each
row of change between two columns costs BEND_COST."""

MAX_MISFIT = 0.15
"""Largest share of the squared level of a fitted lobe that may remain unexplained."""

_VISIBLE = 0.015
_QUIET_SHARE = 0.15
_WINDOW = (-1.6, 3.0)
_LEVELS = np.arange(0.05, 0.7, 0.02)


def above_noise(level: FloatArray) -> Array:
    """Level above the noise floor of each image, 0 below it; [N, H, W].

    A walker fills less than half of an image. The 30th percentile is therefore noise floor, and its distance from the
    10th is about one standard deviation of the noise.
    """
    low, floor = np.quantile(level, [0.1, 0.3], axis=(1, 2))
    cut = floor + np.maximum(0.06, 3.5 * (floor - low))
    return np.maximum(level - cut[:, None, None], 0, dtype=np.float64)


def noise_floor(level: FloatArray) -> Array:
    """Level of the noise floor of each image, [N]."""
    return np.asarray(np.quantile(level, 0.3, axis=(1, 2)), dtype=np.float64)


def torso_line(lifted: FloatArray, row_share: float) -> tuple[Array, Array]:
    """Row of the torso in every column, and the level there.

    The torso has the strongest echo of all segments, so it is the brightest smooth ridge, which is found as a shortest
    path over the columns. Its row is the centre of the fourth power of the level near that ridge; the high power keeps
    limbs that pass beside it from moving the centre.

    Args:
        lifted: Level above the floor [N, H, W].
        row_share: Rows per 0.1 m/s.

    Returns:
        Rows with fractions [N, W], and the level at the ridge [N, W].
    """
    smooth = gaussian_filter1d(gaussian_filter1d(lifted, 1.4 * row_share, axis=1), 0.4, axis=2)
    path = _ridge(smooth, max(1, round(3 * row_share)))
    bright = np.take_along_axis(lifted, path[:, None, :], axis=1)[:, 0]
    return centre_about(lifted, path, 4 * row_share, power=4), bright.astype(np.float64)


def centre_about(lifted: FloatArray, path: NDArray[np.integer], half_width: float, *, power: int) -> Array:
    """Centre of the `power` of the level within about `half_width` rows of a path, rows [N, W].

    The window moves with the centre that it finds, three times.
    """
    rows = np.arange(lifted.shape[1])[None, :, None]
    weight = lifted.astype(np.float64) ** power
    centre = path.astype(np.float64)
    for _ in range(3):
        near = weight * np.clip(1.5 - np.abs(rows - centre[:, None, :]) / half_width, 0, 1)
        total = near.sum(axis=1)
        centre = np.where(total > 0, (near * rows).sum(axis=1) / np.maximum(total, 1e-12), centre)
    return centre


def contour(lifted: FloatArray) -> tuple[Array, Array]:
    """Outermost rows of the limbs in every column: the upper and the lower contour, with fractions, each [N, W].

    Beyond each lies CONTOUR_SHARE of the column's level. Columns without any level are NaN.
    """
    return _contour_row(lifted), lifted.shape[1] - 1 - _contour_row(lifted[:, ::-1])


def still_line(
    level: FloatArray, torso_row: Array, *, bin_rows: float, scale_db: float, nearest: float, farthest: float
) -> Array:
    """Row of the line of stationary echoes, which lies below the torso in every image.

    Walls, and the foot on the ground, give a faint line at 0 Hz; below it there is only noise. The line is searched
    near the lowest row whose level is above the noise in half of the columns. The level is averaged there over the
    seventh of the columns in which limbs are farthest away, and the known main lobe of the Hann window is fitted to it
    in decibels.

    Args:
        level: Level above the floor, negative below it, [N, H, W].
        torso_row: Mean row of the torso [N].
        bin_rows: Rows per bin of the Fourier transform.
        scale_db: Extent of the colour scale, decibels.
        nearest: Smallest distance from the torso, rows.
        farthest: Largest distance from the torso, rows.

    Returns:
        Rows with fractions, [N]; NaN where no line is found.
    """
    count, height, _ = level.shape
    distance = np.arange(height)[None] - torso_row[:, None]
    noise = np.maximum(-np.quantile(level, 0.1, axis=(1, 2)), 0)  # about one standard deviation
    lit = (np.median(level, axis=2) > _VISIBLE + noise[:, None]) & (distance < farthest)
    edge = height - 1 - lit[:, ::-1].argmax(axis=1)
    # Every middle of the lobe near that edge is tried, and the best fit wins.
    best = np.full(count, np.inf)
    found = np.full(count, np.nan)
    for back in np.arange(-1.7, 0.21, 0.45):
        middle = edge + back * bin_rows
        rows, profile = _quiet_profile(level, middle, bin_rows)
        for offset in np.arange(-0.25, 0.251, 0.05):
            row = middle + offset * bin_rows
            misfit = _misfit(profile, (rows - row[:, None]) / bin_rows, rows < height, scale_db)
            better = (misfit < best) & (row - torso_row > nearest)
            best = np.where(better, misfit, best)
            found = np.where(better, row, found)
    return np.where(lit.any(axis=1) & (best < MAX_MISFIT), found, np.nan)


def _quiet_profile(level: FloatArray, middle: Array, bin_rows: float) -> tuple[NDArray[np.int64], Array]:
    """Rows around a middle [N, T], and their mean level [N, T] over the columns with the least level next to it."""
    count, height, width = level.shape
    images = np.arange(count)
    sums = np.concatenate([np.zeros((count, 1, width)), np.cumsum(np.maximum(level, 0), axis=1)], axis=1)
    first = np.clip(np.ceil(middle - 2.5 * bin_rows).astype(np.int64), 0, height)
    last = np.clip(np.floor(middle - bin_rows).astype(np.int64) + 1, 0, height)
    between = sums[images, last] - sums[images, first]  # [N, W]
    quiet = max(3, round(_QUIET_SHARE * width))
    columns = np.argpartition(between, quiet - 1, axis=1)[:, :quiet]
    reach = np.arange(int(np.ceil(6 * bin_rows)))
    rows = np.maximum(np.floor(middle - 2 * bin_rows).astype(np.int64), 0)[:, None] + reach
    inside = np.minimum(rows, height - 1)
    return rows, level[images[:, None, None], inside[:, :, None], columns[:, None, :]].mean(axis=2)


def _misfit(profile: Array, bins: Array, inside: NDArray[np.bool_], scale_db: float) -> Array:
    """Share of a profile that the best of several strengths of a lobe leaves unexplained, [N].

    Args:
        profile: Levels [N, T].
        bins: Distance of each row from the middle of the lobe, in bins [N, T].
        inside: Whether each row lies in the image, [N, T].
        scale_db: Extent of the colour scale, decibels.
    """
    used = (bins >= _WINDOW[0]) & (bins <= _WINDOW[1]) & inside
    lobe = np.maximum(_LEVELS[None, :, None] + hann_lobe_db(bins)[:, None] / scale_db, 0)  # [N, levels, T]
    error = np.where(used[:, None], (profile[:, None] - lobe) ** 2, 0).sum(axis=2)
    return (error / (np.where(used[:, None], lobe**2, 0).sum(axis=2) + 1e-4)).min(axis=1)


def hann_lobe_db(bins: FloatArray) -> Array:
    """Main lobe of the Hann window at a distance of d bins: decibels relative to its peak, -80 outside of the lobe.

    sin(pi d) / (pi d (1 - d^2)). Source: Harris, Proceedings of the IEEE 66 (1978) 51-83.
    """
    apart = np.abs(np.asarray(bins, dtype=np.float64))
    pole = np.abs(apart - 1) < 1e-6
    gain = np.where(pole, 0.5, np.sinc(apart) / np.where(pole, 1.0, 1 - apart**2))
    return np.where(apart < 2, 20 * np.log10(np.maximum(np.abs(gain), 1e-4)), -80.0)


def _ridge(smooth: FloatArray, reach: int) -> NDArray[np.int64]:
    """Rows [N, W] of the path with the largest sum of levels; steps of more than `reach` rows cost JUMP_COST."""
    count, height, width = smooth.shape
    rows = np.arange(height)
    images = np.arange(count)
    best = smooth[:, :, 0].astype(np.float64)
    before = np.zeros((count, height, width), np.int32)
    for column in range(1, width):
        # The best way to each row: a step of at most `reach` rows, or a jump from the best row of all.
        options = np.full((2 * reach + 1, count, height), -np.inf)
        for number, step in enumerate(range(-reach, reach + 1)):
            low, high = max(0, step), min(height, height + step)
            options[number, :, low:high] = best[:, low - step : high - step] - BEND_COST * abs(step)
        choice = options.argmax(axis=0)
        value = options.max(axis=0)
        jump = best.max(axis=1, keepdims=True) - JUMP_COST
        before[:, :, column] = np.where(jump > value, best.argmax(axis=1)[:, None], rows - (choice - reach))
        best = np.maximum(value, jump) + smooth[:, :, column]
    # Backwards from the best end along the steps that led to it.
    path = np.empty((count, width), np.int64)
    path[:, -1] = best.argmax(axis=1)
    for column in range(width - 1, 0, -1):
        path[:, column - 1] = before[images, path[:, column], column]
    return path


def _contour_row(lifted: FloatArray) -> Array:
    """Row from the top, with fractions, above which CONTOUR_SHARE of each column's level lies, [N, W]."""
    sums = np.cumsum(lifted, axis=1, dtype=np.float64)
    wanted = CONTOUR_SHARE * sums[:, -1:]
    row = (sums < wanted).sum(axis=1)  # first row at which it is reached
    row = np.minimum(row, lifted.shape[1] - 1)
    above = np.take_along_axis(sums, row[:, None], axis=1)[:, 0]
    own = np.take_along_axis(lifted, row[:, None], axis=1)[:, 0]
    inside = (above - wanted[:, 0]) / np.maximum(own, 1e-12)  # share of this row below the contour
    return np.where(sums[:, -1] > 0, row + 0.5 - inside, np.nan)
