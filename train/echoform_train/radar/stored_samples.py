"""Arrays that radars store: the meaning of their axes, and their samples in one order, checked to be complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.constants import speed_of_light

from echoform_train.engine.errors import UserError

AXES = ("time", "frames", "chirps", "samples", "ranges", "receivers", "iq")
"""Names that the axes of a stored array can have."""

IqOrder = Literal["iq", "qi", "iiqq"]
"""Order of the real numbers that make complex samples: I Q I Q, Q I Q I, or I I Q Q that were paired as I Q I Q."""

EVEN_SHARE = 1e-3
"""Share of a frame up to which idle time at its end counts as rounding, so that all chirps are evenly spaced."""

MAX_SAMPLES = 2**25
"""Most samples of I/Q in a file, all receivers together: an hour at 8 kHz."""
MAX_CUBE_SAMPLES = 2**27
"""Most samples of a cube."""
SMALLEST_SAMPLE, LARGEST_SAMPLE = 1e-12, 1e12
"""Range of the largest real or imaginary part of all samples; the power of the weakest must fit into 32 bits."""


@dataclass(frozen=True, kw_only=True)
class SampleFormat:
    """Meaning of the axes and samples of a file."""

    axes: tuple[str, ...]
    """Names of AXES, in the order of the array: `time` for I/Q; `chirps` and `samples` for an FMCW cube, and `frames`
    where chirps are grouped; `ranges` instead of `samples` after a Fourier transform over range; `receivers` where
    there are several channels; `iq` where I and Q are two real numbers along an axis of length 2."""
    pulse_rate_hz: float
    """Samples of I/Q per second; of a cube, chirps per second within a frame."""
    frame_rate_hz: float | None = None
    """Frames per second; chirps of a frame that take less time than that leave idle time at its end."""
    receiver: int | Literal["mean"] | None = None
    """Channel to use, 1 is the first; "mean" averages the power of all channels' spectrograms."""
    bandwidth_hz: float | None = None
    """Bandwidth swept while the samples of a chirp are taken; negative for falling chirps."""
    range_bin_m: float | None = None
    """Width of a bin of the axis `ranges`; None takes c / 2B, that of a transform without padding."""
    iq_order: IqOrder = "iq"
    """Order in which the real numbers of complex samples were stored."""
    conjugate: bool = False
    """Conjugate the complex samples first, for radars whose Q has the other sign."""

    def __post_init__(self) -> None:
        given = f"got {','.join(self.axes)}"
        if len(set(self.axes)) < len(self.axes) or not set(self.axes) <= set(AXES):
            raise UserError(f"axes must each be one of {', '.join(AXES)}, none twice, {given}")
        over_range = [name for name in ("samples", "ranges") if name in self.axes]
        if ("time" in self.axes) == ("chirps" in self.axes) or ("chirps" in self.axes) != (len(over_range) == 1):
            raise UserError(
                "axes must hold either time (I/Q) or chirps and samples (an FMCW cube; ranges instead of samples after "
                f"a Fourier transform over range), {given}"
            )
        if "frames" in self.axes and "chirps" not in self.axes:
            raise UserError(f"the axis frames must go with chirps, {given}")
        if "ranges" in self.axes and (self.bandwidth_hz is None) == (self.range_bin_m is None):
            raise UserError("an axis ranges must have either bandwidth_hz or range_bin_m, which says how wide a bin is")
        required = [("frame_rate_hz", "frames"), ("receiver", "receivers")]
        required += [] if "ranges" in self.axes else [("bandwidth_hz", "samples"), ("range_bin_m", "ranges")]
        for name, needed in required:
            if (getattr(self, name) is not None) != (needed in self.axes):
                raise UserError(
                    f"{name} must be given if and only if there is an axis {needed}, got {getattr(self, name)} with "
                    f"axes {','.join(self.axes)}"
                )
        if (
            self.bandwidth_hz is not None
            and not (self.bandwidth_hz if "ranges" in self.axes else abs(self.bandwidth_hz)) > 0
        ):
            raise UserError(
                "bandwidth_hz must be above 0 (below 0 for falling chirps with an axis samples), "
                f"got {self.bandwidth_hz}"
            )
        for name in ("pulse_rate_hz", "frame_rate_hz", "range_bin_m"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} must be above 0, got {value}")
        if isinstance(self.receiver, int) and self.receiver < 1:
            raise UserError(f"receiver must be 1 for the first, 2 for the second ..., got {self.receiver}")

    @property
    def is_cube(self) -> bool:
        """Whether this is an FMCW cube, with an axis `samples` or `ranges`."""
        return "chirps" in self.axes

    @property
    def bin_m(self) -> float:
        """Width of a range bin of a cube."""
        if self.range_bin_m is not None:
            return self.range_bin_m
        assert self.bandwidth_hz is not None
        return speed_of_light / (2 * abs(self.bandwidth_hz))

    def idle_frame_chirps(self, array: NDArray[Any]) -> int | None:
        """Chirps per frame where frames end with idle time; None where all pulses are evenly spaced.

        Raises:
            ValueError: If the chirps of a frame take longer than the frame.
        """
        if self.frame_rate_hz is None:
            return None
        chirps = _named_shape(array, self)["chirps"]
        share = chirps * self.frame_rate_hz / self.pulse_rate_hz
        if share > 1 + EVEN_SHARE:
            raise UserError(
                f"a frame must be over before the next, {chirps} chirps at {self.pulse_rate_hz:g} Hz take "
                f"{1e3 * chirps / self.pulse_rate_hz:.3g} ms of {1e3 / self.frame_rate_hz:.3g} ms; check "
                "--pulse-rate-hz, --frame-rate-hz and the order of --axes"
            )
        return None if share >= 1 - EVEN_SHARE else chirps


def ordered_axes(array: NDArray[Any], form: SampleFormat) -> NDArray[Any]:
    """Put the axes of a stored array in one order.

    Args:
        array: As the file holds it; axes of length 1 that the format does not name are dropped.
        form: Meaning of its axes.

    Returns:
        [R, T] for I/Q or [R, T, samples or ranges] for a cube, where T counts all chirps, and R is the number of
        receivers. If the format has an axis `iq`, it comes last, with length 2.

    Raises:
        ValueError: If the array does not fit the format.
    """
    array = _with_named_axes(array, form)
    shape = " x ".join(map(str, array.shape))
    lengths = dict(zip(form.axes, array.shape, strict=True))
    most = MAX_CUBE_SAMPLES if form.is_cube else MAX_SAMPLES
    if not 0 < array.size // lengths.get("iq", 1) <= most:
        raise UserError(f"the array must hold 1 to {most:,} samples, it is {shape}; long recordings can be cut")
    if lengths.get("iq", 2) != 2:
        raise UserError(f"the axis iq must have length 2, I and Q, it has {lengths['iq']} of {shape}")
    if isinstance(form.receiver, int) and form.receiver > lengths["receivers"]:
        raise UserError(f"receiver must be in 1..{lengths['receivers']}, got {form.receiver}")
    # Frames before their chirps, so that both become one axis of time.
    order = [name for name in ("receivers", "frames", "chirps", "time", "samples", "ranges", "iq") if name in form.axes]
    array = array.transpose([form.axes.index(name) for name in order])
    if "receivers" not in form.axes:
        array = array[None]
    elif isinstance(form.receiver, int):
        array = array[form.receiver - 1][None]
    if "frames" in form.axes:
        array = array.reshape(len(array), -1, *array.shape[3:])
    return array


def _with_named_axes(array: NDArray[Any], form: SampleFormat) -> NDArray[Any]:
    """The array without axes of length 1 that the format does not name."""
    shape = " x ".join(map(str, array.shape))
    unnamed = array.ndim - len(form.axes)
    # MATLAB adds axes of length 1; which of them are dropped makes no difference to the samples.
    if unnamed > 0 and array.squeeze().ndim <= len(form.axes) <= array.ndim:
        singles = [axis for axis, length in enumerate(array.shape) if length == 1]
        array = array.squeeze(axis=tuple(singles[-unnamed:]))
    if array.ndim != len(form.axes):
        raise UserError(f"the array must have {len(form.axes)} axes ({', '.join(form.axes)}), it is {shape}")
    return array


def _named_shape(array: NDArray[Any], form: SampleFormat) -> dict[str, int]:
    return dict(zip(form.axes, _with_named_axes(array, form).shape, strict=True))


def checked_samples(array: NDArray[Any], form: SampleFormat, first_pulse: int = 0) -> Any:
    """Samples as numbers to compute with.

    Args:
        array: What `ordered_axes` returns, or for a cube the pulses [T, samples] of one receiver.
        form: Meaning of its axes.
        first_pulse: Index of the array's first pulse in the recording, for error messages.

    Returns:
        Finite complex64 samples, or float32 for a cube of real samples; without the axis `iq`.

    Raises:
        ValueError: If samples are NaN or infinite, or real where they must be complex, or the other way round.
    """
    # Complex samples come as one complex array, or as pairs of real numbers; only cubes may be real.
    if "iq" in form.axes:
        if np.iscomplexobj(array):
            raise UserError(f"an array with an axis iq must be real, its dtype is {array.dtype}")
        pairs = np.empty(array.shape[:-1], np.complex64)
        pairs.real, pairs.imag = _to_float32(array[..., 0]), _to_float32(array[..., 1])
        array = pairs
    elif np.iscomplexobj(array):
        array = _to_float32(array)
    elif form.is_cube:
        if form.conjugate:
            raise UserError(f"conjugate must go with complex samples, they are {array.dtype}")
        array = _to_float32(array)
    else:
        raise UserError(
            "I/Q samples must be complex, or I and Q along an axis iq, as only both show the direction of a motion; "
            f"they are {array.dtype}"
        )
    # One NaN would spread over a whole spectrogram, so the message gives its time.
    bad = ~np.isfinite(array)
    if bad.any():
        time_axis = 0 if form.is_cube else 1
        first = int(np.argwhere(bad)[0][time_axis]) + first_pulse
        raise UserError(
            f"samples must be finite, {int(bad.sum())} are NaN or infinite, the first at "
            f"{first / form.pulse_rate_hz:.3f} s"
        )
    largest = max(float(np.abs(part(array)).max(initial=0)) for part in (np.real, np.imag))
    if largest > LARGEST_SAMPLE or 0 < largest < SMALLEST_SAMPLE:
        raise UserError(
            f"the largest of the samples must be {SMALLEST_SAMPLE:g} to {LARGEST_SAMPLE:g}, as 32 bits hold no power "
            f"of others, it is {largest:g}"
        )
    return _reordered(array, form)


def _reordered(array: Any, form: SampleFormat) -> Any:
    """Complex samples whose parts were stored in another order, and conjugated ones, put right."""
    if form.iq_order != "iq" and not np.iscomplexobj(array):
        raise UserError(f"--iq-order must go with complex samples, they are {array.dtype}")
    if form.iq_order == "qi":
        array = 1j * np.conj(array)
    elif form.iq_order == "iiqq":
        if array.shape[-1] % 2:
            raise UserError(f"--iq-order iiqq needs an even number of samples in a row, there are {array.shape[-1]}")
        # Two I were taken for a pair, then two Q.
        both_i, both_q = array[..., 0::2], array[..., 1::2]
        array = np.stack([both_i.real + 1j * both_q.real, both_i.imag + 1j * both_q.imag], axis=-1)
        array = array.reshape(*both_i.shape[:-1], -1).astype(np.complex64)
    if form.bandwidth_hz is not None and form.bandwidth_hz < 0:
        array = array[..., ::-1]  # a falling chirp is a rising one backwards
    return np.conj(array) if form.conjugate else array


def _to_float32(array: NDArray[Any]) -> NDArray[Any]:
    """Real or complex numbers of 32 bits; what is too large for them becomes infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.complex64 if np.iscomplexobj(array) else np.float32)
