"""The recordings of `echoform simulate`: who walks, in what, where to, or by which motion capture; each on its own."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from echoform_train.radar.body import Person, draw_person
from echoform_train.radar.fmcw import Chirp
from echoform_train.radar.mocap import (
    FILE_NAME,
    UpAxis,
    body_joints,
    cadence_hz,
    capture_seconds,
    read_capture,
    record_capture,
    turn_to_x,
)
from echoform_train.radar.recordings import Recording
from echoform_train.radar.returns import Radar
from echoform_train.radar.walks import Direction, Route, draw_walk, record_walk

Mode = Literal["cw", "fmcw"]
STRAIGHT: tuple[Direction, ...] = ("towards", "away")


@dataclass(frozen=True, kw_only=True)
class SimulatedWalk:
    """One walk of one drawn person."""

    user_number: int
    """1, 2, ..."""
    number: int
    """1, 2, ... of this user's recordings."""
    condition: str
    direction: Direction

    @property
    def user(self) -> str:
        """Name of the user and of the folder."""
        return f"ID_{self.user_number}"

    @property
    def name(self) -> str:
        """Name of the recording beside the user's others."""
        return f"r{self.number:02d}"

    def record(self, radar: Radar, seed: int, duration_s: float, *, mode: Mode = "cw") -> Recording:
        """What the radar samples; a function of the seed, of the two numbers, of condition and direction alone."""
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(self.user_number, self.number)))
        walk = draw_walk(person_of(seed, self.user_number), self.condition, self.direction, rng)
        return record_walk(walk, _on_the_day(radar, rng), duration_s, rng, chirp=_chirp(mode))

    def truth(self, seed: int) -> dict[str, Any]:
        """What is true of all windows."""
        person = person_of(seed, self.user_number)
        return {
            "condition": self.condition,
            "direction": self.direction,
            "route": "free" if self.direction == "free" else "straight",
            "height_m": round(person.height_m, 4),
            "asymmetry": round(person.asymmetry, 4),
        }


@dataclass(frozen=True, kw_only=True)
class CapturedWalk:
    """One trial of motion capture."""

    path: Path

    @property
    def user(self) -> str:
        """The subject."""
        return self.path.stem.rpartition("_")[0]

    @property
    def name(self) -> str:
        """The trial."""
        return self.path.stem.rpartition("_")[2]

    def record(self, radar: Radar, seed: int, *, mode: Mode = "cw", up: UpAxis = "auto") -> Recording:
        """What the radar samples; a function of the seed and of the file alone."""
        rng = self._rng(seed)
        direction = self._direction(rng)
        joints = turn_to_x(body_joints(read_capture(self.path), up))
        aspect_deg = float(rng.uniform(-10, 10))
        return record_capture(joints, direction, aspect_deg, _on_the_day(radar, rng), rng, chirp=_chirp(mode))

    def truth(self, seed: int) -> dict[str, Any]:
        """What is true of all windows; height and asymmetry of a subject are not known."""
        return {"direction": self._direction(self._rng(seed)), "route": "straight"}

    def _rng(self, seed: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(self.path.stem.encode()),)))

    def _direction(self, rng: np.random.Generator) -> Direction:
        return STRAIGHT[int(rng.integers(2))]


def person_of(seed: int, user_number: int) -> Person:
    """The person who is user 1, 2, ... of a seed; the same in simulations of any size."""
    return draw_person(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(user_number,))))


def simulated_walks(users: int, recordings: int, conditions: Sequence[str], route: Route) -> list[SimulatedWalk]:
    """Walks in the order of users; directions alternate, and conditions every two walks."""
    return [
        SimulatedWalk(
            user_number=user,
            number=number,
            condition=conditions[(number - 1) // 2 % len(conditions)],
            direction="free" if route == "free" else STRAIGHT[(number - 1) % 2],
        )
        for user in range(1, users + 1)
        for number in range(1, recordings + 1)
    ]


def captured_walks(folder: Path, shortest_s: float, up: UpAxis = "auto") -> tuple[list[CapturedWalk], list[str]]:
    """Trials <subject>_<trial>.npz of a folder in the order of their names, and the names of those too short to show.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no trial, one that is no straight walk of a known skeleton, or only trials shorter than
            `shortest_s`; the message names the file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise ValueError(f"joints must be a folder of <subject>_<trial>.npz, {folder} holds none")
    for path in paths:
        if FILE_NAME.fullmatch(path.name) is None:
            raise ValueError(f"motion captures must be named <subject>_<trial>.npz, got {path.name}")
    seconds = {}
    for path in paths:
        capture = read_capture(path)
        seconds[path] = capture_seconds(capture)
        if seconds[path] >= shortest_s:
            try:
                cadence_hz(turn_to_x(body_joints(capture, up)))
            except ValueError as error:
                raise ValueError(f"{path.name}: {error}") from error
    walks = [CapturedWalk(path=path) for path in paths if seconds[path] >= shortest_s]
    if not walks:
        raise ValueError(
            f"a motion capture must last at least a window of {shortest_s:.2f} s, "
            f"the longest of {folder} lasts {max(seconds.values()):.2f} s"
        )
    return walks, [path.name for path in paths if seconds[path] < shortest_s]


def _on_the_day(radar: Radar, rng: np.random.Generator) -> Radar:
    return replace(radar, noise_figure_db=float(rng.uniform(12, 17)))


def _chirp(mode: Mode) -> Chirp | None:
    return Chirp() if mode == "fmcw" else None
