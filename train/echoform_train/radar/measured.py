"""Measured samples on their way to the STFT: order of axes, range gating, clutter, and the Doppler of the body.

Whatever a radar stored becomes slow-time samples [R, T] of R receivers, with phases as in the simulator: positive
Doppler comes nearer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.constants import speed_of_light
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfiltfilt

from echoform_train.radar.fmcw import gate_body, range_profiles, track_range
from echoform_train.radar.pictures import PictureGrid
from echoform_train.radar.stft import stft

ComplexArray = NDArray[np.complex64]
Clutter = Literal["none", "mean", "highpass"]

AXES = ("time", "frames", "chirps", "samples", "receivers", "iq")
"""Names that the axes of a stored array may have."""

SLOWEST_BODY_MPS = 0.3
FASTEST_BODY_MPS = 3.0
"""Radial speeds between which a walking body is looked for."""

HIGHPASS_ORDER = 4

GAP_S = 0.01
"""Time without any signal, not even noise, after which samples count as lost."""

_BLOCK_PULSES = 2**14


@dataclass(frozen=True, kw_only=True)
class Format:
    """What the numbers of a file mean."""

    axes: tuple[str, ...]
    """Of AXES, in the order of the array: `time` for I/Q; `chirps` and `samples` for an FMCW cube, with `frames`
    before the chirps where they are grouped; `receivers` for several channels; `iq` where I and Q are two real
    numbers along an axis of length 2."""
    pulse_rate_hz: float
    """Samples of I/Q, or chirps within a frame, a second."""
    frame_rate_hz: float | None = None
    """Frames a second; must equal the pulse rate over the chirps of a frame."""
    receiver: int | Literal["mean"] | None = None
    """Which channel, 1 is the first; "mean" averages the power of their spectrograms."""
    bandwidth_hz: float | None = None
    """Swept during the samples of a chirp."""
    conjugate: bool = False
    """Turn all phases round before anything else: for complex samples whose Q has the other sign."""

    def __post_init__(self) -> None:
        given = f"got {','.join(self.axes)}"
        if len(set(self.axes)) < len(self.axes) or not set(self.axes) <= set(AXES):
            raise ValueError(f"axes must each be one of {', '.join(AXES)}, none twice, {given}")
        if ("time" in self.axes) == ("chirps" in self.axes) or ("chirps" in self.axes) != ("samples" in self.axes):
            raise ValueError(f"axes must hold either time (I/Q) or chirps and samples (an FMCW cube), {given}")
        if "frames" in self.axes and "chirps" not in self.axes:
            raise ValueError(f"the axis frames must go with chirps, {given}")
        for name, needed in (("frame_rate_hz", "frames"), ("receiver", "receivers"), ("bandwidth_hz", "samples")):
            if (getattr(self, name) is not None) != (needed in self.axes):
                raise ValueError(
                    f"{name} must be given if and only if there is an axis {needed}, got {getattr(self, name)} with "
                    f"axes {','.join(self.axes)}"
                )
        for name in ("pulse_rate_hz", "frame_rate_hz", "bandwidth_hz"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if isinstance(self.receiver, int) and self.receiver < 1:
            raise ValueError(f"receiver must be 1 for the first, 2 for the second ..., got {self.receiver}")

    @property
    def is_cube(self) -> bool:
        """Whether ranges are to be resolved first."""
        return "samples" in self.axes


def slow_time(array: NDArray[Any], form: Format, *, clutter: Clutter, cutoff_hz: float) -> ComplexArray:
    """Slow-time samples of a recording.

    Cubes: range profiles, clutter removal bin by bin, the track of the body, the coherent sum over the bins of the
    body (all by radar.fmcw), and compensation of the range: amplitudes are multiplied by the tracked range squared, as
    those of simulated walkers are.

    Args:
        array: As the file holds it. Axes of length 1 that the format does not name are dropped.
        form: What its axes are.
        clutter: What is taken out, see remove_clutter.
        cutoff_hz: For clutter "highpass".

    Returns:
        The unit of the file (for cubes, times square metres), complex64 [R, T] at the pulse rate.

    Raises:
        ValueError: If the array does not fit the format, is real where it must be complex, holds NaN, infinity or a
            gap filled with zeros, or frames leave gaps.
    """
    ordered = _ordered(array, form)  # [R, T] or [R, T, samples]
    if not form.is_cube:
        iq = _checked(ordered, form)
        _refuse_gaps((iq != 0).any(axis=0), form.pulse_rate_hz)
        return remove_clutter(iq, form.pulse_rate_hz, clutter, cutoff_hz)
    assert form.bandwidth_hz is not None
    bin_m = speed_of_light / (2 * form.bandwidth_hz)
    profiles = np.stack([_profiles(receiver, form) for receiver in ordered])  # [R, T, bins]
    _refuse_gaps((profiles != 0).any(axis=(0, 2)), form.pulse_rate_hz)
    track_m = track_range(profiles, bin_m, form.pulse_rate_hz)
    cleaned = (remove_clutter(one.T, form.pulse_rate_hz, clutter, cutoff_hz).T for one in profiles)
    return np.stack([gate_body(one, track_m, bin_m) for one in cleaned]) * np.square(track_m).astype(np.float32)


def remove_clutter(iq: ComplexArray, pulse_rate_hz: float, clutter: Clutter, cutoff_hz: float) -> ComplexArray:
    """Take out what stands still.

    "mean" subtracts the mean over the recording: what does not move at all. "highpass" filters with a Butterworth
    high-pass of order 4 forward and backward, so that phases stay: its gain at the Doppler f is
    1 / (1 + (tan(pi cutoff / rate) / tan(pi f / rate))^8), half at the cutoff, as doors and curtains move slowly.

    Args:
        iq: Complex samples [..., T].
        pulse_rate_hz: Samples a second.
        clutter: "none", "mean" or "highpass".
        cutoff_hz: Of the high-pass.

    Raises:
        ValueError: If the cutoff is not between 0 and half the pulse rate, or there are too few samples to filter.
    """
    if clutter == "none":
        return iq
    if clutter == "mean":
        return iq - iq.mean(axis=-1, keepdims=True)
    if not 0 < cutoff_hz < pulse_rate_hz / 2:
        raise ValueError(f"the cutoff must be between 0 and half the pulse rate, {pulse_rate_hz / 2}, got {cutoff_hz}")
    sections = butter(HIGHPASS_ORDER, cutoff_hz, "highpass", fs=pulse_rate_hz, output="sos")
    # Mirrored ends as long as the filter rings.
    ends = min(iq.shape[-1] - 1, round(3 * pulse_rate_hz / cutoff_hz))
    return np.asarray(sosfiltfilt(sections, iq, axis=-1, padlen=ends)).astype(np.complex64)


def body_doppler_hz(iq: ComplexArray, grid: PictureGrid) -> float:
    """Doppler of the walking body in samples [R, T]: where the torso's line is.

    The strongest stretch of the mean power spectrum (smoothed over 0.25 m/s) among radial speeds of 0.3 to 3 m/s
    either way, and the mean Doppler of the power within 0.6 m/s of it. For simulated walkers it lies within 0.04 m/s
    (RMS, 3 s) of the truth.
    """
    wavelength_m = speed_of_light / grid.carrier_hz
    power = np.zeros(grid.window)
    for receiver in iq:
        frames = stft(receiver, window=grid.window, hop=max(1, grid.window // 4))
        power += (frames.real**2 + frames.imag**2).mean(axis=1)
    doppler_hz = (np.arange(grid.window) - grid.window // 2) * grid.bin_hz
    speed_mps = np.abs(doppler_hz) * wavelength_m / 2
    walking = (speed_mps >= SLOWEST_BODY_MPS) & (speed_mps <= FASTEST_BODY_MPS)
    moving = np.where(speed_mps >= SLOWEST_BODY_MPS, power, 0)
    smooth = gaussian_filter1d(moving, 0.25 / (grid.bin_hz * wavelength_m / 2), mode="wrap")
    peak_hz = doppler_hz[np.where(walking, smooth, -1).argmax()]
    near = np.where(np.abs(doppler_hz - peak_hz) * wavelength_m / 2 <= 0.6, moving, 0)
    return float(near @ doppler_hz / near.sum()) if near.any() else float(peak_hz)


def _ordered(array: NDArray[Any], form: Format) -> NDArray[Any]:
    """[R, T] or [R, T, samples], with I and Q still apart in a last axis of 2 where they are so stored."""
    shape = " x ".join(map(str, array.shape))
    unnamed = array.ndim - len(form.axes)
    if unnamed > 0 and array.squeeze().ndim <= len(form.axes) <= array.ndim:
        singles = [axis for axis, length in enumerate(array.shape) if length == 1]
        array = array.squeeze(axis=tuple(singles[-unnamed:]))
    if array.ndim != len(form.axes):
        raise ValueError(f"the array must have {len(form.axes)} axes ({', '.join(form.axes)}), it is {shape}")
    lengths = dict(zip(form.axes, array.shape, strict=True))
    if lengths.get("iq", 2) != 2:
        raise ValueError(f"the axis iq must have length 2, I and Q, it has {lengths['iq']} of {shape}")
    if isinstance(form.receiver, int) and form.receiver > lengths["receivers"]:
        raise ValueError(f"receiver must be in 1..{lengths['receivers']}, got {form.receiver}")
    if form.frame_rate_hz is not None:
        _check_frames(lengths["chirps"], form.frame_rate_hz, form.pulse_rate_hz)
    order = [name for name in ("receivers", "frames", "chirps", "time", "samples", "iq") if name in form.axes]
    array = array.transpose([form.axes.index(name) for name in order])
    if "receivers" not in form.axes:
        array = array[None]
    elif isinstance(form.receiver, int):
        array = array[form.receiver - 1][None]
    if "frames" in form.axes:
        array = array.reshape(len(array), -1, *array.shape[3:])
    return array


def _check_frames(chirps: int, frame_rate_hz: float, pulse_rate_hz: float) -> None:
    if abs(chirps * frame_rate_hz / pulse_rate_hz - 1) > 1e-3:
        raise ValueError(
            f"frames must follow one another without gaps, {chirps} chirps at {pulse_rate_hz:g} Hz take "
            f"{1e3 * chirps / pulse_rate_hz:.3g} ms of {1e3 / frame_rate_hz:.3g} ms: the Fourier transform needs "
            "evenly spaced chirps"
        )


def _refuse_gaps(alive: NDArray[np.bool_], pulse_rate_hz: float) -> None:
    """Raise where nothing but zeros was stored for GAP_S or more."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~alive, [False]])))
    for start, end in edges.reshape(-1, 2).tolist():
        if end - start >= max(2, GAP_S * pulse_rate_hz):
            raise ValueError(
                f"a recording must have no gaps, from {start / pulse_rate_hz:.3f} to {end / pulse_rate_hz:.3f} s it "
                "holds only zeros; cut it into two"
            )


def _profiles(cube: NDArray[Any], form: Format) -> ComplexArray:
    """Range profiles [T, bins] of one receiver's [T, samples], in blocks, so that a mapped file is read once."""
    blocks = (cube[start : start + _BLOCK_PULSES] for start in range(0, len(cube), _BLOCK_PULSES))
    return np.concatenate([range_profiles(_checked(block, form, start_block=n)) for n, block in enumerate(blocks)])


def _checked(array: NDArray[Any], form: Format, start_block: int = 0) -> Any:
    """Finite complex64 (or, for a cube, float32) samples."""
    if "iq" in form.axes:
        if np.iscomplexobj(array):
            raise ValueError(f"an array with an axis iq must be real, its dtype is {array.dtype}")
        pairs = np.empty(array.shape[:-1], np.complex64)
        pairs.real, pairs.imag = array[..., 0], array[..., 1]
        array = pairs
    elif np.iscomplexobj(array):
        array = array.astype(np.complex64)
    elif form.is_cube:
        if form.conjugate:
            raise ValueError(f"conjugate must go with complex samples, they are {array.dtype}")
        array = array.astype(np.float32)
    else:
        raise ValueError(
            f"I/Q samples must be complex, or I and Q along an axis iq: without Q nobody can tell coming from going; "
            f"they are {array.dtype}"
        )
    bad = ~np.isfinite(array)
    if bad.any():
        time_axis = 0 if form.is_cube else 1
        first = int(np.argwhere(bad)[0][time_axis]) + start_block * _BLOCK_PULSES
        raise ValueError(
            f"samples must be finite, {int(bad.sum())} are NaN or infinite, the first at "
            f"{first / form.pulse_rate_hz:.3f} s"
        )
    return np.conj(array) if form.conjugate else array
