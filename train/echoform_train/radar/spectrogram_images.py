"""Conversion of complex samples to spectrogram images: windows, their time-Doppler grid, and their colours.

`echoform simulate` and `echoform prepare --from-iq` both write their images through this module.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.constants import speed_of_light

from echoform_train.data.colormap import lookup_table
from echoform_train.engine.errors import UserError
from echoform_train.radar.returns import doppler_shift_hz
from echoform_train.radar.stft import (
    FRAME_RATE_HZ,
    LOOKS,
    SPEED_SPAN_MPS,
    ComplexArray,
    FloatArray,
    spectrogram,
    window_samples,
)


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
            raise UserError(
                f"window_s must hold at least one column of {self.looks * self.hop / self.pulse_rate_hz:.3g} s, "
                f"got {self.window_s}"
            )

    @property
    def columns(self) -> int:
        """W, columns of the native grid."""
        return round(self.window_s * self.pulse_rate_hz / (self.hop * self.looks))

    @property
    def samples(self) -> int:
        """Samples in a window: those of its columns, plus the part of the last transform beyond its hop."""
        return (self.columns * self.looks - 1) * self.hop + self.window

    @property
    def bin_hz(self) -> float:
        """Distance between Doppler bins, hertz."""
        return self.pulse_rate_hz / self.window

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


def window_starts(samples: int, grid: SpectrogramGrid) -> list[int]:
    """Index of the first sample of each window that lies completely within a recording of this many samples."""
    starts = []
    while (start := round(len(starts) * grid.hop_s * grid.pulse_rate_hz)) + grid.samples <= samples:
        starts.append(start)
    return starts


def window_image(iq: ComplexArray, grid: SpectrogramGrid, *, centre_hz: float) -> FloatArray:
    """Spectrogram of one window: decibels over one squared unit of `iq`, float32 [F, W], Doppler ascending.

    Args:
        iq: Complex samples of the window, [grid.samples].
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
    )
    return image_db


def image_axes(grid: SpectrogramGrid, *, db_min: float, db_max: float) -> dict[str, float]:
    """Contents of axes.json: extent of every image in seconds, hertz relative to the centre and decibels.

    Doppler is given at the outer edges of the image, not at the middles of the outermost bins.
    """
    return {
        "window_s": grid.columns * grid.looks * grid.hop / grid.pulse_rate_hz,
        "hop_s": grid.hop_s,
        "doppler_min_hz": -grid.bins / 2 * grid.bin_hz,
        "doppler_max_hz": grid.bins / 2 * grid.bin_hz,
        "db_min": db_min,
        "db_max": db_max,
        "carrier_hz": grid.carrier_hz,
        "native_bins": grid.bins,
        "native_columns": grid.columns,
    }


def paint(
    image_db: FloatArray, resolution: int, *, db_min: float, db_max: float, interpolate: bool = True
) -> Image.Image:
    """Paint a spectrogram as a square RGB image in the colours of jet.

    Args:
        image_db: Decibels [F, W], Doppler ascending.
        resolution: Pixels per side of the image, whose row 0 is the highest Doppler.
        db_min: Level of the lowest colour.
        db_max: Level of the highest colour.
        interpolate: Enlarge smoothly; otherwise each cell becomes a block.
    """
    share = np.clip((image_db[::-1] - db_min) / (db_max - db_min), 0, 1)
    size = (resolution, resolution)
    method = Image.Resampling.BICUBIC if interpolate else Image.Resampling.NEAREST
    smooth = np.asarray(Image.fromarray(share).resize(size, method))
    index = np.rint(255 * np.clip(smooth, 0, 1)).astype(np.uint8)
    return Image.fromarray(lookup_table("jet")[index])


def save_image(
    path: Path, image_db: FloatArray, resolution: int, *, db_min: float, db_max: float, save_db: bool = False
) -> None:
    """Paint a spectrogram [F, W] and write it as PNG; `save_db` also writes its decibels as float32 `.npy` [F, W]."""
    # Compression level 1 is more than twice as fast as the default level, for files 15 % larger.
    paint(image_db, resolution, db_min=db_min, db_max=db_max).save(path, compress_level=1)
    if save_db:
        values: NDArray[np.float32] = image_db.astype(np.float32, copy=False)
        np.save(path.with_suffix(".npy"), values)
