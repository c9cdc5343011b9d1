"""Conversion of measured recordings, I/Q or FMCW cubes, to the folder format of `echoform simulate`."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from echoform_train.data.find import find_in_folder, separate_incomplete
from echoform_train.data.image_check import BadFile, refuse
from echoform_train.data.layout import RECORDINGS, ImageFile
from echoform_train.data.walk import walk
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import AXES, METADATA
from echoform_train.engine.json_files import write_json, write_json_lines
from echoform_train.engine.output_folders import new_folder, require_empty
from echoform_train.engine.resolution import sides_of
from echoform_train.radar.chirp_config import describes_chirps
from echoform_train.radar.decibel_range import DecibelHistogram
from echoform_train.radar.iq_config import IqConfig
from echoform_train.radar.recording_files import RAW_SUFFIX, read_recording, with_chirp_config
from echoform_train.radar.returns import doppler_shift_hz
from echoform_train.radar.slow_time import body_doppler_hz, track_and_gate
from echoform_train.radar.spectrogram_images import (
    SpectrogramGrid,
    image_axes,
    save_image,
    seconds_of,
    window_image,
    window_starts,
)
from echoform_train.radar.track_report import TrackReporter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Windows:
    """Spectrograms of one recording before they are painted."""

    grid: SpectrogramGrid
    start_s: list[float]
    centre_hz: list[float]
    image_db: NDArray[np.float32]  # [N, F, W]


def prepare_recordings(
    source: Path, config: IqConfig, *, window_s: float = 3.0, resolution: int | str = 256, skip_bad_files: bool = False
) -> int:
    """Cut every recording of a folder into spectrogram images.

    Recordings that are too short for one image are left out, with a warning. Of each cube, the track of the walker,
    its Doppler and the exponent of its power are printed, with a warning where they contradict each other.

    The output folder has the format of `simulation.simulate`: `<user>/<recording>_<index>.png`, `metadata.jsonl` with
    the known facts of each recording, and `axes.json` with the extent and decibel range that all images share. Folders
    of a split (train, validation, test) are kept.

    Args:
        source: Folder of recordings.
        config: How to read and cut them; `from_iq` must be set.
        window_s: Length of an image in seconds.
        resolution: Height and width in pixels, see `sides_of`.
        skip_bad_files: Leave out recordings that cannot be used and log each, instead of stopping at the first.

    Returns:
        Number of images written.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a recording cannot be used (the message names file and rule), all are too short, or the output
            folder is not empty.
    """
    assert config.output_dir is not None
    _check(source, config.output_dir, resolution)
    output_dir = config.output_dir
    config, lines_of_config = with_chirp_config(config, source)
    config.grid(window_s)  # refuses a span that folds before anything is read
    recordings, bad_files = _find(source, config)
    for line in lines_of_config:
        print(line)
    if not skip_bad_files:
        refuse(bad_files)
    # The decibel range is known only after the last recording, so images wait on disk until they can be painted.
    with tempfile.TemporaryDirectory() as spool:
        histogram = DecibelHistogram()
        rows: dict[Path, list[dict[str, Any]]] = {}
        reporter, grid, too_short = TrackReporter(config, window_s), None, list[_TooShort]()
        for number, recording in enumerate(tqdm(recordings, unit="recording", desc="transform")):
            windows = _transform_or_report(recording, config, window_s, grid, reporter)
            if isinstance(windows, _TooShort):
                too_short.append(windows)
                continue
            if isinstance(windows, BadFile):
                if not skip_bad_files:
                    refuse([windows])
                bad_files.append(windows)
                continue
            grid = windows.grid
            histogram.add(_moving_levels_db(windows, grid))
            file = Path(spool) / f"{number}.npy"
            np.save(file, windows.image_db)
            rows[file] = list(_rows(recording, windows, config))
        reporter.warn()
        for bad in [*bad_files, *too_short]:
            logger.warning("skipped %s", bad)
        if grid is None:
            raise UserError(f"no recording gives an image, for example {(too_short or bad_files)[0]}")
        db_min, db_max = histogram.range_db(config.db_min, config.db_max)
        lines = [row for rows_of_recording in rows.values() for row in rows_of_recording]
        with new_folder(output_dir, "--output-dir") as partial:
            _paint(rows, replace(config, output_dir=partial), resolution, db_min, db_max)
            write_json_lines(partial / METADATA, lines)
            write_json(partial / AXES, image_axes(grid, db_min=db_min, db_max=db_max))
    return len(lines)


def _check(source: Path, output_dir: Path, resolution: int | str) -> None:
    if not source.is_dir():
        raise MissingFileError(f"there is no folder {source}")
    require_empty(output_dir, "--output-dir")
    if not all(16 <= side <= 1024 for side in sides_of(resolution)):
        raise UserError(f"resolution must be in 16..1024, got {resolution}")


def _paint(
    rows: dict[Path, list[dict[str, Any]]], config: IqConfig, resolution: int | str, db_min: float, db_max: float
) -> None:
    """Write the images of all recordings from the files of their decibels."""
    assert config.output_dir is not None
    for file, rows_of_recording in tqdm(rows.items(), unit="recording", desc="paint"):
        for row, image_db in zip(rows_of_recording, np.load(file), strict=True):
            path = config.output_dir / row["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(path, image_db, resolution, db_min=db_min, db_max=db_max, save_db=config.save_db)


def _find(source: Path, config: IqConfig) -> tuple[list[ImageFile], list[BadFile]]:
    """Recordings of a folder, and files that cannot be used.

    Raises:
        ValueError: If a user cannot name a folder, or the images of two recordings would have the same names.
    """
    kind = RECORDINGS
    if config.format == "auto":
        # A .bin may be anything, unless a flag says what it holds.
        kind = replace(RECORDINGS, suffixes=tuple(suffix for suffix in RECORDINGS.suffixes if suffix != RAW_SUFFIX))
        suffixes = {path.suffix.lower() for path in walk(source)}
        if RAW_SUFFIX in suffixes and not suffixes & set(kind.suffixes):
            raise UserError(
                f"a {RAW_SUFFIX} does not say what it holds; --format dca1000 is for adc_data.bin of TI's capture "
                f"card, --format int16 for 16-bit numbers I Q I Q; {source} holds no other recordings"
            )
    found = find_in_folder(source, kind)
    recordings, incomplete = separate_incomplete(found.images)
    for name in found.other_files:
        if not describes_chirps(source / name):
            logger.warning("no recording (%s): %s", ", ".join(kind.suffixes), name)
    first: dict[str, str] = {}
    for recording in recordings:
        if PurePosixPath(recording.user).name != recording.user or recording.user.startswith("."):
            raise UserError(f"{recording.file}: a user must be a name that a folder can have, got {recording.user!r}")
        other = first.setdefault(_stem(recording), recording.file)
        if other != recording.file:
            raise UserError(f"{recording.file}: its images would have the names of those of {other}; rename one")
    return recordings, [*found.bad_files, *incomplete]


class _TooShort(BadFile):
    """A recording that is too short for one image."""


def _transform_or_report(
    recording: ImageFile, config: IqConfig, window_s: float, grid: SpectrogramGrid | None, reporter: TrackReporter
) -> _Windows | BadFile:
    try:
        return _transform(recording, config, window_s, grid, reporter)
    except _TooShortError as error:
        return _TooShort(recording.file, str(error))
    except UserError as error:
        return BadFile(recording.file, str(error))


class _TooShortError(UserError):
    """The reason why a recording gives no image."""


def _transform(
    recording: ImageFile, config: IqConfig, window_s: float, earlier: SpectrogramGrid | None, reporter: TrackReporter
) -> _Windows:
    assert isinstance(recording.data, Path)
    array, form = read_recording(recording.data, config)
    cutoff_hz = doppler_shift_hz(config.clutter_mps, config.wavelength_m)
    slow = track_and_gate(array, form, clutter=config.clutter, cutoff_hz=cutoff_hz)
    iq, grid = slow.iq, config.grid(window_s, slow.frame)
    if earlier is not None and grid != earlier:
        raise UserError(
            f"all recordings must have frames of as many chirps, the first has {earlier.window}, this one {grid.window}"
        )
    if slow.track is not None:
        reporter.report(recording.file, recording.data, slow, grid)
    starts = window_starts(iq.shape[1], grid)
    if not starts:
        raise _TooShortError(
            f"a recording must last at least one image of {seconds_of(grid.samples, grid):.2f} s, "
            f"its {iq.shape[1]} pulses (array {' x '.join(map(str, array.shape))}, axes {' '.join(form.axes)}) take "
            f"{seconds_of(iq.shape[1], grid):.2f} s"
        )
    # Every window has its own centre, because a walker who turns changes speed; all receivers share it.
    centres, images = [], []
    for start in starts:
        window = iq[:, start : start + grid.samples]
        centres.append(_centre_hz(recording, window, config, grid))
        images.append(_mean_db([window_image(one, grid, centre_hz=centres[-1]) for one in window]))
    return _Windows(grid, [seconds_of(start, grid) for start in starts], centres, np.stack(images))


def _centre_hz(recording: ImageFile, window: NDArray[np.complex64], config: IqConfig, grid: SpectrogramGrid) -> float:
    if config.centre == "zero":
        return 0.0
    known = recording.columns.get("body_doppler_hz")
    if known is not None and type(known) not in (int, float):
        raise UserError(f"body_doppler_hz in {METADATA} must be a number, got {known!r}")
    centre_hz = body_doppler_hz(window, grid) if known is None else float(known)
    room_hz = grid.pulse_rate_hz / 2 - abs(centre_hz)
    if grid.span_hz > room_hz:
        unfolded_mps = max(room_hz, 0) * config.wavelength_m / 2
        raise UserError(
            f"around the body at {centre_hz:.0f} Hz a span of {grid.span_hz:.0f} Hz must not reach past half the pulse "
            f"rate of {grid.pulse_rate_hz:g} Hz, where Doppler folds; choose --span-mps {unfolded_mps:.2f} or less, or "
            "--centre zero"
        )
    return centre_hz


def _mean_db(images_db: list[NDArray[Any]]) -> NDArray[Any]:
    """Decibels of the mean power of several receivers."""
    if len(images_db) == 1:
        return images_db[0]
    return 10 * np.log10(np.mean([10 ** (image_db / 10) for image_db in images_db], axis=0), dtype=np.float32)


def _stem(recording: ImageFile) -> str:
    """Path of a recording's images without index: split, user, then the path below the user's folder."""
    parts = list(PurePosixPath(recording.file).with_suffix("").parts)
    below = parts[1 if recording.split else 0 :]
    if below[0] == recording.user and len(below) > 1:
        below = below[1:]
    return "/".join([*([recording.split] if recording.split else []), recording.user, "_".join(below)])


def _rows(recording: ImageFile, windows: _Windows, config: IqConfig) -> Iterator[dict[str, Any]]:
    stem = _stem(recording)
    name = recording.recording or f"{recording.user}_{PurePosixPath(stem).name}"
    for index, (start_s, centre_hz) in enumerate(zip(windows.start_s, windows.centre_hz, strict=True)):
        yield {
            "file_name": f"{stem}_{index:03d}.png",
            "user": recording.user,
            **recording.columns,
            **({"body_doppler_hz": round(centre_hz, 2)} if config.centre == "body" else {}),
            "recording": name,
            "start_s": (recording.start_s or 0.0) + start_s,
        }


def _moving_levels_db(windows: _Windows, grid: SpectrogramGrid) -> NDArray[np.float32]:
    """Levels of all windows without the bins around 0 Hz, which hold stationary echoes, [levels]."""
    relative_hz = (np.arange(grid.bins) - grid.bins // 2) * grid.bin_hz
    moving = np.abs(relative_hz + np.array(windows.centre_hz)[:, None]) > 2 * grid.bin_hz  # [N, F]
    return windows.image_db[moving]
