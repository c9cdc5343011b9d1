"""Spectrograms of simulated people, made in memory by all cores."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from gpu_config import Config
from untrained import noise_data

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.data.split import Split
from echoform_train.engine.parallel import usable_cores
from echoform_train.radar.receiver import shown_levels
from echoform_train.radar.simulated_walks import SimulatedWalk, simulated_walks
from echoform_train.radar.simulation import cut_windows, record
from echoform_train.radar.simulation_config import DB_MAX, DB_MIN, SimulationConfig
from echoform_train.radar.spectrogram_images import level_indices

Windows = tuple[np.ndarray, list[float]]
"""uint8 [N, H, W] and the start of each in seconds."""
SIDES = ("train", "validation", "test")


def simulated_people(config: Config) -> SpectrogramData:
    """All walks of all people; a tenth of the walks of each validates, a fifth tests, whole walks only."""
    settings = SimulationConfig(
        output_dir=Path("nowhere"),
        users=config.users,
        recordings_per_user=config.recordings_per_user,
        recording_s=config.recording_s,
        resolution=config.resolution,
        conditions=("normal",),
        seed=0,
    )
    walks = simulated_walks(settings.users, settings.recordings_per_user, settings.conditions, settings.route)
    jobs = [(settings, walk) for walk in walks]
    workers = config.workers or usable_cores()
    if workers == 1:
        windows = list(map(windows_of, jobs))
    else:
        # Spawned, as a forked child of a process with threads can hang.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            windows = list(pool.map(windows_of, jobs, chunksize=4))
    sides: dict[str, list[int]] = {side: [] for side in SIDES}
    for index, walk in enumerate(walks):
        sides[side_of(walk, config.recordings_per_user)].append(index)
    parts = {side: stacked([walks[i] for i in chosen], [windows[i] for i in chosen]) for side, chosen in sides.items()}
    names = {side: part.files for side, part in parts.items()}
    blank = noise_data(config.resolution, config.users, config.users, config.users)
    return replace(
        blank,
        **parts,
        split=Split(**names, left_out=(), method="by recording", gap_windows=2, seed=0),
        axes=settings.axes,
        source="simulated people",
    )


def side_of(walk: SimulatedWalk, recordings: int) -> str:
    """Side of a walk: of each person one in ten validates and two in ten test, at least one each."""
    validating, testing = max(1, recordings // 10), max(1, recordings // 5)
    if walk.number <= testing:
        return "test"
    return "validation" if walk.number <= testing + validating else "train"


def windows_of(job: tuple[SimulationConfig, SimulatedWalk]) -> Windows:
    """The images of one walk, as indices into the colour map."""
    settings, walk = job
    pixels, starts = [], []
    for start_s, _, image_db in cut_windows(settings, record(settings, walk)):
        levels = shown_levels(image_db, settings.receiver, (DB_MIN, DB_MAX))
        pixels.append(level_indices(levels, settings.resolution, db_min=0.0, db_max=1.0))
        starts.append(start_s)
    return np.stack(pixels), starts


def stacked(walks: list[SimulatedWalk], windows: list[Windows]) -> Spectrograms:
    """The images of some walks."""
    pairs = [(walk, start) for walk, (_, starts) in zip(walks, windows, strict=True) for start in starts]
    return Spectrograms(
        pixels=torch.from_numpy(np.concatenate([pixels for pixels, _ in windows]))[:, None],
        users=torch.tensor([walk.user_number - 1 for walk, _ in pairs]),
        conditions={},
        files=tuple(f"{walk.user}/{walk.name}_{start:06.2f}.png" for walk, start in pairs),
        recordings=tuple(f"{walk.user}_{walk.name}" for walk, _ in pairs),
        starts_s=tuple(start for _, start in pairs),
    )
