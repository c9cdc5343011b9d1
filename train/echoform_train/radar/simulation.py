"""A folder of spectrograms of simulated walking people, one subfolder per user, cut into overlapping windows."""

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm import tqdm

from echoform_train.engine.files import AXES, METADATA
from echoform_train.engine.parallel import usable_cores
from echoform_train.radar import pictures
from echoform_train.radar.body import CONDITIONS
from echoform_train.radar.mocap import UpAxis
from echoform_train.radar.recordings import Recording
from echoform_train.radar.returns import Radar
from echoform_train.radar.simulated_walks import CapturedWalk, SimulatedWalk, captured_walks, simulated_walks
from echoform_train.radar.stft import FloatArray
from echoform_train.radar.walks import Route

CARRIERS_GHZ = (77, 60, 24)
DB_MIN = -38.0
DB_MAX = -4.0
"""Fixed range of the pictures, decibels over one square metre at the body's range."""
LONGEST_RECORDING_S = 30.0
LONGEST_FMCW_RECORDING_S = 15.0
"""A straight walk of this length stays within the 32 m at which the ranges of the FMCW mode fold."""


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """Simulate walking people before a radar and write their spectrograms."""

    output_dir: Annotated[Path, tyro.conf.Positional]
    """New or empty folder for ID_1, ID_2, ..., metadata.jsonl and axes.json."""
    users: int = 8
    """How many people."""
    recordings_per_user: int = 10
    """Walks of each person; directions alternate, and conditions every two walks. 15 walks of 12 s are 150 pictures."""
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
    mode: Literal["cw", "fmcw"] = "cw"
    """Continuous wave, or chirps from whose range bins the walker is gated; chirps take some 200 ms a picture."""
    conditions: tuple[str, ...] = ("normal",)
    """What people carry: any of normal, backpack, bag, bag_phone."""
    route: Route = "straight"
    """Straight towards the radar and away from it, or a free route with turns in the field before it."""
    joints: Path | None = None
    """Folder of motion captures <subject>_<trial>.npz (joints [T, J, 3] in metres, names, fps) to walk by instead."""
    joints_up: UpAxis = "auto"
    """Axis of the captures that points up; auto finds the one along which the head stands above the feet."""
    save_db: bool = False
    """Write the decibels on their native grid beside each picture: float32 [F, W] as .npy, Doppler ascending."""
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
        if self.joints is None:
            self._check_walks()
        else:
            self._check_captures()
        if not 0.5 <= self.window_s <= LONGEST_RECORDING_S:
            raise ValueError(f"window_s must be in 0.5..{LONGEST_RECORDING_S:g}, got {self.window_s}")
        if self.hop_s < 0.1:
            raise ValueError(f"hop_s must be at least 0.1, got {self.hop_s}")
        if not 16 <= self.resolution <= 1024:
            raise ValueError(f"resolution must be in 16..1024, got {self.resolution}")
        if self.workers < 0:
            raise ValueError(f"workers must not be negative, got {self.workers}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

    def _check_walks(self) -> None:
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
        if not self.window_s <= self.recording_s <= LONGEST_RECORDING_S:
            raise ValueError(
                f"window_s <= recording_s <= {LONGEST_RECORDING_S} must hold, "
                f"got window_s {self.window_s} and recording_s {self.recording_s}"
            )
        if self.mode == "fmcw" and self.route == "straight" and self.recording_s > LONGEST_FMCW_RECORDING_S:
            raise ValueError(
                f"recording_s of straight walks must be at most {LONGEST_FMCW_RECORDING_S:g} in the FMCW mode, whose "
                f"ranges fold at 32 m, got {self.recording_s}"
            )

    def _check_captures(self) -> None:
        for name in ("users", "recordings_per_user", "recording_s", "conditions", "route"):
            if getattr(self, name) != getattr(type(self), name):
                raise ValueError(f"{name} must not be given with joints, the captures decide it")

    @property
    def radar(self) -> Radar:
        """The radar before a recording's own noise figure."""
        return Radar(carrier_hz=self.carrier_ghz * 1e9)

    @property
    def grid(self) -> pictures.PictureGrid:
        """How recordings are cut."""
        radar = self.radar
        return pictures.default_grid(radar.carrier_hz, radar.pulse_rate_hz, window_s=self.window_s, hop_s=self.hop_s)

    @property
    def shown_s(self) -> float:
        """Seconds that a picture needs: its window, and what the last transform takes beyond it."""
        return max(self.window_s, self.grid.samples / self.grid.pulse_rate_hz)


def simulate(config: SimulationConfig) -> Path:
    """Write the pictures of all people.

    Returns:
        The folder: `<user>/<recording>_<index>.png` (jet, RGB, row 0 the highest Doppler), `metadata.jsonl` with one
        row a picture, and `axes.json` with the extent of every picture: `doppler_min_hz` and `doppler_max_hz` are its
        outer edges relative to `body_doppler_hz` of its row, the mean Doppler of the walking body (over the recording
        where the walk is straight, over the window where it turns), and `native_bins` and `native_columns` are
        the grid before it was blown up.

    Raises:
        ValueError: If the folder holds something, or the motion captures cannot be used.
        FileNotFoundError: If there is no folder of motion captures.
    """
    folder = config.output_dir
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"output_dir must be new or empty, got {folder}")
    walks = _walks(config)
    for user in dict.fromkeys(walk.user for walk in walks):
        (folder / user).mkdir(parents=True)
    jobs = [(config, walk) for walk in walks]
    with (folder / METADATA).open("w", encoding="utf-8") as metadata:
        for rows in tqdm(_in_order(jobs, config.workers or usable_cores()), total=len(jobs), unit="recording"):
            metadata.writelines(json.dumps(row) + "\n" for row in rows)
    (folder / AXES).write_text(json.dumps(picture_axes(config), indent=2) + "\n", encoding="utf-8")
    return folder


def cut_windows(config: SimulationConfig, recording: Recording) -> Iterator[tuple[float, float, FloatArray]]:
    """Each window of a recording: start in seconds, Doppler of its middle row in hertz, and decibels [F, W].

    Doppler ascends on the native grid. A straight walk keeps one middle, as the body keeps its speed; a walk with
    turns gets that of the window, so that the body stays near the middle. Within a window it is constant, so that the
    Doppler axis is true everywhere.
    """
    grid = config.grid
    turning = config.joints is None and config.route == "free"
    for start in pictures.window_starts(len(recording.iq), grid):
        start_s = start / recording.pulse_rate_hz
        seen = recording.seen(start_s, start_s + config.window_s) if turning else recording.whole
        samples = recording.iq[start : start + grid.samples]
        yield start_s, seen.body_doppler_hz, pictures.window_image(samples, grid, centre_hz=seen.body_doppler_hz)


def picture_axes(config: SimulationConfig) -> dict[str, float]:
    """Extent of every picture in seconds, hertz and decibels, and its native grid, as `axes.json` holds them."""
    return pictures.picture_axes(config.grid, db_min=DB_MIN, db_max=DB_MAX)


def _walks(config: SimulationConfig) -> Sequence[SimulatedWalk | CapturedWalk]:
    if config.joints is None:
        return simulated_walks(config.users, config.recordings_per_user, config.conditions, config.route)
    needed_s = config.shown_s
    walks, short = captured_walks(config.joints, needed_s, config.joints_up)
    if short:
        print(f"skipped, as they are shorter than a window of {needed_s:.2f} s: {', '.join(short)}")
    return walks


def record(config: SimulationConfig, walk: SimulatedWalk | CapturedWalk) -> Recording:
    """What the radar samples of a walk; a function of the configuration and of the walk alone."""
    if isinstance(walk, CapturedWalk):
        return walk.record(config.radar, config.seed, mode=config.mode, up=config.joints_up)
    duration_s = config.recording_s - config.window_s + config.shown_s
    return walk.record(config.radar, config.seed, duration_s, mode=config.mode)


def _write_recording(job: tuple[SimulationConfig, SimulatedWalk | CapturedWalk]) -> list[dict[str, Any]]:
    config, walk = job
    recording = record(config, walk)
    rows: list[dict[str, Any]] = []
    for index, (start_s, body_doppler_hz, image_db) in enumerate(cut_windows(config, recording)):
        file_name = f"{walk.user}/{walk.name}_{index:03d}.png"
        pictures.save_picture(
            config.output_dir / file_name,
            image_db,
            config.resolution,
            db_min=DB_MIN,
            db_max=DB_MAX,
            save_db=config.save_db,
        )
        seen = recording.seen(start_s, start_s + config.window_s)
        rows.append(
            {
                "file_name": file_name,
                "user": walk.user,
                "recording": f"{walk.user}_{walk.name}",
                "start_s": start_s,
                **walk.truth(config.seed),
                "speed_mps": round(seen.speed_mps, 4),
                "cadence_hz": round(seen.cadence_hz, 4),
                "heading_deg": round(seen.heading_deg, 1),
                "turn_deg": round(seen.turn_deg, 1),
                "body_doppler_hz": round(body_doppler_hz, 2),
            }
        )
    return rows


def _in_order(jobs: list[tuple[SimulationConfig, Any]], workers: int) -> Iterator[list[dict[str, Any]]]:
    if workers == 1 or len(jobs) == 1:
        yield from map(_write_recording, jobs)
        return
    # Spawned, not forked: a forked child of a process that has started threads can hang.
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_recording, jobs)
