"""Writing of a folder of simulated spectrograms: one subfolder per user, recordings cut into overlapping windows."""

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from echoform_train.engine.files import AXES, METADATA
from echoform_train.engine.json_files import write_json
from echoform_train.engine.output_folders import new_folder
from echoform_train.engine.parallel import usable_cores
from echoform_train.radar.receiver import shown_levels
from echoform_train.radar.recordings import Recording
from echoform_train.radar.simulated_walks import CapturedWalk, SimulatedWalk, captured_walks, simulated_walks
from echoform_train.radar.simulation_config import DB_MAX, DB_MIN, SimulationConfig
from echoform_train.radar.spectrogram_images import SpectrogramGrid, paint, window_image, window_starts
from echoform_train.radar.stft import FloatArray


def simulate(config: SimulationConfig) -> Path:
    """Write the images of all recordings.

    Returns:
        The folder, which holds

        - `<user>/<recording>_<index>.png`: jet, RGB, row 0 is the highest Doppler;
        - `metadata.jsonl`: one row per image with the ground truth of its seconds. Its `body_doppler_hz` is the Doppler
          of the body: the mean over the recording of a straight walk, over the window of a walk with turns; it is the
          middle row of the image unless the view has a fixed Doppler axis;
        - `axes.json`: the extent of every image. `doppler_min_hz` and `doppler_max_hz` are its outer edges, relative to
          `body_doppler_hz` unless the view has a fixed Doppler axis; `native_bins` and `native_columns` are the grid
          before it was enlarged.

    Raises:
        ValueError: If the folder is not empty, or the motion captures cannot be used.
        FileNotFoundError: If there is no folder of motion captures.
    """
    walks = _walks(config)
    with new_folder(config.output_dir, "--output-dir") as partial:
        _write(replace(config, output_dir=partial), walks)
    return config.output_dir


def _write(config: SimulationConfig, walks: Sequence[SimulatedWalk | CapturedWalk]) -> None:
    """Fill the empty folder `config.output_dir`."""
    folder = config.output_dir
    for user in dict.fromkeys(walk.user for walk in walks):
        (folder / user).mkdir()
    jobs = [(config, walk) for walk in walks]
    # Rows are written as recordings finish, in the order of the walks, so that a file never depends on the workers.
    with (folder / METADATA).open("w", encoding="utf-8") as metadata:
        for rows in tqdm(_in_order(jobs, config.workers or usable_cores()), total=len(jobs), unit="recording"):
            metadata.writelines(json.dumps(row) + "\n" for row in rows)
    write_json(folder / AXES, config.axes)


def cut_windows(config: SimulationConfig, recording: Recording) -> Iterator[tuple[float, float, FloatArray]]:
    """Spectrograms of a recording: start in seconds, mean Doppler of the body in hertz, and decibels [F, W].

    Doppler ascends on the native grid. Unless the view has a fixed Doppler axis, its middle row is the mean Doppler of
    the body: one for all windows of a straight walk, as the body keeps its speed; one per window of a walk with turns,
    so that the body stays near the middle. Within a window the middle is constant, so that its Doppler axis is exact in
    every column.
    """
    grid = recording_grid(config, recording)
    moving = grid.centre_hz is not None or (config.joints is None and config.route != "straight")
    for start in window_starts(recording.iq.shape[-1], grid):
        start_s = start / recording.pulse_rate_hz
        # Where transforms are shorter than columns, the last column ends later than its transform.
        if start_s + grid.window_s > recording.duration_s:
            return
        stretch = recording.truth_between(start_s, start_s + grid.window_s) if moving else recording.truth
        centre_hz = stretch.body_doppler_hz if grid.centre_hz is None else grid.centre_hz
        samples = recording.iq[..., start : start + grid.samples]
        yield start_s, stretch.body_doppler_hz, window_image(samples, grid, centre_hz=centre_hz)


def recording_grid(config: SimulationConfig, recording: Recording) -> SpectrogramGrid:
    """How a recording is cut: as the settings say, or into windows of a number of steps, which overlap as much."""
    if config.view.window_steps is None:
        return config.grid
    window_s = config.view.window_steps / recording.truth.cadence_hz
    return replace(config.grid, window_s=window_s, hop_s=config.hop_s * window_s / config.window_s)


def _walks(config: SimulationConfig) -> Sequence[SimulatedWalk | CapturedWalk]:
    if config.joints is None:
        return simulated_walks(
            config.users, config.recordings_per_user, config.conditions, config.route, config.population
        )
    needed_s = config.shown_s
    walks, short = captured_walks(config.joints, needed_s, config.joints_up)
    if short:
        print(f"skipped, as they are shorter than a window of {needed_s:.2f} s: {', '.join(short)}")
    return walks


def record(config: SimulationConfig, walk: SimulatedWalk | CapturedWalk) -> Recording:
    """Samples of a walk; they depend on the configuration and the walk alone."""
    if isinstance(walk, CapturedWalk):
        return walk.record(config.measurement, config.seed, up=config.joints_up)
    duration_s = config.recording_s - config.window_s + config.shown_s
    return walk.record(config.measurement, config.seed, duration_s)


def _write_recording(job: tuple[SimulationConfig, SimulatedWalk | CapturedWalk]) -> list[dict[str, Any]]:
    """Write the images of one recording and return their rows of metadata.jsonl."""
    config, walk = job
    recording = record(config, walk)
    window_s = recording_grid(config, recording).window_s
    suffix = ".png" if config.receiver.jpeg_quality is None else ".jpg"
    rows: list[dict[str, Any]] = []
    for index, (start_s, body_doppler_hz, image_db) in enumerate(cut_windows(config, recording)):
        file_name = f"{walk.user}/{walk.name}_{index:03d}{suffix}"
        save_window(config.output_dir / file_name, image_db, config)
        truth = recording.truth_between(start_s, start_s + window_s)
        rows.append(
            {
                "file_name": file_name,
                "user": walk.user,
                "recording": f"{walk.user}_{walk.name}",
                "start_s": start_s,
                **({} if config.view.window_steps is None else {"window_s": round(window_s, 4)}),
                **walk.ground_truth(config.seed),
                "speed_mps": round(truth.speed_mps, 4),
                "cadence_hz": round(truth.cadence_hz, 4),
                "heading_deg": round(truth.heading_deg, 1),
                "turn_deg": round(truth.turn_deg, 1),
                "body_doppler_hz": round(body_doppler_hz, 2),
            }
        )
    return rows


def save_window(path: Path, image_db: FloatArray, config: SimulationConfig) -> None:
    """Draw a spectrogram as the receiver's software does, and write it; --save-db also writes its decibels."""
    receiver = config.body_receiver
    levels = shown_levels(image_db, receiver, (DB_MIN, DB_MAX))
    image = paint(levels, config.resolution, db_min=0.0, db_max=1.0, interpolate=receiver.interpolate)
    if receiver.jpeg_quality is None:
        # Compression level 1 is more than twice as fast as the default level, for files 15 % larger.
        image.save(path, compress_level=1)
    else:
        image.save(path, quality=receiver.jpeg_quality)
    if config.save_db:
        np.save(path.with_suffix(".npy"), image_db.astype(np.float32, copy=False))


def _in_order(jobs: list[tuple[SimulationConfig, Any]], workers: int) -> Iterator[list[dict[str, Any]]]:
    if workers == 1 or len(jobs) == 1:
        yield from map(_write_recording, jobs)
        return
    # Spawned, not forked: a forked child of a process that has started threads can hang.
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_recording, jobs)
