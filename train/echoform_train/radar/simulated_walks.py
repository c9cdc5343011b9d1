"""The walks that `echoform simulate` records, simulated or motion-captured, and the radar samples of each."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from echoform_train.engine.errors import MissingFileError, UserError
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
from echoform_train.radar.person import Person, draw_person
from echoform_train.radar.population import Population
from echoform_train.radar.recordings import Measurement, Recording
from echoform_train.radar.walks import Direction, Route, draw_walk, record_walk, route_of

STRAIGHT: tuple[Direction, ...] = ("towards", "away")


@dataclass(frozen=True, kw_only=True)
class SimulatedWalk:
    """One walk of one simulated user."""

    user_number: int
    """1, 2, ... of the users."""
    number: int
    """1, 2, ... of this user's recordings."""
    condition: str
    direction: Direction
    population: Population = field(default_factory=Population)

    @property
    def user(self) -> str:
        """Name of the user, and of the folder of the user's images."""
        return f"ID_{self.user_number}"

    @property
    def name(self) -> str:
        """Name of the recording among those of the user."""
        return f"r{self.number:02d}"

    def record(self, measurement: Measurement, seed: int, duration_s: float) -> Recording:
        """Samples of the walk; they depend only on the arguments and on this walk, not on other walks."""
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(self.user_number, self.number)))
        person = self.population.of_this(person_of(seed, self.user_number))
        walk = draw_walk(person, self.condition, self.direction, rng)
        if measurement.surface is not None:
            walk = replace(walk, person=replace(walk.person, planted=True))
        walk = replace(walk, start_and_stop=self.population.start_and_stop)
        return record_walk(walk, _with_drawn_noise(measurement, rng), duration_s, rng)

    def ground_truth(self, seed: int) -> dict[str, Any]:
        """Entries of metadata.jsonl that all windows of the walk share."""
        person = person_of(seed, self.user_number)
        return {
            "condition": self.condition,
            "direction": self.direction,
            "route": route_of(self.direction),
            "height_m": round(person.height_m, 4),
            "asymmetry": round(person.asymmetry, 4),
        }


@dataclass(frozen=True, kw_only=True)
class CapturedWalk:
    """One trial of a motion capture."""

    path: Path

    @property
    def user(self) -> str:
        """Name of the subject, the part of the file name before the last underscore."""
        return self.path.stem.rpartition("_")[0]

    @property
    def name(self) -> str:
        """Name of the trial, the part of the file name after the last underscore."""
        return self.path.stem.rpartition("_")[2]

    def record(self, measurement: Measurement, seed: int, *, up: UpAxis = "auto") -> Recording:
        """Samples of the walk; they depend only on the arguments and on the file."""
        rng = self._rng(seed)
        direction = self._direction(rng)
        joints = turn_to_x(body_joints(read_capture(self.path), up))
        aspect_deg = float(rng.uniform(-10, 10))
        return record_capture(joints, direction, aspect_deg, _with_drawn_noise(measurement, rng), rng)

    def ground_truth(self, seed: int) -> dict[str, Any]:
        """Entries of metadata.jsonl that all windows share; height and asymmetry of a subject are not known."""
        return {"direction": self._direction(self._rng(seed)), "route": "straight"}

    def _rng(self, seed: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(self.path.stem.encode()),)))

    def _direction(self, rng: np.random.Generator) -> Direction:
        return STRAIGHT[int(rng.integers(2))]


def person_of(seed: int, user_number: int) -> Person:
    """Body and gait of a user (1, 2, ...) for a seed; they do not depend on the number of users."""
    return draw_person(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(user_number,))))


def simulated_walks(
    users: int, recordings: int, conditions: Sequence[str], route: Route, population: Population | None = None
) -> list[SimulatedWalk]:
    """All walks in the order of the users. Directions alternate from walk to walk, conditions every two walks."""
    population = population or Population()
    directions = population.directions
    return [
        SimulatedWalk(
            user_number=user,
            number=number,
            condition=conditions[(number - 1) // 2 % len(conditions)],
            direction=directions[(number - 1) % len(directions)] if route == "straight" else route,
            population=population,
        )
        for user in range(1, users + 1)
        for number in range(1, recordings + 1)
    ]


def captured_walks(folder: Path, shortest_s: float, up: UpAxis = "auto") -> tuple[list[CapturedWalk], list[str]]:
    """Trials <subject>_<trial>.npz of a folder in the order of their names, and the names of those that are too short.

    Args:
        folder: Folder of motion captures.
        shortest_s: Length of the shortest usable trial, seconds.
        up: Axis that points up.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there is no trial, only trials shorter than `shortest_s`, or a trial that is not a straight
            walk of a known skeleton; the message names the file.
    """
    if not folder.is_dir():
        raise MissingFileError(f"there is no folder {folder}")
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise UserError(f"joints must be a folder of <subject>_<trial>.npz, {folder} holds none")
    for path in paths:
        if FILE_NAME.fullmatch(path.name) is None:
            raise UserError(f"motion captures must be named <subject>_<trial>.npz, got {path.name}")
    # Every usable file is checked before the first is simulated, as that takes long.
    seconds = {}
    for path in paths:
        capture = read_capture(path)
        seconds[path] = capture_seconds(capture)
        if seconds[path] >= shortest_s:
            try:
                cadence_hz(turn_to_x(body_joints(capture, up)))
            except UserError as error:
                raise UserError(f"{path.name}: {error}") from error
    walks = [CapturedWalk(path=path) for path in paths if seconds[path] >= shortest_s]
    if not walks:
        raise UserError(
            f"a motion capture must last at least a window of {shortest_s:.2f} s, "
            f"the longest of {folder} lasts {max(seconds.values()):.2f} s"
        )
    return walks, [path.name for path in paths if seconds[path] < shortest_s]


def _with_drawn_noise(measurement: Measurement, rng: np.random.Generator) -> Measurement:
    """The same with a random noise figure; each recording gets another one, as receivers differ from day to day."""
    noise_figure_db = float(rng.uniform(12, 17)) + measurement.receiver.noise_db
    return replace(measurement, radar=replace(measurement.radar, noise_figure_db=noise_figure_db))
