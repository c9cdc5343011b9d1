"""Conversion of complex samples to spectrogram images: windows, their time-Doppler grid, and their colours.

`echoform simulate` and `echoform prepare --from-iq` both write their images through this module.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.constants import speed_of_light

from echoform_train.data.colormap import lookup_table
from echoform_train.engine.errors import UserError
from echoform_train.engine.resolution import sides_of
from echoform_train.radar.returns import doppler_shift_hz
from echoform_train.radar.stft import (
    FRAME_RATE_HZ,
    LOOKS,
    SPEED_SPAN_MPS,
    ComplexArray,
    FloatArray,
    Taper,
    spectrogram,
    window_samples,
)
from echoform_train.radar.view import View


@dataclass(frozen=True, kw_only=True)
class SpectrogramGrid:
    """How a recording is cut into windows, and the native grid [F, W] of a window before it is enlarged to an image."""

    carrier_hz: float
    pulse_rate_hz: float
    window: int
    """Samples in one Fourier transform."""
    hop: int
    """Samples from the start of one transform to the next."""
    looks: int
    """Number of transforms whose power is averaged to one column."""
    span_hz: float
    """Doppler shown on either side of the centre, hertz."""
    window_s: float
    """Length of a window in seconds, rounded to whole columns."""
    hop_s: float
    """Seconds from the start of one window to the next."""
    transform: int | None = None
    """Bins of one Fourier transform, at least `window`. Default: `window`."""
    taper: Taper = "hann"
    """Weights of the samples of a transform."""
    frame_s: float | None = None
    """Seconds from one transform to the next where each is a frame of chirps that ends with idle time. Default: those
    of its hop."""
    centre_hz: float | None = None
    """Doppler of the middle row of all images; None follows the walker."""

    def __post_init__(self) -> None:
        for name in ("carrier_hz", "pulse_rate_hz", "window", "hop", "looks", "span_hz", "window_s", "hop_s"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.span_hz > self.pulse_rate_hz / 2:
            raise UserError(
                f"the Doppler span of {self.span_hz:.0f} Hz either way must be at most half the pulse rate of "
                f"{self.pulse_rate_hz:g} Hz, otherwise it folds"
            )
        if self.columns < 1:
            raise UserError(f"window_s must hold at least one column of {self.column_s:.3g} s, got {self.window_s}")

    @property
    def columns(self) -> int:
        """W, columns of the native grid."""
        if self.frame_s is not None:
            return round(self.window_s / self.column_s)
        return round(self.window_s * self.pulse_rate_hz / (self.hop * self.looks))

    @property
    def column_s(self) -> float:
        """Seconds from one column to the next."""
        return self.looks * (self.hop / self.pulse_rate_hz if self.frame_s is None else self.frame_s)

    @property
    def samples(self) -> int:
        """Samples in a window: those of its columns, plus the part of the last transform beyond its hop."""
        return (self.columns * self.looks - 1) * self.hop + self.window

    @property
    def bin_hz(self) -> float:
        """Distance between Doppler bins, hertz."""
        return self.pulse_rate_hz / (self.transform or self.window)

    @property
    def bins(self) -> int:
        """F, Doppler bins of the native grid."""
        return 2 * int(self.span_hz / self.bin_hz) + 1


def default_grid(
    carrier_hz: float,
    pulse_rate_hz: float,
    *,
    window_s: float = 3.0,
    hop_s: float = 1.0,
    speed_span_mps: float = SPEED_SPAN_MPS,
    looks: int = LOOKS,
) -> SpectrogramGrid:
    """The grid of simulated spectrograms for a carrier and pulse rate: 63 x 64 at 77 GHz and 8192 Hz.

    Args:
        carrier_hz: Carrier frequency.
        pulse_rate_hz: Complex samples per second.
        window_s: Length of a window.
        hop_s: Seconds from the start of one window to the next.
        speed_span_mps: Radial speed shown on either side of the centre.
        looks: Transforms averaged to one column, a divisor of 6; a column stays 46.9 ms long.

    Raises:
        ValueError: If the span folds at this pulse rate, or a window holds no column.
    """
    return SpectrogramGrid(
        carrier_hz=carrier_hz,
        pulse_rate_hz=pulse_rate_hz,
        window=window_samples(carrier_hz, pulse_rate_hz),
        hop=max(1, round(pulse_rate_hz / FRAME_RATE_HZ)) * (LOOKS // looks),
        looks=looks,
        span_hz=doppler_shift_hz(speed_span_mps, speed_of_light / carrier_hz),
        window_s=window_s,
        hop_s=hop_s,
    )


def view_grid(
    view: View, carrier_hz: float, pulse_rate_hz: float, *, window_s: float, hop_s: float, looks: int
) -> SpectrogramGrid:
    """The grid that a view asks for: that of `default_grid` wherever the view says nothing.

    Raises:
        ValueError: If the rows are fewer than the bins of the transform, or see SpectrogramGrid.
    """
    usual = default_grid(
        carrier_hz, pulse_rate_hz, window_s=window_s, hop_s=hop_s, speed_span_mps=view.span_mps, looks=looks
    )
    wavelength_m = speed_of_light / carrier_hz
    window, hop, transform = usual.window, usual.hop, None
    if view.transform_ms is not None:
        window = max(2, round(view.transform_ms / 1000 * pulse_rate_hz))
    if view.native_rows is not None:
        transform = round(pulse_rate_hz * view.native_rows / (2 * usual.span_hz))
        if transform < window:
            fewest = math.ceil(window * 2 * usual.span_hz / pulse_rate_hz)
            raise UserError(
                f"--native-rows must be at least {fewest}, the bins of a transform of "
                f"{1000 * window / pulse_rate_hz:.1f} ms within --span-mps, got {view.native_rows}"
            )
    if view.native_columns is not None:
        hop = max(1, round(window_s * pulse_rate_hz / (view.native_columns * looks)))
    return replace(
        usual,
        window=window,
        hop=hop,
        transform=transform,
        taper=view.taper,
        centre_hz=doppler_shift_hz(view.centre_mps, wavelength_m) if view.doppler_axis == "fixed" else None,
    )


def window_starts(samples: int, grid: SpectrogramGrid) -> list[int]:
    """Index of the first sample of each window that lies completely within a recording of this many samples."""
    starts = []
    while (start := _start(len(starts) * grid.hop_s, grid)) + grid.samples <= samples:
        starts.append(start)
    return starts


def _start(time_s: float, grid: SpectrogramGrid) -> int:
    """Index of the sample at a time, the first of a frame where there are frames."""
    return round(time_s * grid.pulse_rate_hz) if grid.frame_s is None else round(time_s / grid.frame_s) * grid.hop


def seconds_of(sample: int, grid: SpectrogramGrid) -> float:
    """Time of a sample (of the first in a frame) since the start of the recording."""
    return sample / grid.pulse_rate_hz if grid.frame_s is None else sample // grid.hop * grid.frame_s


def window_image(iq: ComplexArray, grid: SpectrogramGrid, *, centre_hz: float) -> FloatArray:
    """Spectrogram of one window: decibels over one squared unit of `iq`, float32 [F, W], Doppler ascending.

    Args:
        iq: Complex samples of the window, [grid.samples], or [C, grid.samples] of C range cells.
        grid: The native grid.
        centre_hz: Doppler that is moved to the middle row, such as that of the walking body.
    """
    image_db, _, _ = spectrogram(
        iq,
        grid.pulse_rate_hz,
        window=grid.window,
        hop=grid.hop,
        looks=grid.looks,
        centre_hz=centre_hz,
        span_hz=grid.span_hz,
        transform=grid.transform,
        taper=grid.taper,
    )
    return image_db


def image_axes(grid: SpectrogramGrid, *, db_min: float, db_max: float) -> dict[str, float]:
    """Contents of axes.json: extent of every image in seconds, hertz and decibels.

    Doppler is relative to the walker's, or to 0 Hz if the grid has a fixed centre. It is given at the outer edges of
    the image, not at the middles of the outermost bins.
    """
    centre_hz = grid.centre_hz or 0.0
    return {
        "window_s": grid.columns * grid.looks * grid.hop / grid.pulse_rate_hz
        if grid.frame_s is None
        else grid.columns * grid.column_s,
        "hop_s": grid.hop_s,
        "doppler_min_hz": centre_hz - grid.bins / 2 * grid.bin_hz,
        "doppler_max_hz": centre_hz + grid.bins / 2 * grid.bin_hz,
        "db_min": db_min,
        "db_max": db_max,
        "carrier_hz": grid.carrier_hz,
        "native_bins": grid.bins,
        "native_columns": grid.columns,
    }


def level_indices(
    image_db: FloatArray, resolution: int | str, *, db_min: float, db_max: float, interpolate: bool = True
) -> NDArray[np.uint8]:
    """Indices into the colour map that `paint` paints, uint8 [H, W]; arguments as there."""
    share = np.clip((image_db[::-1] - db_min) / (db_max - db_min), 0, 1)
    height, width = sides_of(resolution)
    method = Image.Resampling.BICUBIC if interpolate else Image.Resampling.NEAREST
    smooth = np.asarray(Image.fromarray(share).resize((width, height), method))
    return np.rint(255 * np.clip(smooth, 0, 1)).astype(np.uint8)


def paint(
    image_db: FloatArray, resolution: int | str, *, db_min: float, db_max: float, interpolate: bool = True
) -> Image.Image:
    """Paint a spectrogram as an RGB image in the colours of jet.

    Args:
        image_db: Decibels [F, W], Doppler ascending.
        resolution: Height and width of the image, see `sides_of`; its row 0 is the highest Doppler.
        db_min: Level of the lowest colour.
        db_max: Level of the highest colour.
        interpolate: Enlarge smoothly; otherwise each cell becomes a block.
    """
    index = level_indices(image_db, resolution, db_min=db_min, db_max=db_max, interpolate=interpolate)
    return Image.fromarray(lookup_table("jet")[index])


def save_image(
    path: Path, image_db: FloatArray, resolution: int | str, *, db_min: float, db_max: float, save_db: bool = False
) -> None:
    """Paint a spectrogram [F, W] and write it as PNG; `save_db` also writes its decibels as float32 `.npy` [F, W]."""
    # Compression level 1 is more than twice as fast as the default level, for files 15 % larger.
    paint(image_db, resolution, db_min=db_min, db_max=db_max).save(path, compress_level=1)
    if save_db:
        values: NDArray[np.float32] = image_db.astype(np.float32, copy=False)
        np.save(path.with_suffix(".npy"), values)
