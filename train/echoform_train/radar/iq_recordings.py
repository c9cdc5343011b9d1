"""Measured recordings (I/Q or FMCW cubes) to a folder of pictures as `echoform simulate` writes it."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.constants import speed_of_light
from tqdm import tqdm

from echoform_train.data.image_check import BadFile, refuse
from echoform_train.data.layout import RECORDINGS, ImageFile, find_in_folder, separate_incomplete
from echoform_train.engine.files import AXES, METADATA
from echoform_train.radar.iq_files import read_array
from echoform_train.radar.measured import Clutter, Format, body_doppler_hz, slow_time
from echoform_train.radar.pictures import (
    PictureGrid,
    default_grid,
    picture_axes,
    save_picture,
    window_image,
    window_starts,
)
from echoform_train.radar.returns import doppler_shift_hz
from echoform_train.radar.stft import LOOKS, SPEED_SPAN_MPS

logger = logging.getLogger(__name__)

ABSOLUTE_SPAN_MPS = 6.5
"""Default span around 0 Hz: the foot of a person who walks at 1.8 m/s reaches 6.3 m/s."""

BACKGROUND_PERCENT = 65.0
BRIGHTEST_PERCENT = 99.0
"""Shares of the values of all recordings that lie below the measured db_min and db_max, as in simulated pictures."""

LOWEST_DB = -400.0
"""Levels are counted from here up to its positive."""

_LEVELS = round(-2 * 100 * LOWEST_DB) + 1


@dataclass(frozen=True, kw_only=True)
class IqConfig:
    """Measured recordings to pictures."""

    from_iq: bool = False
    """DATA holds recordings of complex samples, one `.npy` or `.mat` (v4 to v7.3) each, laid out as pictures are.
    ID_1/walk.npy, ID_1/backpack/walk.mat, or any names and a metadata.jsonl of file_name, user, condition ...
    Each is cut into pictures of --window-s (3), --resolution (256) pixels a side, which are then looked at and split.
    The body_doppler_hz of a row in metadata.jsonl stands over the one that is found."""
    output_dir: Path | None = None
    """New or empty folder for the pictures, metadata.jsonl and axes.json."""
    pulse_rate_hz: float | None = None
    """Complex samples of I/Q a second; for cubes, chirps (of one transmitter) a second within a frame. Needed."""
    carrier_ghz: float | None = None
    """Carrier; of a chirp, the middle of its sweep. Needed: it turns speeds into hertz."""
    axes: tuple[str, ...] = ("time",)
    """Names of the array's axes in its order; of a .mat, in the order of MATLAB's size(). Length 1 needs no name.
    I/Q: `time`. FMCW cube: `chirps samples` or `frames chirps samples`, rising chirps, complex or real.
    Either may have `receivers` (see --receiver) and, where I and Q are two real numbers along an axis, `iq`."""
    receiver: int | Literal["mean"] | None = None
    """Which channel of the axis `receivers`: 1 is the first; mean averages the power of the channels' spectrograms."""
    bandwidth_hz: float | None = None
    """Of a cube: hertz swept while the samples of a chirp are taken. A range bin is c / 2B."""
    frame_rate_hz: float | None = None
    """Of a cube with `frames`: frames a second. Chirps must go on evenly from frame to frame."""
    conjugate: bool = False
    """Turn phases round first: for samples in which approaching targets would show negative Doppler."""
    mat_variable: str | None = None
    """Variable of the .mat files. Default: their only array of numbers."""
    clutter: Clutter = "none"
    """What stands still: none keeps it, as simulated pictures do; mean subtracts the mean of each recording.
    Highpass takes out what moves slower than --clutter-mps, too (Butterworth, order 4, forward and backward)."""
    clutter_mps: float = 0.2
    """Radial speed at which the high-pass halves the amplitude."""
    centre: Literal["body", "zero"] = "body"
    """What is in the middle of a picture: the Doppler of the walking body in these seconds, or 0 Hz."""
    span_mps: float | None = None
    """Radial speed shown on either side of the middle. Default: 4.5 around the body, 6.5 around zero."""
    stft_window: int | None = None
    """Samples in a transform (Hann). Default: 13.7 ms at 77 GHz, longer with the root of the wavelength."""
    stft_hop: int | None = None
    """Samples from one transform to the next. Default: 1/128 s."""
    looks: int = LOOKS
    """Transforms whose power is averaged to one column."""
    hop_s: float = 1.0
    """Seconds from the start of one picture to the next."""
    db_min: float | None = None
    """Level of the lowest colour, decibels. Default: 65 % of all values lie below it, in all recordings together."""
    db_max: float | None = None
    """Level of the highest colour, decibels. Default: 99 % of all values lie below it."""
    save_db: bool = False
    """Also write the decibels of each picture beside it: `.npy`, float32 [Doppler ascending, time]."""

    def check(self) -> None:
        """Raise what does not fit together; `prepare.Config` calls it, as tyro shows only the errors of that one.

        Raises:
            ValueError: If a flag is out of range, lacks another, or is given without --from-iq.
        """
        if not self.from_iq:
            set_anyway = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
            if set_anyway:
                raise ValueError(f"{_flag(set_anyway[0])} is for recordings: it must go with --from-iq")
            return
        for name in ("output_dir", "pulse_rate_hz", "carrier_ghz"):
            if getattr(self, name) is None:
                raise ValueError(f"--from-iq needs {_flag(name)}")
        assert self.carrier_ghz is not None
        if not 1 <= self.carrier_ghz <= 1000:
            raise ValueError(f"carrier_ghz must be between 1 and 1000, got {self.carrier_ghz}")
        if self.hop_s < 0.1:
            raise ValueError(f"hop_s must be at least 0.1, got {self.hop_s}")
        if self.clutter_mps <= 0:
            raise ValueError(f"clutter_mps must be above 0, got {self.clutter_mps}")
        if self.db_min is not None and self.db_max is not None and self.db_min >= self.db_max:
            raise ValueError(f"db_min must be below db_max, got {self.db_min} and {self.db_max}")
        self.format()

    def format(self) -> Format:
        """What the files hold.

        Raises:
            ValueError: If the flags of it do not fit together.
        """
        assert self.pulse_rate_hz is not None
        return Format(
            axes=self.axes,
            pulse_rate_hz=self.pulse_rate_hz,
            frame_rate_hz=self.frame_rate_hz,
            receiver=self.receiver,
            bandwidth_hz=self.bandwidth_hz,
            conjugate=self.conjugate,
        )

    @property
    def wavelength_m(self) -> float:
        """Of the carrier."""
        assert self.carrier_ghz is not None
        return speed_of_light / (self.carrier_ghz * 1e9)

    def grid(self, window_s: float) -> PictureGrid:
        """How recordings are cut.

        Raises:
            ValueError: If the span folds, or the numbers of the transform make no picture.
        """
        assert self.pulse_rate_hz is not None and self.carrier_ghz is not None
        span_mps = self.span_mps
        if span_mps is None:
            span_mps = SPEED_SPAN_MPS if self.centre == "body" else ABSOLUTE_SPAN_MPS
        limit_mps = self.pulse_rate_hz * self.wavelength_m / 4
        if not 0 < span_mps <= limit_mps:
            raise ValueError(
                f"span_mps must be above 0 and at most {limit_mps:.2f} m/s, beyond which Doppler folds at "
                f"{self.pulse_rate_hz:g} Hz and {self.carrier_ghz:g} GHz, got {span_mps:g}"
            )
        usual = default_grid(self.carrier_ghz * 1e9, self.pulse_rate_hz, speed_span_mps=span_mps)
        return PictureGrid(
            carrier_hz=usual.carrier_hz,
            pulse_rate_hz=usual.pulse_rate_hz,
            window=usual.window if self.stft_window is None else self.stft_window,
            hop=usual.hop if self.stft_hop is None else self.stft_hop,
            looks=self.looks,
            span_hz=usual.span_hz,
            window_s=window_s,
            hop_s=self.hop_s,
        )


@dataclass(frozen=True)
class _Windows:
    """The pictures of one recording before they are painted."""

    start_s: list[float]
    centre_hz: list[float]
    image_db: NDArray[np.float32]  # [N, F, W]


def prepare_recordings(
    source: Path, config: IqConfig, *, window_s: float = 3.0, resolution: int = 256, skip_bad_files: bool = False
) -> int:
    """Cut every recording of a folder into pictures.

    The folder that is written is in the format of `simulate.simulate`: `<user>/<recording>_<index>.png`,
    `metadata.jsonl` with what was known of each recording, `axes.json` with the extent and the one decibel range of all
    pictures. Split folders stay.

    Args:
        source: Folder of recordings.
        config: How to read and to cut them; with `from_iq`.
        window_s: Seconds in one picture.
        resolution: Pixels a side.
        skip_bad_files: Leave out recordings that cannot be used and log each, instead of stopping at the first.

    Returns:
        How many pictures were written.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a recording cannot be used (the message names file and rule), or the output folder holds
            something.
    """
    assert config.output_dir is not None
    if not source.is_dir():
        raise FileNotFoundError(f"there is no folder {source}")
    if config.output_dir.exists() and any(config.output_dir.iterdir()):
        raise ValueError(f"output_dir must be new or empty, got {config.output_dir}")
    if not 16 <= resolution <= 1024:
        raise ValueError(f"resolution must be in 16..1024, got {resolution}")
    grid = config.grid(window_s)
    recordings, bad_files = _find(source)
    if not skip_bad_files:
        refuse(bad_files)
    levels = np.zeros(_LEVELS, np.int64)
    with tempfile.TemporaryDirectory() as spool:
        rows: dict[str, list[dict[str, Any]]] = {}
        for number, recording in enumerate(tqdm(recordings, unit="recording", desc="transform")):
            try:
                windows = _transform(recording, config, grid)
            except ValueError as error:
                bad = BadFile(recording.file, str(error))
                if not skip_bad_files:
                    refuse([bad])
                bad_files.append(bad)
                continue
            levels += _count_levels(windows, grid)
            np.save(Path(spool) / f"{number}.npy", windows.image_db)
            rows[f"{number}.npy"] = list(_rows(recording, windows, config))
        for bad in bad_files:
            logger.warning("skipped %s", bad)
        db_min, db_max = _range_db(levels, config)
        for name, pictures in tqdm(rows.items(), unit="recording", desc="paint"):
            for row, image_db in zip(pictures, np.load(Path(spool) / name), strict=True):
                path = config.output_dir / row["file_name"]
                path.parent.mkdir(parents=True, exist_ok=True)
                save_picture(path, image_db, resolution, db_min=db_min, db_max=db_max, save_db=config.save_db)
    lines = [json.dumps(row) + "\n" for pictures in rows.values() for row in pictures]
    (config.output_dir / METADATA).write_text("".join(lines), encoding="utf-8")
    axes = picture_axes(grid, db_min=db_min, db_max=db_max)
    (config.output_dir / AXES).write_text(json.dumps(axes, indent=2) + "\n", encoding="utf-8")
    return len(lines)


def _find(source: Path) -> tuple[list[ImageFile], list[BadFile]]:
    found = find_in_folder(source, RECORDINGS)
    recordings, incomplete = separate_incomplete(found.images)
    for name in found.other_files:
        logger.warning("neither .npy nor .mat: %s", name)
    first: dict[str, str] = {}
    for recording in recordings:
        if PurePosixPath(recording.user).name != recording.user or recording.user.startswith("."):
            raise ValueError(f"{recording.file}: a user must be a name that a folder can have, got {recording.user!r}")
        other = first.setdefault(_stem(recording), recording.file)
        if other != recording.file:
            raise ValueError(f"{recording.file}: its pictures would have the names of those of {other}; rename one")
    return recordings, [*found.bad_files, *incomplete]


def _transform(recording: ImageFile, config: IqConfig, grid: PictureGrid) -> _Windows:
    assert isinstance(recording.data, Path)
    array = read_array(recording.data, config.mat_variable)
    cutoff_hz = doppler_shift_hz(config.clutter_mps, config.wavelength_m)
    iq = slow_time(array, config.format(), clutter=config.clutter, cutoff_hz=cutoff_hz)
    starts = window_starts(iq.shape[1], grid)
    if not starts:
        raise ValueError(
            f"a recording must last a picture of {grid.samples / grid.pulse_rate_hz:.2f} s, its {iq.shape[1]} pulses "
            f"(array {' x '.join(map(str, array.shape))}, axes {' '.join(config.axes)}) take "
            f"{iq.shape[1] / grid.pulse_rate_hz:.2f} s"
        )
    centres, images = [], []
    for start in starts:
        window = iq[:, start : start + grid.samples]
        centres.append(_centre_hz(recording, window, config, grid))
        images.append(_mean_db([window_image(one, grid, centre_hz=centres[-1]) for one in window]))
    return _Windows([start / grid.pulse_rate_hz for start in starts], centres, np.stack(images))


def _centre_hz(recording: ImageFile, window: NDArray[np.complex64], config: IqConfig, grid: PictureGrid) -> float:
    if config.centre == "zero":
        return 0.0
    known = recording.columns.get("body_doppler_hz")
    if known is not None and type(known) not in (int, float):
        raise ValueError(f"body_doppler_hz in {METADATA} must be a number, got {known!r}")
    centre_hz = body_doppler_hz(window, grid) if known is None else float(known)
    room_hz = grid.pulse_rate_hz / 2 - abs(centre_hz)
    if grid.span_hz > room_hz:
        unfolded_mps = max(room_hz, 0) * config.wavelength_m / 2
        raise ValueError(
            f"around the body at {centre_hz:.0f} Hz a span of {grid.span_hz:.0f} Hz must not reach past half the pulse "
            f"rate of {grid.pulse_rate_hz:g} Hz, where it folds; --span-mps {unfolded_mps:.2f} does not, nor may "
            "--centre zero"
        )
    return centre_hz


def _mean_db(images_db: list[NDArray[Any]]) -> NDArray[Any]:
    if len(images_db) == 1:
        return images_db[0]
    return 10 * np.log10(np.mean([10 ** (image_db / 10) for image_db in images_db], axis=0), dtype=np.float32)


def _stem(recording: ImageFile) -> str:
    """Path of a recording's pictures without index: user, then what stands below the user's folder."""
    parts = list(PurePosixPath(recording.file).with_suffix("").parts)
    below = parts[1 if recording.split else 0 :]
    if below[0] == recording.user and len(below) > 1:
        below = below[1:]
    return "/".join([*([recording.split] if recording.split else []), recording.user, "_".join(below)])


def _rows(recording: ImageFile, windows: _Windows, config: IqConfig) -> Iterator[dict[str, Any]]:
    stem = _stem(recording)
    own = recording.recording or f"{recording.user}_{PurePosixPath(stem).name}"
    for index, (start_s, centre_hz) in enumerate(zip(windows.start_s, windows.centre_hz, strict=True)):
        yield {
            "file_name": f"{stem}_{index:03d}.png",
            "user": recording.user,
            **recording.columns,
            **({"body_doppler_hz": round(centre_hz, 2)} if config.centre == "body" else {}),
            "recording": own,
            "start_s": (recording.start_s or 0.0) + start_s,
        }


def _count_levels(windows: _Windows, grid: PictureGrid) -> NDArray[np.int64]:
    """How often each hundredth of a decibel occurs, without the bins around 0 Hz, where what stands still is."""
    relative_hz = (np.arange(grid.bins) - grid.bins // 2) * grid.bin_hz
    moving = np.abs(relative_hz + np.array(windows.centre_hz)[:, None]) > 2 * grid.bin_hz  # [N, F]
    levels_db = np.clip(windows.image_db[moving], LOWEST_DB, -LOWEST_DB)
    return np.bincount(np.rint(100 * (levels_db - LOWEST_DB)).astype(np.int64).ravel(), minlength=_LEVELS)


def _range_db(counts: NDArray[np.int64], config: IqConfig) -> tuple[float, float]:
    """The range that was asked for, and measured where it was not."""
    share = np.cumsum(counts)
    if not share[-1]:
        raise ValueError("there must be a recording that can be used, there is none")
    low, high = (
        round(LOWEST_DB + int(np.searchsorted(share, share[-1] * percent / 100)) / 100, 2)
        for percent in (BACKGROUND_PERCENT, BRIGHTEST_PERCENT)
    )
    db_min = low if config.db_min is None else config.db_min
    db_max = high if config.db_max is None else config.db_max
    if not db_min < db_max:
        raise ValueError(f"db_min must be below db_max, they are {db_min} and {db_max}: are the recordings silent?")
    return db_min, db_max


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
