"""How somebody walks, read from a spectrogram alone: speed, cadence, reach of the limbs, asymmetry. Nothing is trained.

What simulated walks, whose truth is known, say about it stands in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.constants import speed_of_light
from scipy.ndimage import zoom
from torch import Tensor
from torch.nn import functional as F

from echoform_train.radar.doppler_lines import contour, lift, noise_floor, still_line, torso_line
from echoform_train.radar.step_rhythm import step_asymmetry, step_rhythm

Array = NDArray[np.float64]
Middle = Literal["body", "zero"]
"""What lies in the middle row of the pictures: the mean Doppler of the body, or 0 Hz."""
Unit = Literal["mps", "hz", "px"]
"""Of speeds: metres a second, hertz of Doppler where the carrier is unknown, rows where the axes are."""

STRONGEST_RHYTHM_OF_CHANCE = 0.5
"""Columns in random order reach a strength of 0.3, smooth noise 0.55 in one of a hundred pictures; walks have 0.7."""
SLOWEST_STEPS_HZ = 1.0
FASTEST_STEPS_HZ = 3.5
"""Range in which steps are looked for: wider than that of walking, so that what is no walk can be told."""

_USUAL_SPAN_MPS = 9.0
_USUAL_BINS = 64
_USUAL_SCALE_DB = 34.0
_COARSE = 64
_FINE_ROWS = 128
_LEAST_PIXELS = 16
_NEAREST_MPS = 0.45
_FARTHEST_MPS = 2.4
_BODY_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a picture spans."""

    unit: Unit
    span: float
    """Of the whole height, in `unit`."""
    span_mps: float
    """The same in metres a second, as usual where it is not known."""
    window_s: float | None
    bins: float
    """Bins of the Fourier transform in the height."""
    scale_db: float
    """Of the whole colour scale."""
    height: int
    """Rows of the picture as given."""

    @property
    def rate_name(self) -> str:
        """Name of the cadence: cadence_hz, or where the width in seconds is unknown, steps a picture."""
        return "cadence_hz" if self.window_s is not None else "cadence_per_picture"


def scale_of(axes: Mapping[str, float] | None, height: int) -> Scale:
    """What pictures of `height` rows span, from the contents of `axes.json`; None where there is none.

    Raises:
        ValueError: If the axes run backwards.
    """
    axes = axes or {}
    window_s = axes.get("window_s")
    span_hz = axes.get("doppler_max_hz", 0.0) - axes.get("doppler_min_hz", 0.0)
    carrier_hz = axes.get("carrier_hz")
    if span_hz < 0 or (window_s is not None and window_s <= 0):
        raise ValueError(f"window_s and doppler_max_hz - doppler_min_hz must be above 0, got {window_s} and {span_hz}")
    unit: Unit = "px"
    span, span_mps = float(height), _USUAL_SPAN_MPS
    if span_hz and carrier_hz:
        unit, span = "mps", span_hz * speed_of_light / carrier_hz / 2
        span_mps = span
    elif span_hz:
        unit, span = "hz", span_hz
    scale_db = axes.get("db_max", 0.0) - axes.get("db_min", 0.0)
    return Scale(
        unit=unit,
        span=span,
        span_mps=span_mps,
        window_s=window_s,
        bins=axes.get("native_bins", _USUAL_BINS),
        scale_db=scale_db if scale_db > 0 else _USUAL_SCALE_DB,
        height=height,
    )


def to_level(pixels: Tensor) -> Tensor:
    """Share of the colour scale, float32 [N, H, W] in [0, 1], of pixels uint8 [N, C, H, W].

    One channel is an index into a colour map; of RGB pictures without a known map, the mean of the channels is taken.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 4:
        raise ValueError(f"pixels must be uint8 [N, C, H, W], got {pixels.dtype} {list(pixels.shape)}")
    return pixels.float().mean(dim=1) / 255


def middle_of(level: Tensor) -> Middle:
    """What lies in the middle row of most of these pictures: the body, or 0 Hz.

    A body in the middle keeps within a twentieth of the height of it; one that walks before a middle of 0 Hz does not.

    Args:
        level: Real pictures, float [N, H, W] in [0, 1].
    """
    grid = _on_grid(level)
    row, bright = torso_line(lift(grid), 0.1 / _USUAL_SPAN_MPS * grid.shape[1])
    apart = np.abs(row - (grid.shape[1] - 1) / 2)[bright > 0]
    return "body" if apart.size == 0 or np.median(apart) < _BODY_SHARE * grid.shape[1] else "zero"


def gait_features(
    level: Tensor, axes: Mapping[str, float] | None, *, middle: Middle = "body", batch_size: int = 128
) -> dict[str, Array]:
    """Features of each picture, NaN where one cannot be read.

    Speeds are radial. They end in _mps, in _hz (of Doppler) where the carrier is unknown, in _px (rows) where the axes
    are; cadence_hz is called cadence_per_picture where the width in seconds is unknown. On simulated walks at 77 GHz
    the median error is 0.2 % for the cadence and 1 % for the torso's speed. With the body in the middle, that speed
    needs a visible line of something that stands still: 6 of 10 pictures of 64 rows and 4 of 10 of 256 have one that
    is clear enough, and 9 of 10 of these speeds lie within 3 %.

    Args:
        level: Share of the colour scale, float [N, H, W] in [0, 1], row 0 the highest Doppler; see `to_level`.
        axes: What axes.json holds: window_s, doppler_min_hz, doppler_max_hz, carrier_hz, native_bins, db_min, db_max.
        middle: What lies in the middle row; see `middle_of`.
        batch_size: Pictures at a time.

    Returns:
        float64 [N] each: `torso_speed` (mean over time, not negative) and `heading` (1 towards the radar, -1 away),
        `cadence` (steps a second), `rhythm` (share of the change in time that repeats with the steps, 0..1),
        `envelope_max` and `envelope_min` (reach of the limbs beyond the torso, 95th percentile over time, the latter
        negative), `asymmetry` (difference of successive steps' reach over their sum, 0..1), and `torso_jitter` (mean
        change of the torso's line from one sixty-fourth of the picture to the next).

    Raises:
        ValueError: If the level is not [N, H, W] in [0, 1] with sides of at least 16 pixels.
    """
    if level.ndim != 3 or len(level) == 0 or min(level.shape[1:]) < _LEAST_PIXELS:
        raise ValueError(f"level must be [N, H, W] with sides of at least {_LEAST_PIXELS}, got {list(level.shape)}")
    low, high = float(level.min()), float(level.max())
    if low < 0 or high > 1:
        raise ValueError(f"level must be in 0..1, got {low:.3g}..{high:.3g}")
    scale = scale_of(axes, level.shape[1])
    parts = [_features(part, scale, middle) for part in level.split(batch_size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _features(level: Tensor, scale: Scale, middle: Middle) -> dict[str, Array]:
    grid = _on_grid(level)
    height = grid.shape[1]
    rows_of_mps = height / scale.span_mps
    lifted = lift(grid)
    torso, bright = torso_line(lifted, 0.1 * rows_of_mps)
    seen = (bright > 0.1).mean(axis=1) > 0.5
    upper, lower = contour(lifted)
    above, below = torso - upper, lower - torso
    reach_up, reach_down = _reach(above), _reach(below)
    towards = reach_up > reach_down  # feet swing ahead much faster than the torso, and hardly backwards
    if middle == "zero":
        still = np.full(len(grid), (height - 1) / 2)
        mean = torso.mean(axis=1)
        heading = np.where(mean < still, 1.0, -1.0)
    else:
        still = _still(grid, torso, towards, scale)
        heading = np.where(towards, 1.0, -1.0)
    unit = scale.span / height
    rate, rhythm_of = _range_of_steps(scale, grid.shape[2])
    rhythm = step_rhythm(grid, *rate)
    steady = seen & (rhythm.strength > STRONGEST_RHYTHM_OF_CHANCE)
    asymmetry = step_asymmetry(np.where(towards[:, None], above, below), rhythm)
    read = {
        f"torso_speed_{scale.unit}": np.abs(torso - still[:, None]).mean(axis=1) * unit,
        "heading": heading,
        f"envelope_max_{scale.unit}": reach_up * unit,
        f"envelope_min_{scale.unit}": -reach_down * unit,
        f"torso_jitter_{scale.unit}": np.abs(np.diff(torso, axis=1)).mean(axis=1) * unit,
    }
    return {name: np.where(seen, values, np.nan) for name, values in read.items()} | {
        "rhythm": rhythm.strength,
        scale.rate_name: np.where(steady, rhythm.steps * rhythm_of, np.nan),
        "asymmetry": np.where(steady, asymmetry, np.nan),
    }


def _still(grid: NDArray[np.float32], torso: Array, towards: NDArray[np.bool_], scale: Scale) -> Array:
    """Rows of what stands still: behind the torso, so pictures of people who go away are turned over to look for it."""
    height = grid.shape[1]
    above_floor = grid - noise_floor(grid)[:, None, None].astype(np.float32)
    turned = np.where(towards[:, None, None], above_floor, above_floor[:, ::-1])
    torso_row = torso.mean(axis=1)
    row = still_line(
        turned,
        np.where(towards, torso_row, height - 1 - torso_row),
        bin_rows=height / scale.bins,
        scale_db=scale.scale_db,
        nearest=_NEAREST_MPS / scale.span_mps * height,
        farthest=_FARTHEST_MPS / scale.span_mps * height,
    )
    return np.where(towards, row, height - 1 - row)


def _reach(beyond: Array) -> Array:
    """95th percentile over the columns that hold any level, [N]; 0 where none does."""
    return np.nan_to_num(np.array([np.nanquantile(row, 0.95) if np.isfinite(row).any() else 0.0 for row in beyond]))


def _range_of_steps(scale: Scale, columns: int) -> tuple[tuple[float, float], float]:
    """Fewest and most steps to look for in a picture, and what makes a cadence of them."""
    if scale.window_s is None:
        return (2.0, columns / 4), 1.0
    most = min(FASTEST_STEPS_HZ * scale.window_s, columns / 4)
    return (max(SLOWEST_STEPS_HZ * scale.window_s, 1.5), most), 1 / scale.window_s


def _on_grid(level: Tensor) -> NDArray[np.float32]:
    """Pictures with 128 rows or nearly so, and at most 64 columns: lines are several rows wide, and none is too many.

    Larger ones are averaged to 64 rows first, which is about the native grid of most, so that all are alike.
    """
    height, width = level.shape[1:]
    pooled = F.adaptive_avg_pool2d(level[:, None].float(), (min(height, _COARSE), min(width, _COARSE)))[:, 0].numpy()
    times = _FINE_ROWS // pooled.shape[1]
    fine = np.asarray(zoom(pooled, (1, times, 1), order=3, mode="nearest", grid_mode=True))
    return np.clip(fine, 0, 1)
