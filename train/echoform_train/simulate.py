"""`echoform simulate`: spectrograms of simulated walking people, one folder a person, cut as the field cuts them."""

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from echoform_train.data.colormap import lookup_table
from echoform_train.radar.body import CONDITIONS, Person, draw_person
from echoform_train.radar.returns import Radar, doppler_shift_hz
from echoform_train.radar.stft import FRAME_RATE_HZ, LOOKS, SPEED_SPAN_MPS, spectrogram, window_samples
from echoform_train.radar.walks import Direction, Recording, Walk, draw_walk, record_walk

CARRIERS_GHZ = (77, 60, 24)
DIRECTIONS: tuple[Direction, ...] = ("towards", "away")
DB_MIN = -38.0
DB_MAX = -4.0
"""Fixed range of the pictures, decibels over one square metre at the body's range."""
LONGEST_RECORDING_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Config:
    """Simulate walking people before a radar and write their spectrograms."""

    output_dir: Annotated[Path, tyro.conf.Positional]
    """New or empty folder for ID_1, ID_2, ..., metadata.jsonl and axes.json."""
    users: int = 8
    """How many people."""
    recordings_per_user: int = 10
    """Walks of each person; directions alternate, and conditions every two walks."""
    recording_s: float = 12.0
    """Length of a walk in seconds, at most 30."""
    window_s: float = 3.0
    """Seconds in one picture."""
    hop_s: float = 1.0
    """Seconds from the start of one picture to the next."""
    resolution: int = 256
    """Pixels a side."""
    carrier_ghz: int = 77
    """77, 60 or 24."""
    conditions: tuple[str, ...] = ("normal",)
    """What people carry: any of normal, backpack, bag."""
    seed: int = 0
    """The same seed gives the same files, whatever the number of workers."""
    workers: int = 0
    """Processes; 0 takes one a core."""

    def __post_init__(self) -> None:
        for name in ("users", "recordings_per_user"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.carrier_ghz not in CARRIERS_GHZ:
            raise ValueError(f"carrier_ghz must be 77, 60 or 24, got {self.carrier_ghz}")
        if not self.conditions or len(set(self.conditions)) != len(self.conditions):
            raise ValueError(f"conditions must name at least one, each once, got {self.conditions}")
        for condition in self.conditions:
            if condition not in CONDITIONS:
                raise ValueError(f"conditions must be of {', '.join(CONDITIONS)}, got {condition}")
        if self.recordings_per_user < 2 * len(self.conditions) and len(self.conditions) > 1:
            raise ValueError(
                f"recordings_per_user must be at least {2 * len(self.conditions)}, both directions of each "
                f"condition, got {self.recordings_per_user}"
            )
        if not 0.5 <= self.window_s <= self.recording_s <= LONGEST_RECORDING_S:
            raise ValueError(
                f"0.5 <= window_s <= recording_s <= {LONGEST_RECORDING_S} must hold, "
                f"got window_s {self.window_s} and recording_s {self.recording_s}"
            )
        if self.hop_s < 0.1:
            raise ValueError(f"hop_s must be at least 0.1, got {self.hop_s}")
        if not 16 <= self.resolution <= 1024:
            raise ValueError(f"resolution must be in 16..1024, got {self.resolution}")
        if self.workers < 0:
            raise ValueError(f"workers must not be negative, got {self.workers}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

    @property
    def radar(self) -> Radar:
        """The radar before a recording's own noise figure."""
        return Radar(carrier_hz=self.carrier_ghz * 1e9)


def main(config: Config) -> None:
    """Simulate, and say where the pictures are."""
    print(f"wrote {simulate(config)}")


def simulate(config: Config) -> Path:
    """Write the pictures of all people.

    Returns:
        The folder: `ID_<user>/r<recording>_<index>.png` (jet, RGB, row 0 the highest Doppler), `metadata.jsonl` with
        one row a picture, and `axes.json` with the extent of every picture: `doppler_min_hz` and `doppler_max_hz`
        are its outer edges relative to the mean Doppler of the walking body (`body_doppler_hz` of its row).

    Raises:
        ValueError: If the folder holds something.
    """
    folder = config.output_dir
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"output_dir must be new or empty, got {folder}")
    for user in range(1, config.users + 1):
        (folder / f"ID_{user}").mkdir(parents=True)
    jobs = [
        (config, user, recording)
        for user in range(1, config.users + 1)
        for recording in range(1, config.recordings_per_user + 1)
    ]
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as metadata:
        for rows in tqdm(_in_order(jobs, config.workers or cores()), total=len(jobs), unit="recording"):
            metadata.writelines(json.dumps(row) + "\n" for row in rows)
    (folder / "axes.json").write_text(json.dumps(picture_axes(config), indent=2) + "\n", encoding="utf-8")
    return folder


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def person_of(seed: int, user: int) -> Person:
    """The person who is user 1, 2, ... of a seed; the same in simulations of any size."""
    return draw_person(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(user,))))


def walk_recording(config: Config, user: int, recording: int) -> Recording:
    """One recording of one user; a function of the configuration and the two numbers alone."""
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(user, recording)))
    direction = DIRECTIONS[(recording - 1) % 2]
    condition = config.conditions[(recording - 1) // 2 % len(config.conditions)]
    walk = draw_walk(person_of(config.seed, user), condition, direction, rng)
    radar = replace(config.radar, noise_figure_db=float(rng.uniform(12, 17)))
    last_transform_s = window_samples(radar.carrier_hz, radar.pulse_rate_hz) / radar.pulse_rate_hz
    return record_walk(walk, radar, config.recording_s + last_transform_s, rng)


def cut_windows(config: Config, recording: Recording) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Start in seconds and decibels [F, W] (Doppler ascending, on the native grid) of each window of a recording."""
    radar = config.radar
    hop = recording.pulse_rate_hz // FRAME_RATE_HZ
    window = window_samples(radar.carrier_hz, recording.pulse_rate_hz)
    length = round(config.window_s * FRAME_RATE_HZ / LOOKS) * LOOKS * hop + window - hop
    for index in range(int((config.recording_s - config.window_s) / config.hop_s + 1e-9) + 1):
        start = round(index * config.hop_s * recording.pulse_rate_hz)
        image_db, _, _ = spectrogram(
            recording.iq[start : start + length],
            recording.pulse_rate_hz,
            window=window,
            hop=hop,
            looks=LOOKS,
            centre_hz=recording.body_doppler_hz,
            span_hz=doppler_shift_hz(SPEED_SPAN_MPS, radar.wavelength_m),
        )
        yield start / recording.pulse_rate_hz, image_db


def picture_axes(config: Config) -> dict[str, float]:
    """Extent of every picture in seconds, hertz and decibels, as `axes.json` holds it."""
    radar = config.radar
    bin_hz = radar.pulse_rate_hz / window_samples(radar.carrier_hz, radar.pulse_rate_hz)
    bins = int(doppler_shift_hz(SPEED_SPAN_MPS, radar.wavelength_m) / bin_hz)
    return {
        "window_s": config.window_s,
        "hop_s": config.hop_s,
        "doppler_min_hz": -(bins + 0.5) * bin_hz,
        "doppler_max_hz": (bins + 0.5) * bin_hz,
        "db_min": DB_MIN,
        "db_max": DB_MAX,
        "carrier_hz": radar.carrier_hz,
    }


def paint(image_db: NDArray[np.float32], resolution: int) -> Image.Image:
    """A square jet picture of decibels [F, W] with Doppler ascending; its row 0 is the highest Doppler."""
    share = np.clip((image_db[::-1] - DB_MIN) / (DB_MAX - DB_MIN), 0, 1)
    size = (resolution, resolution)
    smooth = np.asarray(Image.fromarray(share).resize(size, Image.Resampling.BICUBIC))
    index = np.rint(255 * np.clip(smooth, 0, 1)).astype(np.uint8)
    return Image.fromarray(lookup_table("jet")[index])


def _write_recording(job: tuple[Config, int, int]) -> list[dict[str, Any]]:
    config, user, number = job
    recording = walk_recording(config, user, number)
    rows: list[dict[str, Any]] = []
    for index, (start_s, image_db) in enumerate(cut_windows(config, recording)):
        file_name = f"ID_{user}/r{number:02d}_{index:03d}.png"
        # Level 1 takes 2.4 ms for 256x256 pixels, the default 6.2 ms; its files are 15 % larger.
        paint(image_db, config.resolution).save(config.output_dir / file_name, compress_level=1)
        rows.append({"file_name": file_name, **_truth(user, number, recording), "start_s": start_s})
    return rows


def _truth(user: int, number: int, recording: Recording) -> dict[str, Any]:
    walk: Walk = recording.walk
    return {
        "user": f"ID_{user}",
        "condition": walk.condition,
        "direction": walk.direction,
        "recording": f"ID_{user}_r{number:02d}",
        "height_m": round(walk.person.height_m, 4),
        "speed_mps": round(recording.speed_mps, 4),
        "cadence_hz": round(recording.cadence_hz, 4),
        "asymmetry": round(walk.person.asymmetry, 4),
        "body_doppler_hz": round(recording.body_doppler_hz, 2),
    }


def _in_order(jobs: list[tuple[Config, int, int]], workers: int) -> Iterator[list[dict[str, Any]]]:
    if workers == 1 or len(jobs) == 1:
        yield from map(_write_recording, jobs)
        return
    # Spawned, not forked: a forked child of a process that has started threads can hang.
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_recording, jobs)
