"""The short-time Fourier transform of all spectrograms.

The default window is 13.7 ms at 77 GHz and grows with the square root of the wavelength. A Hann window resolves a
chirp of rate kappa = 2 a / lambda best at a length of 1 / (0.18 sqrt(2 pi kappa)): 16 ms for an accelerating foot at
77 GHz, 56 ms for the torso. The window is chosen for the foot, whose peaks differ between people.
"""

from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from echoform_train.engine.errors import UserError

ComplexArray = NDArray[np.complex64] | NDArray[np.complex128]
FloatArray = NDArray[np.floating]

Taper = Literal["hann", "none"]
"""Weights of the samples of a transform."""

FRAME_RATE_HZ = 128
"""Transforms per second."""

LOOKS = 6
"""Transforms whose power is averaged to one column. A column is 46.9 ms long, and 3 s are 64 columns."""

SPEED_SPAN_MPS = 4.5
"""Radial speed relative to the body that an image shows to either side: 63 Doppler bins at 77 GHz."""


def window_samples(carrier_hz: float, pulse_rate_hz: float) -> int:
    """Even length of the default Hann window: 112 samples at 77 GHz, 100 at 60 GHz, 62 at 24 GHz."""
    seconds = 112 / 8192 * np.sqrt(77e9 / carrier_hz)
    return 2 * round(seconds * pulse_rate_hz / 2)


def stft(
    iq: ComplexArray, *, window: int, hop: int, transform: int | None = None, taper: Taper = "hann"
) -> ComplexArray:
    """Windowed Fourier transforms, scaled so that a tone of amplitude A gives |A| at its bin.

    Args:
        iq: Complex samples [..., T], of any unit.
        window: Samples per transform; samples are not padded at the ends.
        hop: Samples from the start of one transform to the next.
        transform: Bins N of a transform, at least `window`; more bins interpolate. Default: `window`.
        taper: hann, or none for equal weights.

    Returns:
        In the unit of `iq`, [..., N, frames], Doppler ascending: row k is (k - N // 2) / N of the pulse rate.

    Raises:
        ValueError: If window or hop is below 1, or the window is longer than the samples or the transform.
    """
    if window < 1 or hop < 1:
        raise UserError(f"window and hop must be at least 1 sample, got {window} and {hop}")
    if window > iq.shape[-1]:
        raise UserError(f"the window must not be longer than the {iq.shape[-1]} samples given, got {window}")
    if transform is not None and transform < window:
        raise UserError(f"a transform must have at least as many bins as its window of {window}, got {transform}")
    # The periodic Hann window, as scipy.signal.get_window("hann", n) gives.
    weight = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window) if taper == "hann" else np.ones(window)
    frames = np.lib.stride_tricks.sliding_window_view(iq, window, axis=-1)[..., ::hop, :]  # [..., frames, window]
    weights = (weight / weight.sum()).astype(iq.real.dtype)
    bins = scipy.fft.fft(frames * weights, n=transform or window, axis=-1)
    return np.swapaxes(scipy.fft.fftshift(bins, axes=-1), -1, -2)


def spectrogram(
    iq: ComplexArray,
    pulse_rate_hz: float,
    *,
    window: int,
    hop: int,
    looks: int = 1,
    centre_hz: float = 0.0,
    span_hz: float | None = None,
    transform: int | None = None,
    taper: Taper = "hann",
    floor_db: float = -200.0,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Spectrogram: power over Doppler and time.

    Args:
        iq: Complex samples [T], or [C, T] of C range cells whose power is added.
        pulse_rate_hz: Samples per second.
        window: Samples per transform.
        hop: Samples from the start of one transform to the next.
        looks: Transforms whose power is averaged to one column; transforms at the end that fill no column are left out.
        centre_hz: Doppler that is moved to 0, such as that of the walking body.
        span_hz: Largest Doppler to keep, to either side of the centre; None keeps all.
        transform: Bins of a transform, at least `window`. Default: `window`.
        taper: Weights of the samples of a transform.
        floor_db: Smallest level, so that silence has a finite one.

    Returns:
        image_db: Decibels relative to one squared unit of `iq`, float32 [F, W], Doppler ascending.
        doppler_hz: Middles of the bins relative to `centre_hz`, [F]; positive comes nearer.
        time_s: Middles of the columns, since the first sample, [W].

    Raises:
        ValueError: If the span reaches past half the pulse rate, the samples fill no column, or see stft.
    """
    if span_hz is not None and not 0 < span_hz <= pulse_rate_hz / 2:
        raise UserError(f"span_hz must be above 0 and at most half the pulse rate, {pulse_rate_hz / 2}, got {span_hz}")
    samples = iq.shape[-1]
    if centre_hz:
        iq = iq * np.exp(-2j * np.pi * centre_hz / pulse_rate_hz * np.arange(samples)).astype(iq.dtype)
    frames = stft(iq, window=window, hop=hop, transform=transform, taper=taper)
    # Power is averaged before the logarithm: the mean of decibels would be biased by speckle.
    columns = frames.shape[-1] // looks
    if columns < 1:
        raise UserError(f"one column needs {looks} transforms, the {samples} samples given fill {frames.shape[-1]}")
    bins = frames.shape[-2]
    doppler_hz = (np.arange(bins) - bins // 2) * pulse_rate_hz / bins
    if span_hz is not None:
        kept = np.abs(doppler_hz) <= span_hz
        frames, doppler_hz = frames[..., kept, :], doppler_hz[kept]
    looked = frames[..., : columns * looks]
    power = (looked.real**2 + looked.imag**2).reshape(*looked.shape[:-1], columns, looks).mean(axis=-1)
    if power.ndim == 3:
        power = power.sum(axis=0)
    image_db = 10 * np.log10(np.maximum(power, 10 ** (floor_db / 10)), dtype=np.float32)
    column_s = looks * hop / pulse_rate_hz
    time_s = np.arange(columns) * column_s + ((looks - 1) * hop + window) / 2 / pulse_rate_hz
    return image_db, doppler_hz, time_s
