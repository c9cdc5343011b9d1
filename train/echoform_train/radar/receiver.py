"""What a receiver and its software add to a spectrogram: looks, threshold, shown levels, bursts and a second path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from echoform_train.engine.errors import UserError
from echoform_train.radar.returns import Array, ComplexArray
from echoform_train.radar.stft import LOOKS, FloatArray


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Settings of a receiver and of the software that draws its spectrograms.

    The defaults add nothing: no threshold, a fixed range of levels, no interference, and one path. Looks and range
    cells follow the body, see `SimulationConfig.body`.
    """

    looks: int | None = None
    """Transforms whose power is averaged to one column: 1, 2, 3 or 6. Default: 1, as the software of many FMCW radars
    draws, whose speckle has exponential power; 6 with --body ellipsoids."""
    shown_db: float | None = None
    """Range of levels below the strongest cell of each image that the colours show, decibels; 20 to 50 are usual.
    Default: one fixed range for all images, -38 to -4 dB over one square metre at the body's range."""
    threshold_db: float | None = None
    """Cells that are less than this above the receiver's noise are drawn in the lowest colour, decibels; detectors of
    constant false-alarm rate use 8 to 15. Default: no threshold."""
    cut_share: float = 0.0
    """Cells below this share of the range of levels are drawn in the lowest colour, 0..0.9; where the colours begin
    below the receiver's threshold, no cell has a level between them."""
    floor_level: float = 0.0
    """Level at which the lowest colour is drawn, a share of the colour map, 0..0.5: maps of other software begin a
    little later, and some pictures have a coloured floor."""
    bursts_per_minute: float = 0.0
    """Bursts of interference per minute, for example from another radar: each raises one whole column or a few."""
    burst_db: float = 15.0
    """Mean level of a burst over the receiver's noise, decibels."""
    second_path_db: float | None = None
    """Level of the echo by way of the floor relative to the direct one, decibels; wood and concrete reflect -6 to
    -20 dB at grazing angles. It interferes with the direct echo, so that the level fades with range. Default: no
    second path."""
    range_cell_m: float | None = None
    """Width of range cells whose power is added, m: software of FMCW radars sums the powers of the cells around the
    walker, so that head, torso and legs interfere less. 0.04 to 0.5 are usual. Default: 0.3, the cell of a sweep over
    0.5 GHz; with --body ellipsoids and in the FMCW mode 0: all echoes interfere."""
    clutter_gain_db: float = 0.0
    """Stationary echoes (walls, furniture) over those of an open room, decibels; these lie 26 to 36 dB below one square
    metre at the walker's range and differ from walk to walk."""
    remove_clutter: bool = False
    """Remove stationary echoes as the software of many radars does: the mean of the samples of each walk and range cell
    is subtracted, and the line at 0 Hz disappears."""
    noise_db: float = 0.0
    """Noise over that of the simulated radar, decibels: weaker transmitters, losses, and walls that reflect."""
    range_gain: bool = True
    """Compensate the fourth power of the range, so that a walker keeps one level and the noise rises with the range;
    without it the walker fades with the range, and the noise keeps one level."""
    interpolate: bool = True
    """Enlarge the native grid smoothly; --no-interpolate draws each cell as a block, as much radar software does."""
    jpeg_quality: int | None = None
    """Write JPEG of this quality, 1..95, instead of PNG."""

    def __post_init__(self) -> None:
        if self.looks not in (None, 1, 2, 3, 6):
            raise UserError(f"--looks must be 1, 2, 3 or 6, got {self.looks}")
        if self.shown_db is not None and not 3 <= self.shown_db <= 120:
            raise UserError(f"--shown-db must be in 3..120, got {self.shown_db}")
        if self.threshold_db is not None and not 0 <= self.threshold_db <= 60:
            raise UserError(f"--threshold-db must be in 0..60, got {self.threshold_db}")
        if self.range_cell_m and not 0.02 <= self.range_cell_m <= 5:
            raise UserError(f"--range-cell-m must be in 0.02..5, or 0 for none, got {self.range_cell_m}")
        if not -60 <= self.clutter_gain_db <= 60:
            raise UserError(f"--clutter-gain-db must be in -60..60, got {self.clutter_gain_db}")
        if not -30 <= self.noise_db <= 60:
            raise UserError(f"--noise-db must be in -30..60, got {self.noise_db}")
        if not 0 <= self.floor_level <= 0.5:
            raise UserError(f"--floor-level must be in 0..0.5, got {self.floor_level}")
        if not 0 <= self.cut_share <= 0.9:
            raise UserError(f"--cut-share must be in 0..0.9, got {self.cut_share}")
        if not 0 <= self.bursts_per_minute <= 600:
            raise UserError(f"--bursts-per-minute must be in 0..600, got {self.bursts_per_minute}")
        if not -20 <= self.burst_db <= 80:
            raise UserError(f"--burst-db must be in -20..80, got {self.burst_db}")
        if self.second_path_db is not None and not -60 <= self.second_path_db <= 0:
            raise UserError(f"--second-path-db must be in -60..0, got {self.second_path_db}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 95:
            raise UserError(f"--jpeg-quality must be in 1..95, got {self.jpeg_quality}")


_NOISE_SHARE = 0.2
_BODY_REACH_M = 0.6
"""Limbs reach this far before and behind the body."""
BURST_S = 0.004
"""Mean length of a burst. Two sawtooth radars cross within microseconds in each of several successive chirps."""


def add_bursts(iq: ComplexArray, pulse_rate_hz: float, receiver: Receiver, rng: np.random.Generator) -> None:
    """Add bursts of interference to samples, in place; a burst is white over Doppler, as crossing sweeps are.

    Args:
        iq: Complex samples [N] of any unit, or [C, N] of C range cells.
        pulse_rate_hz: Samples per second.
        receiver: Gives rate and level of the bursts.
        rng: Draws number, moments, lengths and levels; both lengths and powers are exponential.
    """
    number = rng.poisson(receiver.bursts_per_minute * iq.shape[-1] / pulse_rate_hz / 60)
    for start in np.sort(rng.integers(0, iq.shape[-1], number)):
        stop = min(start + 1 + int(rng.exponential(BURST_S) * pulse_rate_hz), iq.shape[-1])
        power = _noise_power(iq) * 10 ** (receiver.burst_db / 10) * rng.exponential()
        pairs = rng.standard_normal((*iq.shape[:-1], stop - start, 2)) * np.sqrt(power / 2)
        iq[..., start:stop] += (pairs[..., 0] + 1j * pairs[..., 1]).astype(iq.dtype)


def cell_shares(range_m: Array, body_m: Array, cell_m: float) -> Array:
    """Share of the power of each scatterer that falls into each range cell around the body, [C, T, S]; they sum to 1.

    A scatterer between the middles of two cells shows in both, as in a windowed range transform.

    Args:
        range_m: Ranges [T, S].
        body_m: Range of the body, in the middle cell, [T].
        cell_m: Distance between the middles of neighbouring cells.
    """
    outermost = max(1, round(_BODY_REACH_M / cell_m))
    place = np.clip((range_m - body_m[:, None]) / cell_m, -outermost, outermost).astype(np.float32)
    cells = np.arange(-outermost, outermost + 1, dtype=np.float32)
    return np.cos(np.float32(np.pi / 2) * np.clip(np.abs(place - cells[:, None, None]), 0, 1)) ** 2


def shown_levels(image_db: FloatArray, receiver: Receiver, fixed_db: tuple[float, float]) -> FloatArray:
    """Levels of an image as the software draws them, 0 (lowest colour) to 1 (highest), [F, W].

    Args:
        image_db: Decibels [F, W].
        receiver: Gives looks, threshold and range of levels.
        fixed_db: Lowest and highest level that the colours show if the receiver names no range.
    """
    lowest, highest = fixed_db
    if receiver.shown_db is not None:
        highest = float(image_db.max())
        lowest = highest - receiver.shown_db
    share = np.clip((image_db - lowest) / (highest - lowest), 0, 1)
    share = np.where(share < receiver.cut_share, 0, share)
    if receiver.threshold_db is not None:
        share = np.where(
            image_db >= noise_level_db(image_db, receiver.looks or LOOKS) + receiver.threshold_db, share, 0
        )
    return np.maximum(share, receiver.floor_level)


def noise_level_db(image_db: FloatArray, looks: int) -> float:
    """Mean level of the noise in the cells of a spectrogram, decibels.

    A fifth of the cells hold nothing but noise, whose power has a gamma distribution of shape `looks`: its lowest cells
    tell its mean. Where walkers fill more of the image, the estimate rises by at most a few decibels.

    Args:
        image_db: Decibels [F, W].
        looks: Transforms that were averaged.
    """
    quantile = float(np.quantile(image_db, _NOISE_SHARE))
    return quantile - 10 * float(np.log10(scipy.stats.gamma.ppf(_NOISE_SHARE, looks) / looks))


def _noise_power(iq: ComplexArray) -> float:
    """Power per sample of the white noise in samples, from the quietest Doppler bins."""
    block = min(iq.shape[-1], 1024)
    blocks = iq[..., : iq.shape[-1] // block * block].reshape(-1, block)
    power = np.square(np.abs(np.fft.fft(blocks, axis=-1))) / block
    return float(np.quantile(power, _NOISE_SHARE)) / -np.log(1 - _NOISE_SHARE)
