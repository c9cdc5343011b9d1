"""FMCW mode: beat signals of chirps, range profiles, the walker's track, and slow-time samples for the STFT.

One chirp a pulse. A cube [chirps, samples] holds what the receiver's converter gives: transmitted times conjugated
received signal, so a scatterer at range R makes a tone of positive frequency 2 B R / (c T). `range_profiles` turns the
phase round, and from there on phases go as in the CW mode, exp(-j 4 pi R / lambda): positive Doppler comes nearer.

The way of a simulated walk is `fmcw_returns` (which takes the place of `returns.echoes`, `returns.phase_noise` and
`returns.thermal_noise`): scatterers -> `beat_cube` -> `range_profiles` -> `track_range` -> `gate_body` -> samples [T]
at the pulse rate. The way of a measured cube starts at `range_profiles`.

With the default chirp a range bin is 0.5 m and ranges fold at 32 m; Doppler folds where it does in the CW mode, at
half the pulse rate. The noise of all gated bins adds up: its floor is some 8 dB above that of the CW mode. A 12 s walk
of 16 scatterers at 8192 chirps a second takes some 1.5 s of one core from scatterers to samples, half of it the cube
and a quarter its noise, and 50 MB a copy of the cube.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.constants import Boltzmann, speed_of_light
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from echoform_train.radar.returns import (
    JOINT_RATE_HZ,
    Array,
    ComplexArray,
    Radar,
    phase_noise,
    received_power_w,
)

BODY_HALF_M = 0.7
"""How far a walker's hands and feet reach from the middle of the body, either way along the line of sight."""

TRACK_RATE_HZ = 16
"""Power profiles a second by which the body is tracked."""

FASTEST_BODY_MPS = 4.0
"""Largest change of the tracked range."""

TRACK_SMOOTHING_S = 0.25
"""Deviation of the Gaussian that smooths the track."""

_BLOCK_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Chirp:
    """The linear sweep of every pulse, as far as it is sampled; the carrier is its middle."""

    bandwidth_hz: float = 300e6
    """Swept during the samples; positive for a rising chirp. A range bin is c / 2B."""
    samples: int = 64
    """Complex samples of a chirp."""
    duration_s: float = 100e-6
    """Time in which they are taken; the rest of the pulse interval is for flying back and idling."""

    def __post_init__(self) -> None:
        if not self.bandwidth_hz > 0:
            raise ValueError(f"bandwidth_hz must be above 0, got {self.bandwidth_hz}")
        if self.samples < 8:
            raise ValueError(f"a chirp must have at least 8 samples, got {self.samples}")
        if not self.duration_s > 0:
            raise ValueError(f"duration_s must be above 0, got {self.duration_s}")

    @property
    def bin_m(self) -> float:
        """Width of a range bin, c / 2B."""
        return speed_of_light / (2 * self.bandwidth_hz)

    @property
    def longest_range_m(self) -> float:
        """Where ranges fold."""
        return self.samples * self.bin_m

    @property
    def slope_hz_per_s(self) -> float:
        """Sweep rate, B / T."""
        return self.bandwidth_hz / self.duration_s


def beat_frequency_hz(chirp: Chirp, range_m: float) -> float:
    """Beat frequency of a still scatterer, 2 B R / (c T)."""
    return chirp.slope_hz_per_s * 2 * range_m / speed_of_light


def beat_cube(
    radar: Radar, chirp: Chirp, range_m: Array, section_m2: Array, joint_rate_hz: float = JOINT_RATE_HZ
) -> ComplexArray:
    """Beat signals of point scatterers, without noise.

    With t the time since the middle of a chirp, K its slope and tau(t) = 2 R(t) / c, a scatterer adds
    sqrt(P) exp(j 2 pi (f_c tau + K t tau - K tau^2 / 2)): the exact phase of transmitted times conjugated received
    signal, with the residual video phase and with range migration and Doppler within the chirp, for a range that is
    linear over the chirp. (The flight of the wave itself, 0.1 us, counts as an instant.) Phases are computed for groups
    of samples; that leaves out less than 2 pi B T (dR/dt) / (c sqrt(samples)), half a milliradian for a foot.

    Args:
        radar: Whose carrier, power and pulse rate; one chirp a pulse.
        chirp: The sweep.
        range_m: Ranges [T, S], sampled at `joint_rate_hz`, at the middle of the chirps.
        section_m2: Cross-sections [T, S], likewise.
        joint_rate_hz: A divisor of the radar's pulse rate.

    Returns:
        Square roots of watts, complex64 [(T - 1) * pulse_rate / joint_rate, samples].

    Raises:
        ValueError: If chirps overlap, a range folds, or the pulse rate is no multiple of the joint rate.
    """
    per_row = radar.pulse_rate_hz / joint_rate_hz
    if per_row != int(per_row):
        raise ValueError(f"joint_rate_hz must divide the pulse rate of {radar.pulse_rate_hz} Hz, got {joint_rate_hz}")
    if chirp.duration_s * radar.pulse_rate_hz > 1:
        raise ValueError(
            f"a chirp must be over before the next, {1 / radar.pulse_rate_hz:.3g} s later, "
            f"its duration_s is {chirp.duration_s}"
        )
    if range_m.max() >= chirp.longest_range_m:
        raise ValueError(
            f"ranges must stay below {chirp.longest_range_m:.1f} m, where {chirp.samples} samples over "
            f"{chirp.bandwidth_hz:g} Hz fold, got {range_m.max():.1f} m"
        )
    paths = CubicSpline(np.arange(len(range_m)), 2 * range_m / radar.wavelength_m).c  # [4, T - 1, S], wavelengths
    amplitude = np.sqrt(received_power_w(radar, range_m, section_m2)).astype(np.float32)
    step = (np.arange(int(per_row)) / per_row)[:, None]  # [U, 1], share of an interval
    blocks = []
    for start in range(0, len(range_m) - 1, _BLOCK_ROWS):
        cubic, square, linear, constant = (part[:, None] for part in paths[:, start : start + _BLOCK_ROWS])
        cycles = ((cubic * step + square) * step + linear) * step + constant  # [rows, U, S]
        cycles_hz = ((3 * cubic * step + 2 * square) * step + linear) * joint_rate_hz
        left, right = (amplitude[start + end : start + end + len(cycles), None] for end in (0, 1))
        size = left + (right - left) * step.astype(np.float32)
        scatterers = (part.reshape(-1, range_m.shape[1]) for part in (cycles, cycles_hz, size))
        blocks.append(_chirps(radar, chirp, *scatterers))
    return np.concatenate(blocks)


def _chirps(radar: Radar, chirp: Chirp, cycles: Array, cycles_hz: Array, size: Array) -> ComplexArray:
    """Sum over scatterers of their beat tones, [N, samples], from path, its rate and amplitude [N, S].

    A phase that is linear in time is a product of a group's phase and a phase inside the group, so that the sum over
    scatterers is one small matrix product for each chirp instead of a sine for each sample.
    """
    inside = next(count for count in range(math.isqrt(chirp.samples), 0, -1) if chirp.samples % count == 0)
    sample_s = chirp.duration_s / chirp.samples
    inside_s = (np.arange(inside) - (inside - 1) / 2) * sample_s
    group_s = (np.arange(0, chirp.samples, inside) + (inside - 1) / 2 - chirp.samples // 2) * sample_s
    delay_s, slip = cycles / radar.carrier_hz, cycles_hz / radar.carrier_hz  # tau at the middle, and d tau / dt
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


def range_profiles(cube: ComplexArray | NDArray[np.floating]) -> ComplexArray:
    """Hann-windowed Fourier transform over range, scaled so that a scatterer of amplitude A gives |A| at its bin.

    Args:
        cube: Beat signals [..., samples] with positive beat frequencies, complex or real.

    Returns:
        [..., samples] for complex and [..., samples // 2] for real beat signals, the unit of the cube; bin k is the
        range k c / 2B. Phases are those at the middle of the chirp, turned round: exp(-j 4 pi R / lambda).
    """
    samples = cube.shape[-1]
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)
    weights = (taper / taper.sum()).astype(cube.real.dtype)
    from_middle = np.fft.ifftshift(cube * weights, axes=-1)
    if np.iscomplexobj(cube):
        profiles = np.asarray(scipy.fft.fft(from_middle, axis=-1, overwrite_x=True))
    else:  # a real tone is half a tone at its frequency, and half at the negative one
        profiles = 2 * np.asarray(scipy.fft.rfft(from_middle, axis=-1))[..., : samples // 2]
    return np.conj(profiles)


def track_range(profiles: ComplexArray, bin_m: float, pulse_rate_hz: float) -> Array:
    """Range of what moves most, metres [chirps].

    What stands still is taken out (the mean of each bin), power is averaged to 16 profiles a second, and the path of
    largest summed decibels that moves at most FASTEST_BODY_MPS is followed; the track is the power-weighted mean
    range within a body of that path, smoothed over a quarter of a second.

    Args:
        profiles: Range profiles [chirps, bins], or [receivers, chirps, bins], whose powers are summed.
        bin_m: Width of a range bin.
        pulse_rate_hz: Chirps a second.
    """
    stacked = profiles if profiles.ndim == 3 else profiles[None]
    per_frame = max(1, min(round(pulse_rate_hz / TRACK_RATE_HZ), stacked.shape[1]))
    frames = stacked.shape[1] // per_frame
    power = np.zeros((frames, stacked.shape[2]))
    for receiver in stacked:
        moving = receiver[: frames * per_frame] - receiver.mean(axis=0)
        power += (moving.real**2 + moving.imag**2).reshape(frames, per_frame, -1).mean(axis=1)
    power = np.maximum(power - np.median(power, axis=1, keepdims=True), 0)  # most bins hold only noise
    reach = max(1, math.ceil(FASTEST_BODY_MPS * per_frame / pulse_rate_hz / bin_m))
    path = _ridge(10 * np.log10(power + 1e-3 * power.max() + np.finfo(float).tiny), reach)

    bins = np.arange(power.shape[1])
    near = np.abs(bins - path[:, None]) <= max(1.0, BODY_HALF_M / bin_m)
    weight = np.where(near, power, 0)
    total = weight.sum(axis=1)
    centroid = np.where(total > 0, weight @ bins / np.where(total > 0, total, 1), path)
    smooth = gaussian_filter1d(centroid, TRACK_SMOOTHING_S * pulse_rate_hz / per_frame, mode="nearest")
    middles = (np.arange(frames) + 0.5) * per_frame - 0.5
    return np.interp(np.arange(stacked.shape[1]), middles, smooth) * bin_m


def _ridge(score: Array, reach: int) -> NDArray[np.int64]:
    """Column in each row of the path of largest sum whose steps are at most `reach` columns (Viterbi)."""
    padded = np.full((score.shape[1] + 2 * reach,), -np.inf)
    total, steps = score[0].copy(), np.zeros(score.shape, np.int64)
    for row in range(1, len(score)):
        padded[reach:-reach] = total
        choices = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
        # Of equal choices the nearest to staying, so that silence has a straight path.
        best = (choices - 1e-9 * np.abs(np.arange(-reach, reach + 1))).argmax(axis=1)
        steps[row] = best - reach
        total = score[row] + choices[np.arange(len(best)), best]
    path = np.empty(len(score), np.int64)
    path[-1] = total.argmax()
    for row in range(len(score) - 1, 0, -1):
        path[row - 1] = path[row] + steps[row, path[row]]
    return path


def gate_body(profiles: ComplexArray, range_m: Array, bin_m: float) -> ComplexArray:
    """Coherent sum over the range bins of the body: slow-time samples at the pulse rate.

    Neighbouring bins of one scatterer have one phase, that of the middle of the chirp, so the sum loses nothing: a
    scatterer of amplitude A in the gate comes out as A exp(-j 4 pi R / lambda). The gate is flat over the body and
    one bin more, falls to 0 over another two, and follows the track without steps.

    Args:
        profiles: Range profiles [chirps, bins].
        range_m: Middle of the gate [chirps].
        bin_m: Width of a range bin.

    Returns:
        The unit of `profiles`, [chirps].
    """
    flat, fall = BODY_HALF_M / bin_m + 1, 2.0
    bins = np.arange(profiles.shape[1], dtype=np.float32)
    iq = np.empty(len(profiles), profiles.dtype)
    for start in range(0, len(profiles), 2**14):
        part = slice(start, start + 2**14)
        beyond = np.abs(bins - (range_m[part, None] / bin_m).astype(np.float32)) - np.float32(flat)
        gate = np.float32(0.5) + np.float32(0.5) * np.cos(np.float32(np.pi / fall) * np.clip(beyond, 0, fall))
        # A Hann window's bins add up to 2: its value in the middle over its mean.
        iq[part] = np.einsum("nb,nb->n", profiles[part], gate) / 2
    return iq


def fmcw_returns(
    radar: Radar, chirp: Chirp, range_m: Array, section_m2: Array, rng: np.random.Generator
) -> tuple[ComplexArray, Array]:
    """What an FMCW radar makes of a walk: samples at the pulse rate with phase noise and thermal noise, and the track.

    What stands still is one more scatterer (a column of constant range) with the walker's segments.

    Args:
        radar: Carrier, power, noise and pulse rate.
        chirp: The sweep.
        range_m: Ranges [T, S] at JOINT_RATE_HZ, as `segment_returns` gives.
        section_m2: Cross-sections [T, S], likewise.
        rng: Draws the noise.

    Returns:
        Square roots of watts, complex64 [(T - 1) * pulse_rate / JOINT_RATE_HZ], as `returns.echoes` gives for CW, and
        the tracked range of the body in metres, as long.

    Raises:
        ValueError: See beat_cube.
    """
    cube = beat_cube(radar, chirp, range_m, section_m2)
    cube *= phase_noise(radar, len(cube), rng)[:, None]
    cube += cube_noise(radar, chirp, len(cube), rng)
    profiles = range_profiles(cube)
    track_m = track_range(profiles, chirp.bin_m, radar.pulse_rate_hz)
    return gate_body(profiles, track_m, chirp.bin_m), track_m
