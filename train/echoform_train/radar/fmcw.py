"""Simulated FMCW radar: beat signals of chirps, their noise, and the slow-time samples that a receiver computes.

There is one chirp per pulse. A cube [chirps, samples] holds transmitted times conjugated received signal, so that a
scatterer at range R gives a tone of positive frequency 2 B R / (c T).

`fmcw_returns` gives the samples of the FMCW mode, [T] at the pulse rate, by these steps: scatterers -> `beat_cube` ->
`range_profiles` -> `track_range` -> `gate_body`. The continuous-wave mode is in `returns`.

With the default chirp, a range bin is 0.5 m and ranges fold at 32 m. Doppler folds at half the pulse rate, as in
continuous wave. The noise of all gated bins adds up, so that the noise floor is some 8 dB higher.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy
from scipy.constants import Boltzmann, speed_of_light

from echoform_train.engine.errors import UserError
from echoform_train.radar.range_gate import gate_body, range_profiles, track_range
from echoform_train.radar.returns import (
    JOINT_RATE_HZ,
    Array,
    ComplexArray,
    Radar,
    phase_noise,
    received_power_w,
)

_BLOCK_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Chirp:
    """The sampled part of the linear frequency sweep of each pulse; the carrier is its middle."""

    bandwidth_hz: float = 300e6
    """Bandwidth B swept while the samples are taken; positive, for a rising chirp."""
    samples: int = 64
    """Number of complex samples per chirp."""
    duration_s: float = 100e-6
    """Time T in which the samples are taken; the rest of the pulse interval is idle."""

    def __post_init__(self) -> None:
        if not self.bandwidth_hz > 0:
            raise UserError(f"bandwidth_hz must be above 0, got {self.bandwidth_hz}")
        if self.samples < 8:
            raise UserError(f"a chirp must have at least 8 samples, got {self.samples}")
        if not self.duration_s > 0:
            raise UserError(f"duration_s must be above 0, got {self.duration_s}")

    @property
    def bin_m(self) -> float:
        """Width of a range bin, c / 2B."""
        return speed_of_light / (2 * self.bandwidth_hz)

    @property
    def longest_range_m(self) -> float:
        """Range at which ranges fold, metres."""
        return self.samples * self.bin_m

    @property
    def slope_hz_per_s(self) -> float:
        """Sweep rate B / T."""
        return self.bandwidth_hz / self.duration_s


def beat_cube(
    radar: Radar, chirp: Chirp, range_m: Array, section_m2: Array, joint_rate_hz: float = JOINT_RATE_HZ
) -> ComplexArray:
    """Beat signals of point scatterers, without noise.

    With t the time since the middle of a chirp, K its slope and tau(t) = 2 R(t) / c, a scatterer adds
    sqrt(P) exp(j 2 pi (f_c tau + K t tau - K tau^2 / 2)). This is the exact phase of transmitted times conjugated
    received signal, with residual video phase, range migration and Doppler within the chirp, if the range changes
    linearly over the chirp and the flight of the wave (0.1 us) takes no time. Computing phases in groups of samples
    adds an error below 2 pi B T (dR/dt) / (c sqrt(samples)), half a milliradian for a foot.

    Args:
        radar: Gives carrier, power and pulse rate; there is one chirp per pulse.
        chirp: The sweep.
        range_m: Ranges [T, S] at the middle of the chirps, sampled at `joint_rate_hz`.
        section_m2: Cross-sections [T, S] in square metres, sampled like the ranges.
        joint_rate_hz: A divisor of the radar's pulse rate.

    Returns:
        Square roots of watts, complex64 [(T - 1) * pulse_rate / joint_rate, samples].

    Raises:
        ValueError: If chirps overlap, a range folds, or the pulse rate is no multiple of the joint rate.
    """
    _check(radar, chirp, range_m, joint_rate_hz)
    per_row = radar.pulse_rate_hz / joint_rate_hz
    # Two-way paths between the rows are cubic splines, whose coefficients also give the rate of change.
    rows = np.arange(len(range_m))
    paths = scipy.interpolate.CubicSpline(rows, 2 * range_m / radar.wavelength_m).c  # [4, T - 1, S], wavelengths
    amplitude = np.sqrt(received_power_w(radar, range_m, section_m2)).astype(np.float32)
    step = (np.arange(int(per_row)) / per_row)[:, None]  # [U, 1], share of an interval
    blocks = []
    # In blocks, as the arrays per chirp and scatterer would take gigabytes for a whole walk.
    for start in range(0, len(range_m) - 1, _BLOCK_ROWS):
        cubic, square, linear, constant = (part[:, None] for part in paths[:, start : start + _BLOCK_ROWS])
        cycles = ((cubic * step + square) * step + linear) * step + constant  # [rows, U, S]
        cycles_hz = ((3 * cubic * step + 2 * square) * step + linear) * joint_rate_hz
        left, right = (amplitude[start + end : start + end + len(cycles), None] for end in (0, 1))
        size = left + (right - left) * step.astype(np.float32)
        scatterers = (part.reshape(-1, range_m.shape[1]) for part in (cycles, cycles_hz, size))
        blocks.append(_chirps(radar, chirp, *scatterers))
    return np.concatenate(blocks)


def _check(radar: Radar, chirp: Chirp, range_m: Array, joint_rate_hz: float) -> None:
    if radar.pulse_rate_hz % joint_rate_hz != 0:
        raise UserError(f"joint_rate_hz must divide the pulse rate of {radar.pulse_rate_hz} Hz, got {joint_rate_hz}")
    if chirp.duration_s * radar.pulse_rate_hz > 1:
        raise UserError(
            f"a chirp must be over before the next, {1 / radar.pulse_rate_hz:.3g} s later, "
            f"its duration_s is {chirp.duration_s}"
        )
    if range_m.max() >= chirp.longest_range_m:
        raise UserError(
            f"ranges must stay below {chirp.longest_range_m:.1f} m, where {chirp.samples} samples over "
            f"{chirp.bandwidth_hz:g} Hz fold, got {range_m.max():.1f} m"
        )


def _chirps(radar: Radar, chirp: Chirp, cycles: Array, cycles_hz: Array, size: Array) -> ComplexArray:
    """Sum over scatterers of their beat tones, [N, samples].

    Args:
        radar: Gives the carrier.
        chirp: The sweep.
        cycles: Two-way path at the middle of each chirp, in wavelengths [N, S].
        cycles_hz: Its rate of change, per second [N, S].
        size: Amplitudes [N, S].
    """
    # A phase that is linear in time is the sum of a phase per group of samples and a phase inside the group. The sum
    # over scatterers is then one small matrix product per chirp instead of a sine per sample.
    inside = next(count for count in range(math.isqrt(chirp.samples), 0, -1) if chirp.samples % count == 0)
    sample_s = chirp.duration_s / chirp.samples
    inside_s = (np.arange(inside) - (inside - 1) / 2) * sample_s
    group_s = (np.arange(0, chirp.samples, inside) + (inside - 1) / 2 - chirp.samples // 2) * sample_s
    delay_s, slip = cycles / radar.carrier_hz, cycles_hz / radar.carrier_hz  # tau and d tau / dt at the middle
    # Phase in powers of t: constant + linear_hz t + square t^2, all in cycles.
    constant = cycles - chirp.slope_hz_per_s * delay_s**2 / 2
    linear_hz = cycles_hz + chirp.slope_hz_per_s * delay_s * (1 - slip)
    square = chirp.slope_hz_per_s * slip * (1 - slip / 2)
    # Whole cycles are dropped in float64; what remains is exact enough in float32.
    constant = constant - np.floor(constant)
    group_cycles = constant[:, None] + (linear_hz[:, None] + square[:, None] * group_s[:, None]) * group_s[:, None]
    inside_cycles = (linear_hz[..., None] + square[..., None] * inside_s) * inside_s
    groups = _phasors(group_cycles) * size[:, None].astype(np.float32)  # [N, groups, S]
    return np.matmul(groups, _phasors(inside_cycles)).reshape(len(cycles), chirp.samples)


def _phasors(cycles: Array) -> ComplexArray:
    angle = (2 * np.pi * cycles).astype(np.float32)
    phasors = np.empty(angle.shape, np.complex64)
    np.cos(angle, out=phasors.real)
    np.sin(angle, out=phasors.imag)
    return phasors


def cube_noise(radar: Radar, chirp: Chirp, chirps: int, rng: np.random.Generator) -> ComplexArray:
    """Complex white noise of power k T B F, T = 290 K and B the sampling rate within a chirp, [chirps, samples]."""
    sampling_hz = chirp.samples / chirp.duration_s
    power_w = Boltzmann * 290 * sampling_hz * 10 ** (radar.noise_figure_db / 10)
    parts = rng.standard_normal((chirps, 2 * chirp.samples), dtype=np.float32) * np.float32(np.sqrt(power_w / 2))
    return parts.view(np.complex64)


def fmcw_returns(
    radar: Radar, chirp: Chirp, range_m: Array, section_m2: Array, rng: np.random.Generator
) -> tuple[ComplexArray, Array]:
    """Slow-time samples that an FMCW radar takes of a walk, with noise, and the range at which it tracks the body.

    Args:
        radar: Gives carrier, power, noise and pulse rate.
        chirp: The sweep.
        range_m: Ranges [T, S] at JOINT_RATE_HZ of the walker's segments and of the clutter.
        section_m2: Cross-sections [T, S] in square metres.
        rng: Draws the noise.

    Returns:
        Samples in square roots of watts, complex64 [(T - 1) * pulse_rate / JOINT_RATE_HZ], and tracked ranges in metres
        of the same shape.

    Raises:
        ValueError: See beat_cube.
    """
    cube = beat_cube(radar, chirp, range_m, section_m2)
    cube *= phase_noise(radar, len(cube), rng)[:, None]
    cube += cube_noise(radar, chirp, len(cube), rng)
    profiles = range_profiles(cube)
    track_m = track_range(profiles, chirp.bin_m, radar.pulse_rate_hz)
    return gate_body(profiles, track_m, chirp.bin_m), track_m
