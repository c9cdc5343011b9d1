"""Rhythm of the steps in a spectrogram: its rate, its strength, and the difference of successive steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Array = NDArray[np.float64]
FloatArray = NDArray[np.floating]

HARMONICS = 4
SEAMS = 16
"""Number of columns at which an image may have been rolled in time."""
COMPONENTS = 6
DOUBLE_SHARE = 0.6
"""If twice the best rate holds at least this multiple of the best rate's energy, the best rate is that of strides (two
steps), and the rate of steps is twice as high."""
_STEP = 0.1
"""Distance of the rates that are tried, steps per image; a parabola finds the rate in between."""


@dataclass(frozen=True)
class Rhythm:
    """The repetition of steps in N images."""

    steps: Array
    """Steps per width of the image, [N]."""
    strength: Array
    """Share of the change in time that repeats from step to step, 0..1, [N]; 0 where nothing changes."""
    seam: NDArray[np.int64]
    """Column at which time starts in each image, 0 if it was not rolled, [N]."""


def step_rhythm(level: FloatArray, fewest: float, most: float) -> Rhythm:
    """Find the rate at which steps repeat.

    It is the rate whose first four harmonics hold the most energy of the change in time, over all rows. In white noise
    this is nearly the maximum-likelihood rate. The number of steps need not be whole. An image that was rolled in time
    is unrolled at the column that gives the most energy.

    Source: Christensen and Jakobsson, Multi-Pitch Estimation (2009), ch. 2.

    Args:
        level: Images [N, H, W].
        fewest: Smallest number of steps per image.
        most: Largest number of steps per image.
    """
    parts = _components(level, fewest)  # [N, C, W]
    count, _, width = parts.shape
    total = (parts**2).sum(axis=(1, 2))
    rates = np.arange(fewest, most + _STEP / 2, _STEP)
    blocks = max(1, width // SEAMS)
    held = np.zeros((count, len(rates), width // blocks))
    for number in range(1, HARMONICS + 1):
        below = number * rates < width / 2  # higher harmonics would fold
        held[:, below] += _energy_at_rates(parts, number * rates[below], blocks)
    share = held / np.maximum(total, 1e-12)[:, None, None]
    # The best seam for each rate, then the best rate, refined between the rates that were tried.
    best = share.max(axis=2)  # [N, rates]
    steps = np.array([_best_rate(rates, row) for row in best])
    nearest = np.abs(rates[None] - steps[:, None]).argmin(axis=1)
    images = np.arange(count)
    strength = np.where(total > 1e-6 * level[0].size, best[images, nearest], 0.0)
    return Rhythm(steps, np.minimum(strength, 1.0), share[images, nearest].argmax(axis=1) * blocks)


def step_asymmetry(contour: Array, rhythm: Rhythm) -> Array:
    """Difference of successive steps: |a - b| / (a + b) of the two peaks of a contour within a stride, [N], 0..1.

    Args:
        contour: Reach of the limbs beyond the torso, [N, W], not negative; NaN counts as 0.
        rhythm: Of the same images.
    """
    count, width = contour.shape
    columns = (np.arange(width)[None] + rhythm.seam[:, None]) % width
    reach = np.take_along_axis(np.nan_to_num(contour), columns, axis=1)
    grid = np.arange(48) / 48
    peaks = np.empty((count, 2))
    # A stride has one peak for each foot; the curve through all strides of an image averages out their noise.
    for image in range(count):
        phase = (np.arange(width) + 0.5) / width * rhythm.steps[image] / 2  # strides
        weights = np.linalg.lstsq(_harmonics(phase), reach[image], rcond=None)[0]
        curve = _harmonics(grid) @ weights
        first = int(curve.argmax())
        other = np.roll(curve, -first)[24 - 8 : 24 + 9]  # half a stride later, plus or minus a sixth of a stride
        peaks[image] = curve[first], other.max()
    peaks = np.maximum(peaks, 0)
    return np.abs(peaks[:, 0] - peaks[:, 1]) / np.maximum(peaks.sum(axis=1), 1e-9)


def _components(level: FloatArray, fewest: float) -> NDArray[np.float32]:
    """Change in time at the pace of steps or faster, as its COMPONENTS principal components over rows, [N, C, W]."""
    rows = max(1, level.shape[1] // 32)
    height = level.shape[1] // rows * rows
    bands = level[:, :height].reshape(len(level), -1, rows, level.shape[2]).mean(axis=2)
    moving = bands - gaussian_filter1d(bands, 0.45 * level.shape[2] / fewest, axis=2, mode="nearest")
    _, directions = np.linalg.eigh(moving @ moving.transpose(0, 2, 1))
    return (directions[:, :, -COMPONENTS:].transpose(0, 2, 1) @ moving).astype(np.float32)


def _energy_at_rates(parts: NDArray[np.float32], rates: Array, block: int) -> Array:
    """Energy at each rate, for each block of columns as the start of time, [N, rates, seams]."""
    count, components, width = parts.shape
    seams = width // block
    used = seams * block
    time = (np.arange(used) + 0.5) / used
    waves = np.exp(-2j * np.pi * rates[:, None] * time).astype(np.complex64).reshape(len(rates), seams, block)
    cut = parts[:, :, :used].reshape(count * components, seams, block).transpose(1, 0, 2)  # [S, N C, block]
    sums = np.matmul(cut.astype(np.complex64), waves.transpose(1, 2, 0))  # [S, N C, rates]
    before = np.cumsum(sums, axis=0) - sums
    turn = np.exp(-2j * np.pi * rates).astype(np.complex64)
    unrolled = sums.sum(axis=0) + (turn - 1) * before
    energy = (np.abs(unrolled) ** 2).reshape(seams, count, components, len(rates)).sum(axis=2) * 2 / used
    return energy.transpose(1, 2, 0).astype(np.float64)


def _best_rate(rates: Array, share: Array) -> float:
    """Rate of the highest peak, or twice that rate where the peak is the rate of strides."""
    best = int(share.argmax())
    double = int(np.abs(rates - 2 * rates[best]).argmin())
    if abs(rates[double] - 2 * rates[best]) < _STEP:
        around = slice(max(0, double - 3), double + 4)
        if share[around].max() >= DOUBLE_SHARE * share[best]:
            best = around.start + int(share[around].argmax())
    if not 0 < best < len(rates) - 1:
        return float(rates[best])
    left, middle, right = share[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return float(rates[best] + (_STEP * 0.5 * (left - right) / bend if bend < 0 else 0))


def _harmonics(phase: Array) -> Array:
    """A constant and the cosines and sines of six harmonics at phases in strides [T]: [T, 13]."""
    turns = 2 * np.pi * phase[:, None] * np.arange(1, 7)
    return np.concatenate([np.ones((len(phase), 1)), np.cos(turns), np.sin(turns)], axis=1)
