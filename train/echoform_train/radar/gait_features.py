"""Gait features read from spectrograms without any training: speed, cadence, reach of the limbs, asymmetry.

The tests measure their errors on simulated walks, whose ground truth is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import zoom
from torch import Tensor
from torch.nn import functional as F

from echoform_train.engine.errors import UserError
from echoform_train.radar.doppler_lines import above_noise, contour, noise_floor, still_line, torso_line
from echoform_train.radar.spectrogram_scale import USUAL_SPAN_MPS, SpectrogramScale, read_scale
from echoform_train.radar.step_rhythm import step_asymmetry, step_rhythm

Array = NDArray[np.float64]
Middle = Literal["body", "zero"]
"""What a spectrogram's Doppler axis is relative to: the body, in the middle row, or 0 Hz, in the row that the axes say
or else in the middle."""

MIN_RHYTHM_OF_STEPS = 0.5
"""A rhythm counts as steps if its strength is above this. Columns in random order reach 0.3, walks 0.7."""
SLOWEST_STEPS_HZ = 1.0
FASTEST_STEPS_HZ = 3.5
"""Range in which cadences are searched. It is wider than that of walking people, so that the rhythm of an
image that shows no walk is found too."""

_COARSE = 64
_FINE_ROWS = 128
_LEAST_PIXELS = 16
_NEAREST_MPS = 0.45
_FARTHEST_MPS = 2.4
_BODY_SHARE = 0.05


def to_level(pixels: Tensor) -> Tensor:
    """Pixels uint8 [N, C, H, W] as levels float32 [N, H, W], shares of the colour scale in 0..1.

    One channel is taken as the index into a colour map. RGB images have no known map; their level is the mean of the
    channels.

    Raises:
        ValueError: If the pixels are not uint8 [N, C, H, W].
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 4:
        raise UserError(f"pixels must be uint8 [N, C, H, W], got {pixels.dtype} {list(pixels.shape)}")
    return pixels.float().mean(dim=1) / 255


def detect_middle(level: Tensor) -> Middle:
    """Whether most of these spectrograms have the body or 0 Hz in their middle row.

    The body is in the middle if the torso line stays within a twentieth of the height from it.

    Args:
        level: Real spectrograms, float [N, H, W] in 0..1.
    """
    grid = _on_grid(level)
    row, bright = torso_line(above_noise(grid), 0.1 / USUAL_SPAN_MPS * grid.shape[1])
    apart = np.abs(row - (grid.shape[1] - 1) / 2)[bright > 0]
    return "body" if apart.size == 0 or np.median(apart) < _BODY_SHARE * grid.shape[1] else "zero"


def gait_features(
    level: Tensor, axes: Mapping[str, float] | None, *, middle: Middle = "body", batch_size: int = 128
) -> dict[str, Array]:
    """Gait features of each spectrogram.

    Speeds are radial. Their names end in _mps; in _hz, of Doppler, where the carrier is unknown; in _px, of rows, where
    the axes are unknown. cadence_hz becomes cadence_per_picture, in steps per image, where the width in seconds is
    unknown.

    On simulated walks at 77 GHz the median error is 0.2 % for the cadence and 1 % for the speed of the torso. If the
    body is in the middle, its speed can only be read from the line of stationary echoes. With thin lines (six looks,
    `--body ellipsoids`) it is visible in 60 % of the images with 64 rows, and in 40 % of those with 256 rows; 90 % of
    these speeds are right within 3 %. Speckle hides it, so that the speed is NaN in nearly all speckled images.

    Args:
        level: Share of the colour scale, float [N, H, W] in 0..1, row 0 the highest Doppler; see `to_level`.
        axes: Contents of axes.json: window_s, doppler_min_hz, doppler_max_hz, carrier_hz, native_bins, db_min, db_max.
        middle: Doppler in the middle row; see `detect_middle`.
        batch_size: Images at a time.

    Returns:
        float64 [N] each, NaN where a feature cannot be read:

        - `torso_speed`: mean over time, not negative;
        - `heading`: 1 towards the radar, -1 away from it;
        - `cadence`: steps per second;
        - `rhythm`: share of the change in time that repeats with the steps, 0..1;
        - `envelope_max`, `envelope_min`: reach of the limbs beyond the torso, 95th percentile over time; the latter is
          negative;
        - `asymmetry`: difference of the reach of successive steps over their sum, 0..1;
        - `torso_jitter`: mean change of the torso line over one 64th of the width.

    Raises:
        ValueError: If the level is not [N, H, W] in [0, 1] with sides of at least 16 pixels.
    """
    if level.ndim != 3 or len(level) == 0 or min(level.shape[1:]) < _LEAST_PIXELS:
        raise UserError(f"level must be [N, H, W] with sides of at least {_LEAST_PIXELS}, got {list(level.shape)}")
    low, high = float(level.min()), float(level.max())
    if low < 0 or high > 1:
        raise UserError(f"level must be in 0..1, got {low:.3g}..{high:.3g}")
    scale = read_scale(axes, level.shape[1])
    parts = [_features(part, scale, middle) for part in level.split(batch_size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _features(level: Tensor, scale: SpectrogramScale, middle: Middle) -> dict[str, Array]:
    grid = _on_grid(level)
    height = grid.shape[1]
    rows_per_mps = height / scale.span_mps
    # The torso line, and the outermost rows of the limbs around it.
    lifted = above_noise(grid)
    torso, bright = torso_line(lifted, 0.1 * rows_per_mps)
    seen = (bright > 0.1).mean(axis=1) > 0.5
    upper, lower = contour(lifted)
    above, below = torso - upper, lower - torso
    reach_up, reach_down = _limb_reach(above), _limb_reach(below)
    # Feet swing ahead much faster than the torso and hardly backwards, so the longer reach shows the heading.
    towards = reach_up > reach_down
    if middle == "zero":
        still = np.full(len(grid), scale.zero_share * height - 0.5)
        mean = torso.mean(axis=1)
        heading = np.where(mean < still, 1.0, -1.0)
    else:
        still = _still_row(grid, torso, towards, scale)
        heading = np.where(towards, 1.0, -1.0)
    # Steps repeat in time; where the repetition is too weak, the cadence is NaN.
    rate, cadence_per_step = _range_of_steps(scale, grid.shape[2])
    rhythm = step_rhythm(grid, *rate)
    steady = seen & (rhythm.strength > MIN_RHYTHM_OF_STEPS)
    asymmetry = step_asymmetry(np.where(towards[:, None], above, below), rhythm)
    unit = scale.span / height
    read = {
        f"torso_speed_{scale.unit}": np.abs(torso - still[:, None]).mean(axis=1) * unit,
        "heading": heading,
        f"envelope_max_{scale.unit}": reach_up * unit,
        f"envelope_min_{scale.unit}": -reach_down * unit,
        f"torso_jitter_{scale.unit}": np.abs(np.diff(torso, axis=1)).mean(axis=1) * unit,
    }
    return {name: np.where(seen, values, np.nan) for name, values in read.items()} | {
        "rhythm": rhythm.strength,
        scale.rate_name: np.where(steady, rhythm.steps * cadence_per_step, np.nan),
        "asymmetry": np.where(steady, asymmetry, np.nan),
    }


def _still_row(grid: NDArray[np.float32], torso: Array, towards: NDArray[np.bool_], scale: SpectrogramScale) -> Array:
    """Row of the line of stationary echoes, [N]; NaN where there is none.

    The line lies at a lower speed than the torso. Images of people who walk away are turned upside down, so that it is
    below the torso in all images.
    """
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


def _limb_reach(beyond: Array) -> Array:
    """95th percentile over the columns that are not NaN, [N]; 0 where all are."""
    return np.nan_to_num(np.array([np.nanquantile(row, 0.95) if np.isfinite(row).any() else 0.0 for row in beyond]))


def _range_of_steps(scale: SpectrogramScale, columns: int) -> tuple[tuple[float, float], float]:
    """Smallest and largest number of steps per image to search, and the factor from steps per image to cadence."""
    if scale.window_s is None:
        return (2.0, columns / 4), 1.0
    most = min(FASTEST_STEPS_HZ * scale.window_s, columns / 4)
    return (max(SLOWEST_STEPS_HZ * scale.window_s, 1.5), most), 1 / scale.window_s


def _on_grid(level: Tensor) -> NDArray[np.float32]:
    """Images resampled to about 128 rows and at most 64 columns, so that lines are several rows wide and cost is low.

    Larger images are averaged to 64 rows first, because most spectrograms have a native grid of about 64 rows.
    """
    height, width = level.shape[1:]
    pooled = F.adaptive_avg_pool2d(level[:, None].float(), (min(height, _COARSE), min(width, _COARSE)))[:, 0].numpy()
    times = _FINE_ROWS // pooled.shape[1]
    fine = np.asarray(zoom(pooled, (1, times, 1), order=3, mode="nearest", grid_mode=True))
    return np.clip(fine, 0, 1)
