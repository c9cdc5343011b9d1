"""Part of the time-Doppler plane that a spectrogram shows, and the native cells in which software computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from echoform_train.engine.errors import UserError
from echoform_train.radar.stft import SPEED_SPAN_MPS, Taper


@dataclass(frozen=True, kw_only=True)
class View:
    """Axes of an image and its native grid. The defaults follow the walker and choose the grid by the carrier."""

    doppler_axis: Literal["body", "fixed"] = "body"
    """body: the middle row is the mean Doppler of the walker. fixed: all images have one Doppler axis, as most radar
    software draws them."""
    centre_mps: float = 0.0
    """Radial speed of the middle row of a fixed axis, m/s; positive comes nearer."""
    span_mps: float = SPEED_SPAN_MPS
    """Radial speed that an image shows to either side of its middle row, m/s."""
    native_rows: int | None = None
    """Rows of the native grid. Default: one per Doppler bin of the transform."""
    native_columns: int | None = None
    """Columns of the native grid. Default: 64 in 3 s."""
    window_steps: float | None = None
    """Steps that each image shows, whatever time they take, as software that cuts by gait cycles does. Images of slower
    walkers have more native columns then. Default: images of --window-s seconds."""
    transform_ms: float | None = None
    """Length of a Fourier transform, ms. Default: 25, as software of FMCW radars transforms one frame of 10 to 60 ms;
    with --body ellipsoids 13.7 at 77 GHz, 15.6 at 60 GHz and 24.2 at 24 GHz, where a foot is sharpest."""
    taper: Taper = "hann"
    """Weights of a transform: hann, or none, whose sidelobes raise columns in which the walker is strong."""

    def __post_init__(self) -> None:
        if self.doppler_axis == "body" and self.centre_mps:
            raise UserError(f"--centre-mps must go with --doppler-axis fixed, got {self.centre_mps}")
        if not 0.2 <= self.span_mps <= 7.9:
            raise UserError(f"--span-mps must be in 0.2..7.9, speeds above 8 m/s fold, got {self.span_mps}")
        if abs(self.centre_mps) + self.span_mps > 8:
            raise UserError(
                f"--centre-mps and --span-mps must not reach beyond 8 m/s, where speeds fold, "
                f"got {self.centre_mps} and {self.span_mps}"
            )
        for name in ("native_rows", "native_columns"):
            value = getattr(self, name)
            if value is not None and not 16 <= value <= 512:
                raise UserError(f"--{name.replace('_', '-')} must be in 16..512, got {value}")
        if self.window_steps is not None and not 1 <= self.window_steps <= 20:
            raise UserError(f"--window-steps must be in 1..20, got {self.window_steps}")
        if self.transform_ms is not None and not 2 <= self.transform_ms <= 200:
            raise UserError(f"--transform-ms must be in 2..200, got {self.transform_ms}")
