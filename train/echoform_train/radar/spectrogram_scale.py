"""Scale of a spectrogram: the speed, time and decibels that its height, width and colours span."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scipy.constants import speed_of_light

from echoform_train.engine.errors import UserError

Unit = Literal["mps", "hz", "px"]
"""Unit of speeds: metres per second; hertz of Doppler if the carrier is unknown; rows (px) if the axes are unknown."""

USUAL_SPAN_MPS = 9.0
"""Height of a spectrogram in metres per second where it is not known."""
_USUAL_BINS = 64
_USUAL_SCALE_DB = 34.0


@dataclass(frozen=True, kw_only=True)
class SpectrogramScale:
    """Extent of spectrograms."""

    unit: Unit
    """Unit of speeds read from them."""
    span: float
    """Extent of the height, in `unit`."""
    span_mps: float
    """Extent of the height in metres per second; USUAL_SPAN_MPS where it is not known."""
    window_s: float | None
    """Extent of the width in seconds; None where it is not known."""
    bins: float
    """Bins of the Fourier transform in the height."""
    scale_db: float
    """Extent of the colour scale, decibels."""
    height: int
    """Rows of the image."""
    zero_share: float = 0.5
    """Place of 0 Hz of the axes, as a share of the height from the top."""

    @property
    def rate_name(self) -> str:
        """Name of the cadence: cadence_hz, or cadence_per_picture where the width in seconds is not known."""
        return "cadence_hz" if self.window_s is not None else "cadence_per_picture"


def read_scale(axes: Mapping[str, float] | None, height: int) -> SpectrogramScale:
    """Extent of spectrograms of `height` rows.

    Args:
        axes: Contents of axes.json, any of whose entries may be missing; None where there is no such file.
        height: Rows of the images.

    Raises:
        ValueError: If the axes run backwards.
    """
    axes = axes or {}
    window_s = axes.get("window_s")
    span_hz = axes.get("doppler_max_hz", 0.0) - axes.get("doppler_min_hz", 0.0)
    carrier_hz = axes.get("carrier_hz")
    if span_hz < 0 or (window_s is not None and window_s <= 0):
        raise UserError(f"window_s and doppler_max_hz - doppler_min_hz must be above 0, got {window_s} and {span_hz}")
    unit: Unit = "px"
    span, span_mps = float(height), USUAL_SPAN_MPS
    if span_hz and carrier_hz:
        unit, span = "mps", span_hz * speed_of_light / carrier_hz / 2
        span_mps = span
    elif span_hz:
        unit, span = "hz", span_hz
    scale_db = axes.get("db_max", 0.0) - axes.get("db_min", 0.0)
    return SpectrogramScale(
        unit=unit,
        span=span,
        span_mps=span_mps,
        window_s=window_s,
        bins=axes.get("native_bins", _USUAL_BINS),
        scale_db=scale_db if scale_db > 0 else _USUAL_SCALE_DB,
        height=height,
        zero_share=axes["doppler_max_hz"] / span_hz if span_hz and 0 <= axes["doppler_max_hz"] <= span_hz else 0.5,
    )
