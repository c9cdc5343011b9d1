"""Test of a recording against physics: the range of the walker, its rate of change, its Doppler, and its power.

A walker who comes nearer at v m/s has a Doppler of 2 v / wavelength and a range that falls by v metres per second, and
the received power falls with the fourth power of the range. Samples that are read in another order than they were
stored break one of these laws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.constants import speed_of_light
from scipy.ndimage import gaussian_filter1d

from echoform_train.radar.range_gate import BodyTrack, chirp_times_s
from echoform_train.radar.returns import Array
from echoform_train.radar.slow_time import SlowTime, body_doppler_hz
from echoform_train.radar.spectrogram_images import SpectrogramGrid

LARGEST_MISS_MPS = 0.25
"""Difference between Doppler and change of range from which data are read wrongly. Right data stay within 0.1 m/s."""
LARGEST_MISS_SHARE = 0.2
"""The same as a share of the speed, for fast walkers."""
RIGHT_EXPONENT = -4.0
"""Exponent of range by which received power changes, by the radar equation."""
POSSIBLE_EXPONENTS = (-9.0, 1.5)
"""Exponents that antennas, floors and a wrong origin of the range can make of it."""
SLOWEST_JUDGED_MPS = 0.6
"""Radial speed, by range or by Doppler, from which the two are held against each other; below it limbs are as fast."""

_STRETCH_S = 1.0
_POWER_SMOOTHING_S = 0.4


@dataclass(frozen=True, kw_only=True)
class TrackCheck:
    """What a recording says of one walker in ways that must agree."""

    from_m: float
    """Range at the start."""
    to_m: float
    """Range at the end."""
    closing_mps: Array
    """Speed at which the range falls, in each stretch of a second [N]."""
    doppler_mps: Array
    """Radial speed by Doppler in the same stretches, positive when coming nearer [N]."""
    exponent: float
    """Exponent with which received power changes with range; NaN where the range changes too little to tell."""
    exponent_error: float
    """Its standard error."""

    @property
    def miss_mps(self) -> float:
        """Median difference between Doppler and change of range; NaN if the recording is too short."""
        return float(np.median(np.abs(self.doppler_mps - self.closing_mps))) if len(self.doppler_mps) else np.nan

    @property
    def speed_ratio(self) -> float:
        """Speed by range over speed by Doppler."""
        return _median_speed(self.closing_mps) / max(_median_speed(self.doppler_mps), 0.1)

    @property
    def speeds_disagree(self) -> bool:
        """Whether Doppler and change of range differ by more than a walker's limbs explain."""
        fastest = max(_median_speed(self.doppler_mps), _median_speed(self.closing_mps))
        return fastest >= SLOWEST_JUDGED_MPS and self.miss_mps > max(LARGEST_MISS_MPS, LARGEST_MISS_SHARE * fastest)

    @property
    def power_is_impossible(self) -> bool:
        """Whether received power clearly grows with range, or falls much too fast."""
        low, high = POSSIBLE_EXPONENTS
        return self.exponent - 3 * self.exponent_error > high or self.exponent + 3 * self.exponent_error < low

    @property
    def is_wrong(self) -> bool:
        """Whether the recording breaks a law of physics as it was read."""
        return self.speeds_disagree or self.power_is_impossible

    def __str__(self) -> str:
        power = (
            "range too constant for an exponent" if np.isnan(self.exponent) else f"power ~ range^{self.exponent:.1f}"
        )
        return (
            f"track {self.from_m:.1f}..{self.to_m:.1f} m, closing at {_speeds(self.closing_mps)}, "
            f"Doppler {_speeds(self.doppler_mps)}, {power}"
        )


def _median_speed(speed_mps: Array) -> float:
    return float(np.median(np.abs(speed_mps))) if len(speed_mps) else 0.0


def _speeds(speed_mps: Array) -> str:
    """The median of speeds, or both ends of them where the walker turns."""
    if not len(speed_mps):
        return "unknown speed"
    low, middle, high = np.percentile(speed_mps, [10, 50, 90])
    return f"{low:+.2f}..{high:+.2f} m/s" if low * high < 0 else f"{middle:+.2f} m/s"


def check_track(slow: SlowTime, grid: SpectrogramGrid) -> TrackCheck:
    """Measure range, change of range, Doppler and power of a walker.

    Args:
        slow: Samples and track of a cube.
        grid: Gives carrier, pulse rate and the length of the transform.
    """
    assert slow.track is not None
    track = slow.track
    wavelength_m = speed_of_light / grid.carrier_hz
    chirps = slow.iq.shape[1]
    time_s = chirp_times_s(chirps, grid.pulse_rate_hz, slow.frame)
    unit = 1 if slow.frame is None else slow.frame.chirps
    stretch = max(1, round(_STRETCH_S / (time_s[-1] + 1 / grid.pulse_rate_hz) * chirps / unit)) * unit
    closing_mps, doppler_mps = [], []
    for start in range(0, chirps - stretch + 1, max(1, stretch // unit // 2) * unit):
        part = slice(start, start + stretch)
        if stretch < grid.window:
            break
        # A straight line through the track of this second.
        closing_mps.append(-np.polyfit(time_s[part] - time_s[start], track.range_m[part], 1)[0])
        doppler_mps.append(body_doppler_hz(slow.iq[:, part], grid) * wavelength_m / 2)
    # The track is smoothed, so that it bends too little at its ends.
    inner = slice(1, -1) if len(closing_mps) > 3 else slice(None)
    exponent, error = power_exponent(track)
    return TrackCheck(
        from_m=float(track.range_m[0]),
        to_m=float(track.range_m[-1]),
        closing_mps=np.array(closing_mps)[inner],
        doppler_mps=np.array(doppler_mps)[inner],
        exponent=exponent,
        exponent_error=error,
    )


def power_exponent(track: BodyTrack) -> tuple[float, float]:
    """Exponent of range by which the received power of a target changes, and its standard error."""
    seen = (track.block_power > 0) & (track.block_range_m > 0)
    if seen.sum() < 8:
        return np.nan, np.nan
    per_block_s = float(np.median(np.diff(track.block_s))) if len(track.block_s) > 1 else 1.0
    width = _POWER_SMOOTHING_S / max(per_block_s, 1e-6)
    power = np.log(gaussian_filter1d(track.block_power, width, mode="nearest")[seen])
    distance = np.log(track.block_range_m[seen])
    spread = distance - distance.mean()
    if np.ptp(distance) < 0.05:
        return np.nan, np.nan
    exponent = float(spread @ power / (spread @ spread))
    residual = power - power.mean() - exponent * spread
    # Neighbouring blocks are smoothed together; the independent ones are as many as fit.
    independent = max(3.0, len(power) / (2 * np.sqrt(np.pi) * max(width, 0.5)))
    error = float(np.sqrt(residual @ residual / len(power) / (independent - 2) * len(power) / (spread @ spread)))
    return exponent, error
