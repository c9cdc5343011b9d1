"""Settings of `echoform prepare --from-iq`: what measured recordings hold, and how they become spectrograms."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from scipy.constants import speed_of_light

from echoform_train.engine.errors import UserError
from echoform_train.radar.chirp_config import Lanes
from echoform_train.radar.range_gate import FrameTiming
from echoform_train.radar.slow_time import Clutter
from echoform_train.radar.spectrogram_images import SpectrogramGrid, default_grid
from echoform_train.radar.stft import LOOKS, SPEED_SPAN_MPS
from echoform_train.radar.stored_samples import IqOrder, SampleFormat

ABSOLUTE_SPAN_MPS = 6.5
"""Default span around 0 Hz: the foot of a person who walks at 1.8 m/s reaches 6.3 m/s."""

MOST_OF_AN_AXIS = 2**20
"""Most receivers, samples or chirps that a flag can say."""


@dataclass(frozen=True, kw_only=True)
class IqConfig:
    """Turn measured recordings into spectrograms."""

    from_iq: bool = False
    """DATA holds recordings of complex samples, one `.npy`, `.npz`, `.mat` (v4 to v7.3), `.h5` or `.bin` (see --format)
    per recording, laid out like images: ID_1/walk.npy, ID_1/backpack/walk.mat, or any names with a metadata.jsonl of
    file_name, user, condition ...
    Each is cut into images of --window-s (3) seconds and --resolution (256) pixels, which are then checked and
    split. A body_doppler_hz in a row of metadata.jsonl is used instead of the measured one."""
    output_dir: Path | None = None
    """New or empty folder for the images, metadata.jsonl and axes.json."""
    pulse_rate_hz: float | None = None
    """Complex samples of I/Q per second; for cubes, chirps (of one transmitter) per second within a frame. Required
    without --chirp-config."""
    carrier_ghz: float | None = None
    """Carrier frequency; of a chirp, the middle of its sweep. Required without --chirp-config, as it turns speeds into
    hertz."""
    format: Literal["auto", "dca1000", "int16"] = "auto"
    """Order of the 16-bit numbers in `.bin` files: dca1000 is that of TI's capture card (adc_data.bin), int16 is
    I Q I Q in the order of --axes, the last of which changes fastest."""
    chirp_config: Path | None = None
    """File that describes the chirps: .cfg of TI's mmWave demo, or .mmwave.json of mmWave Studio; sets --format dca1000
    for `.bin` files, and every flag that it knows. Default with --format dca1000: the one in DATA, if there is one."""
    rx: int | None = None
    """For `.bin`: receivers that are on."""
    tx: int | None = None
    """For dca1000: transmitters that take turns (TDM). Each pair of transmitter and receiver is one of `receivers`.
    Default: 1."""
    samples: int | None = None
    """For `.bin`: samples of one chirp."""
    chirps: int | None = None
    """For `.bin`: chirps of one transmitter in a frame; needs --frame-rate-hz. Default: chirps without idle time."""
    lanes: Lanes | None = None
    """For dca1000: lanes of the capture, 2 (xWR16xx, 18xx, 68xx: I I Q Q) or 4 (xWR12xx, 14xx, 22xx: receivers side by
    side)."""
    real_samples: bool = False
    """For dca1000: samples are real numbers instead of I and Q."""
    axes: tuple[str, ...] = ("time",)
    """Names of the array's axes, of a .mat in the order of MATLAB's size(). Axes of length 1 need no name.
    I/Q: `time`. FMCW cube: `chirps samples` or `frames chirps samples`, complex or real; `ranges` instead of `samples`
    if it already went through the Fourier transform over range. Either may have `receivers` (see --receiver) and,
    where I and Q are two real numbers along an axis, `iq`."""
    receiver: int | Literal["mean"] | None = None
    """Channel of the axis `receivers`, 1 is the first; mean averages the power of all channels' spectrograms."""
    bandwidth_hz: float | None = None
    """For cubes: hertz swept while the samples of a chirp are taken, below 0 for falling chirps. A range bin is
    c / 2B."""
    range_bin_m: float | None = None
    """For cubes with `ranges`, instead of --bandwidth-hz: width of a range bin, metres."""
    frame_rate_hz: float | None = None
    """For cubes with `frames`: frames per second. Frames that end with idle time give one Doppler spectrum each."""
    iq_order: IqOrder | None = None
    """Order in which the two parts of complex samples were stored: iq; qi if they were exchanged; iiqq if I I Q Q was
    read as I Q I Q. Default: iq, or that of --chirp-config."""
    conjugate: bool = False
    """Conjugate the samples first, for radars whose approaching targets have negative Doppler."""
    mat_variable: str | tuple[str, str] | None = None
    """Variable of the .mat, .npz or .h5 files, such as iq or radar.iq; two names are I and Q. Default: their only array
    of numbers, or their only pair of I and Q."""
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
    """Samples in one Fourier transform (Hann). Default: a frame that ends with idle time;
    else 13.7 ms at 77 GHz, growing with the root of the wavelength."""
    stft_hop: int | None = None
    """Samples from one transform to the next. Default: 1/128 s."""
    looks: int | None = None
    """Transforms whose power is averaged to one column. Default: 6, or 1 for frames that end with idle time."""
    hop_s: float | None = None
    """Seconds from the start of one image to the next. Default: 1; without --from-iq, for images whose names count:
    found from the pixels."""
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
            changed = [name for name in changed if name != "hop_s"]  # it also places images that exist already
            if changed:
                raise UserError(f"{flag_of(changed[0])} is for recordings: it must go with --from-iq")
            return
        described = self.chirp_config is not None or self.format == "dca1000"
        for name in ("output_dir",) if described else ("output_dir", "pulse_rate_hz", "carrier_ghz"):
            if getattr(self, name) is None:
                instead = "" if name == "output_dir" else ", or the --chirp-config of a TI radar"
                raise UserError(f"--from-iq needs {flag_of(name)}{instead}")
        if self.carrier_ghz is not None and not 1 <= self.carrier_ghz <= 1000:
            raise UserError(f"--carrier-ghz must be between 1 and 1000, got {self.carrier_ghz}")
        if self.hop_s is not None and self.hop_s < 0.1:
            raise UserError(f"--hop-s must be at least 0.1, got {self.hop_s}")
        if self.clutter_mps <= 0:
            raise UserError(f"--clutter-mps must be above 0, got {self.clutter_mps}")
        if self.db_min is not None and self.db_max is not None and self.db_min >= self.db_max:
            raise UserError(f"--db-min must be below --db-max, got {self.db_min} and {self.db_max}")
        self._check_bin_flags()
        # What a file of settings will add is checked when it was read.
        if not described:
            self.sample_format()

    def _check_bin_flags(self) -> None:
        if self.format == "auto" and self.chirp_config is None:
            for name in ("rx", "tx", "samples", "chirps", "lanes"):
                if getattr(self, name) is not None:
                    raise UserError(f"{flag_of(name)} is for .bin files: it must go with --format dca1000 or int16")
        if self.format != "dca1000" and self.chirp_config is None and self.real_samples:
            raise UserError("--real-samples must go with --format dca1000")
        if self.format == "int16" and (self.tx is not None or self.lanes is not None):
            raise UserError("--tx and --lanes are for --format dca1000, the order of int16 is that of --axes")
        for name in ("rx", "tx", "samples", "chirps"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MOST_OF_AN_AXIS:
                raise UserError(f"{flag_of(name)} must be in 1..{MOST_OF_AN_AXIS}, got {value}")
        if self.format == "dca1000" and self.axes != ("time",):
            raise UserError("--axes must be left out with --format dca1000, which has an order of its own")
        if self.format == "dca1000" and self.iq_order == "iiqq":
            raise UserError("--iq-order must be iq or qi with --format dca1000, whose --lanes says the rest")

    def sample_format(self) -> SampleFormat:
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
            range_bin_m=self.range_bin_m,
            iq_order=self.iq_order or "iq",
            conjugate=self.conjugate,
        )

    @property
    def wavelength_m(self) -> float:
        """Wavelength of the carrier."""
        assert self.carrier_ghz is not None
        return speed_of_light / (self.carrier_ghz * 1e9)

    def grid(self, window_s: float, frame: FrameTiming | None = None) -> SpectrogramGrid:
        """How recordings are cut into windows of `window_s` seconds.

        Args:
            window_s: Length of a window.
            frame: Frames with idle time, each of which gives one spectrum; None: evenly spaced samples.

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
                f"--span-mps must be above 0 and at most {limit_mps:.2f} m/s, beyond which Doppler folds at "
                f"{self.pulse_rate_hz:g} Hz and {self.carrier_ghz:g} GHz, got {span_mps:g}"
            )
        # Only what a flag sets differs from the grid of simulated spectrograms.
        usual = default_grid(self.carrier_ghz * 1e9, self.pulse_rate_hz, speed_span_mps=span_mps)
        if frame is not None and (self.stft_window is not None or self.stft_hop is not None):
            raise UserError(
                f"--stft-window and --stft-hop must be left out, each frame of {frame.chirps} chirps is one transform "
                "because idle time follows it"
            )
        window = usual.window if self.stft_window is None else self.stft_window
        hop = usual.hop if self.stft_hop is None else self.stft_hop
        looks = LOOKS if self.looks is None else self.looks
        if frame is not None:
            window, hop, looks = frame.chirps, frame.chirps, 1 if self.looks is None else self.looks
        return SpectrogramGrid(
            carrier_hz=usual.carrier_hz,
            pulse_rate_hz=usual.pulse_rate_hz,
            window=window,
            hop=hop,
            looks=looks,
            span_hz=usual.span_hz,
            window_s=window_s,
            hop_s=1.0 if self.hop_s is None else self.hop_s,
            frame_s=None if frame is None else 1 / frame.rate_hz,
        )


def flag_of(name: str) -> str:
    """Flag of a setting on the command line."""
    return "--" + name.replace("_", "-")
