"""From beat signals to samples of one walker: range profiles, the track of the body, and the gate around it.

These are the steps that measured FMCW cubes and simulated ones share. From `range_profiles` on, phases are those of
continuous wave, exp(-j 4 pi R / lambda), so that positive Doppler comes nearer.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from echoform_train.radar.returns import Array, ComplexArray

BODY_HALF_M = 0.7
"""Reach of a walker's hands and feet from the middle of the body, to either side along the line of sight."""

TRACK_RATE_HZ = 16
"""Rate at which the body is tracked, power profiles per second."""

FASTEST_BODY_MPS = 4.0
"""Largest radial speed of the tracked body."""

TRACK_SMOOTHING_S = 0.25
"""Standard deviation of the Gaussian that smooths the track."""


def range_profiles(cube: ComplexArray | NDArray[np.floating]) -> ComplexArray:
    """Hann-windowed Fourier transform over range, scaled so that a scatterer of amplitude A gives |A| at its bin.

    Args:
        cube: Beat signals [..., samples] with positive beat frequencies, complex or real.

    Returns:
        In the unit of the cube, [..., samples] for complex and [..., samples // 2] for real beat signals. Bin k is the
        range k c / 2B. Phases are those at the middle of the chirp, conjugated: exp(-j 4 pi R / lambda).
    """
    samples = cube.shape[-1]
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)
    weights = (taper / taper.sum()).astype(cube.real.dtype)
    from_middle = np.fft.ifftshift(cube * weights, axes=-1)
    if np.iscomplexobj(cube):
        profiles = np.asarray(scipy.fft.fft(from_middle, axis=-1, overwrite_x=True))
    else:  # a real tone has half of its amplitude at the negative frequency
        profiles = 2 * np.asarray(scipy.fft.rfft(from_middle, axis=-1))[..., : samples // 2]
    return np.conj(profiles)


def middle_phases(profiles: ComplexArray) -> ComplexArray:
    """Range profiles whose neighbouring bins have the phases that `range_profiles` gives them.

    A Fourier transform that takes the first sample of a chirp as its origin turns the phase by half a cycle from bin to
    bin, or by less where it was padded, so that the bins of one scatterer would cancel in `gate_body`. The step is
    measured on what moves.

    Args:
        profiles: Complex samples [R, chirps, bins] after a Fourier transform over range.
    """
    moving = profiles - profiles.mean(axis=1, keepdims=True)
    step = np.angle(np.vdot(moving[..., :-1], moving[..., 1:]))
    return profiles * np.exp(-1j * step * np.arange(profiles.shape[-1])).astype(profiles.dtype)


@dataclass(frozen=True, kw_only=True)
class FrameTiming:
    """Frames of chirps that end with idle time."""

    chirps: int
    """Chirps per frame."""
    rate_hz: float
    """Frames per second."""


@dataclass(frozen=True)
class BodyTrack:
    """Where the strongest moving target is, and how much power comes back from it."""

    range_m: Array
    """Range at each chirp, [T]."""
    block_s: Array
    """Middles of the blocks of chirps in which the target was looked for, seconds [N]."""
    block_range_m: Array
    """Range in each block, [N]."""
    block_power: Array
    """Received power of what moves there, in squared units of the profiles, [N]."""


def track_range(profiles: ComplexArray, bin_m: float, pulse_rate_hz: float) -> Array:
    """Range of the strongest moving target, metres [chirps]; see `track_body`."""
    return track_body(profiles, bin_m, pulse_rate_hz).range_m


def track_body(
    profiles: ComplexArray, bin_m: float, pulse_rate_hz: float, frame: FrameTiming | None = None
) -> BodyTrack:
    """Follow the strongest moving target over range.

    The path with the largest sum of decibels is found among those that move at most at FASTEST_BODY_MPS. The track is
    the power-weighted mean range within the reach of a body around that path, smoothed over a quarter of a second.

    Args:
        profiles: Range profiles [chirps, bins], or of several receivers [R, chirps, bins], whose powers are summed.
        bin_m: Width of a range bin.
        pulse_rate_hz: Chirps per second, within a frame.
        frame: Frames with idle time; None: all chirps are evenly spaced.
    """
    stacked = profiles if profiles.ndim == 3 else profiles[None]
    chirps = stacked.shape[1]
    # A block is `steps` of a clock: chirps, or frames where there is idle time between them.
    unit, rate_hz = (1, pulse_rate_hz) if frame is None else (frame.chirps, frame.rate_hz)
    steps = max(1, min(round(rate_hz / TRACK_RATE_HZ), chirps // unit))
    per_block = steps * unit
    blocks = chirps // per_block
    # Power of what moves: without the mean over time of each bin, and without the noise that most bins hold.
    power = np.zeros((blocks, stacked.shape[2]))
    for receiver in stacked:
        moving = receiver[: blocks * per_block] - receiver.mean(axis=0)
        power += (moving.real**2 + moving.imag**2).reshape(blocks, per_block, -1).mean(axis=1)
    power = np.maximum(power - np.median(power, axis=1, keepdims=True), 0)
    reach = max(1, math.ceil(FASTEST_BODY_MPS * steps / rate_hz / bin_m))
    path = _ridge(10 * np.log10(power + 1e-3 * power.max() + np.finfo(float).tiny), reach)
    # To a fraction of a bin: the centre of power near the path.
    bins = np.arange(power.shape[1])
    near = np.abs(bins - path[:, None]) <= max(1.0, BODY_HALF_M / bin_m)
    weight = np.where(near, power, 0)
    total = weight.sum(axis=1)
    centroid = np.where(total > 0, weight @ bins / np.where(total > 0, total, 1), path)
    smooth = scipy.ndimage.gaussian_filter1d(centroid, TRACK_SMOOTHING_S * rate_hz / steps, mode="nearest")
    # Between the middles of blocks, on the clock of the chirps.
    middles = (np.arange(blocks) + 0.5) * per_block - 0.5
    clock = np.arange(chirps) if frame is None else chirp_times_s(chirps, pulse_rate_hz, frame) * pulse_rate_hz
    if frame is not None:
        middles = clock[: blocks * per_block].reshape(blocks, per_block).mean(axis=1)
    range_m = np.interp(clock, middles, smooth) * bin_m
    return BodyTrack(range_m, middles / pulse_rate_hz, smooth * bin_m, total)


def chirp_times_s(chirps: int, pulse_rate_hz: float, frame: FrameTiming | None) -> Array:
    """Start of each chirp in seconds, [chirps]."""
    index = np.arange(chirps)
    if frame is None:
        return index / pulse_rate_hz
    return index // frame.chirps / frame.rate_hz + index % frame.chirps / pulse_rate_hz


def _ridge(score: Array, reach: int) -> NDArray[np.int64]:
    """Columns [rows] of the path with the largest sum whose steps are at most `reach` columns (Viterbi)."""
    padded = np.full((score.shape[1] + 2 * reach,), -np.inf)
    total, steps = score[0].copy(), np.zeros(score.shape, np.int64)
    for row in range(1, len(score)):
        padded[reach:-reach] = total
        choices = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
        # Among equal choices the smallest step, so that the path through silence is straight.
        best = (choices - 1e-9 * np.abs(np.arange(-reach, reach + 1))).argmax(axis=1)
        steps[row] = best - reach
        total = score[row] + choices[np.arange(len(best)), best]
    # Backwards from the best end along the steps that led to it.
    path = np.empty(len(score), np.int64)
    path[-1] = total.argmax()
    for row in range(len(score) - 1, 0, -1):
        path[row - 1] = path[row] + steps[row, path[row]]
    return path


def gate_body(profiles: ComplexArray, range_m: Array, bin_m: float) -> ComplexArray:
    """Coherent sum over the range bins of the body: slow-time samples at the pulse rate.

    All bins of one scatterer have the same phase, that of the middle of the chirp, so that the sum keeps its amplitude:
    a scatterer of amplitude A inside the gate gives A exp(-j 4 pi R / lambda). The gate is flat over the body and one
    bin beyond it, falls to 0 over another two bins, and follows the track continuously.

    Args:
        profiles: Range profiles [chirps, bins].
        range_m: Middle of the gate, metres [chirps].
        bin_m: Width of a range bin.

    Returns:
        In the unit of `profiles`, [chirps].
    """
    flat, fall = BODY_HALF_M / bin_m + 1, 2.0
    bins = np.arange(profiles.shape[1], dtype=np.float32)
    iq = np.empty(len(profiles), profiles.dtype)
    for start in range(0, len(profiles), 2**14):
        part = slice(start, start + 2**14)
        beyond = np.abs(bins - (range_m[part, None] / bin_m).astype(np.float32)) - np.float32(flat)
        gate = np.float32(0.5) + np.float32(0.5) * np.cos(np.float32(np.pi / fall) * np.clip(beyond, 0, fall))
        # The bins of a Hann window add up to 2, its value in the middle divided by its mean.
        iq[part] = np.einsum("nb,nb->n", profiles[part], gate) / 2
    return iq
