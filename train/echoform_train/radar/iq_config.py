"""Settings of `echoform prepare --from-iq`: what measured recordings hold, and how they become spectrograms."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from scipy.constants import speed_of_light

from echoform_train.engine.errors import UserError
from echoform_train.radar.slow_time import Clutter
from echoform_train.radar.spectrogram_images import SpectrogramGrid, default_grid
from echoform_train.radar.stft import LOOKS, SPEED_SPAN_MPS
from echoform_train.radar.stored_samples import SampleFormat

ABSOLUTE_SPAN_MPS = 6.5
"""Default span around 0 Hz: the foot of a person who walks at 1.8 m/s reaches 6.3 m/s."""


@dataclass(frozen=True, kw_only=True)
class IqConfig:
    """Turn measured recordings into spectrograms."""

    from_iq: bool = False
    """DATA holds recordings of complex samples, one `.npy` or `.mat` (v4 to v7.3) per recording, laid out like images:
    ID_1/walk.npy, ID_1/backpack/walk.mat, or any names with a metadata.jsonl of file_name, user, condition ...
    Each is cut into images of --window-s (3) seconds and --resolution (256) pixels per side, which are then checked and
    split. A body_doppler_hz in a row of metadata.jsonl is used instead of the measured one."""
    output_dir: Path | None = None
    """New or empty folder for the images, metadata.jsonl and axes.json."""
    pulse_rate_hz: float | None = None
    """Complex samples of I/Q per second; for cubes, chirps (of one transmitter) per second within a frame. Required."""
    carrier_ghz: float | None = None
    """Carrier frequency; of a chirp, the middle of its sweep. Required, as it turns speeds into hertz."""
    axes: tuple[str, ...] = ("time",)
    """Names of the array's axes, of a .mat in the order of MATLAB's size(). Axes of length 1 need no name.
    I/Q: `time`. FMCW cube: `chirps samples` or `frames chirps samples`, rising chirps, complex or real.
    Either may have `receivers` (see --receiver) and, where I and Q are two real numbers along an axis, `iq`."""
    receiver: int | Literal["mean"] | None = None
    """Channel of the axis `receivers`, 1 is the first; mean averages the power of all channels' spectrograms."""
    bandwidth_hz: float | None = None
    """For cubes: hertz swept while the samples of a chirp are taken. A range bin is c / 2B."""
    frame_rate_hz: float | None = None
    """For cubes with `frames`: frames per second. Chirps must be evenly spaced across frames."""
    conjugate: bool = False
    """Conjugate the samples first, for radars whose approaching targets have negative Doppler."""
    mat_variable: str | None = None
    """Variable of the .mat files. Default: their only array of numbers."""
    clutter: Clutter = "none"
    """Removal of stationary echoes: none keeps them, as in simulated images; mean subtracts the mean of each recording;
    highpass also removes echoes that move slower than --clutter-mps (Butterworth, order 4, forward and backward)."""
    clutter_mps: float = 0.2
    """Radial speed at which the high-pass halves the amplitude."""
    centre: Literal["body", "zero"] = "body"
    """Doppler in the middle of an image: that of the walking body in these seconds, or 0 Hz."""
    span_mps: float | None = None
    """Radial speed shown on either side of the middle. Default: 4.5 around the body, 6.5 around zero."""
    stft_window: int | None = None
    """Samples in one Fourier transform (Hann). Default: 13.7 ms at 77 GHz, growing with the root of the wavelength."""
    stft_hop: int | None = None
    """Samples from one transform to the next. Default: 1/128 s."""
    looks: int = LOOKS
    """Transforms whose power is averaged to one column."""
    hop_s: float = 1.0
    """Seconds from the start of one image to the next."""
    db_min: float | None = None
    """Level of the lowest colour, decibels. Default: the 65th percentile of the values of all recordings."""
    db_max: float | None = None
    """Level of the highest colour, decibels. Default: the 99th percentile."""
    save_db: bool = False
    """Also write the decibels of each image beside it: `.npy`, float32 [Doppler ascending, time]."""

    def check(self) -> None:
        """Check the settings; `prepare.Config` calls this, as tyro shows only the errors of the outermost config.

        Raises:
            ValueError: If a flag is out of range, lacks another, or is given without --from-iq.
        """
        if not self.from_iq:
            changed = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
            if changed:
                raise UserError(f"{_flag(changed[0])} is for recordings: it must go with --from-iq")
            return
        for name in ("output_dir", "pulse_rate_hz", "carrier_ghz"):
            if getattr(self, name) is None:
                raise UserError(f"--from-iq needs {_flag(name)}")
        assert self.carrier_ghz is not None
        if not 1 <= self.carrier_ghz <= 1000:
            raise UserError(f"carrier_ghz must be between 1 and 1000, got {self.carrier_ghz}")
        if self.hop_s < 0.1:
            raise UserError(f"hop_s must be at least 0.1, got {self.hop_s}")
        if self.clutter_mps <= 0:
            raise UserError(f"clutter_mps must be above 0, got {self.clutter_mps}")
        if self.db_min is not None and self.db_max is not None and self.db_min >= self.db_max:
            raise UserError(f"db_min must be below db_max, got {self.db_min} and {self.db_max}")
        self.format()

    def format(self) -> SampleFormat:
        """Meaning of the axes and samples of the files.

        Raises:
            ValueError: If the flags for it do not fit together.
        """
        assert self.pulse_rate_hz is not None
        return SampleFormat(
            axes=self.axes,
            pulse_rate_hz=self.pulse_rate_hz,
            frame_rate_hz=self.frame_rate_hz,
            receiver=self.receiver,
            bandwidth_hz=self.bandwidth_hz,
            conjugate=self.conjugate,
        )

    @property
    def wavelength_m(self) -> float:
        """Wavelength of the carrier."""
        assert self.carrier_ghz is not None
        return speed_of_light / (self.carrier_ghz * 1e9)

    def grid(self, window_s: float) -> SpectrogramGrid:
        """How recordings are cut into windows of `window_s` seconds.

        Raises:
            ValueError: If the span folds, or a window holds no column.
        """
        assert self.pulse_rate_hz is not None and self.carrier_ghz is not None
        span_mps = self.span_mps
        if span_mps is None:
            span_mps = SPEED_SPAN_MPS if self.centre == "body" else ABSOLUTE_SPAN_MPS
        limit_mps = self.pulse_rate_hz * self.wavelength_m / 4
        if not 0 < span_mps <= limit_mps:
            raise UserError(
                f"span_mps must be above 0 and at most {limit_mps:.2f} m/s, beyond which Doppler folds at "
                f"{self.pulse_rate_hz:g} Hz and {self.carrier_ghz:g} GHz, got {span_mps:g}"
            )
        # Only what a flag sets differs from the grid of simulated spectrograms.
        usual = default_grid(self.carrier_ghz * 1e9, self.pulse_rate_hz, speed_span_mps=span_mps)
        return SpectrogramGrid(
            carrier_hz=usual.carrier_hz,
            pulse_rate_hz=usual.pulse_rate_hz,
            window=usual.window if self.stft_window is None else self.stft_window,
            hop=usual.hop if self.stft_hop is None else self.stft_hop,
            looks=self.looks,
            span_hz=usual.span_hz,
            window_s=window_s,
            hop_s=self.hop_s,
        )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
