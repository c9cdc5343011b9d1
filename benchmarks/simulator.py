"""Cost of a simulated image on one core with each kind of body, and where the time goes: from kinematics to PNG.

    python benchmarks/simulator.py FOLDER [--output JSON] [--recordings 40] [--route free] [--whole] ...

Measured are processor time (`cpu_ms`), which other work on the machine changes only through shared caches, and
wall-clock time (`wall_ms`). `--whole` then simulates 31 people of the default body with 150 images each into
FOLDER/data with `--workers` processes and reports its wall-clock time and the processor time of its workers.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from record import print_tables, write_results
from tables import RESULTS, Table, cell

from echoform_train.radar import simulation
from echoform_train.radar.simulated_walks import person_of
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.radar.walks import Route, draw_walk, record_motion, walk_motion

BODIES = ("scatterers", "ellipsoids")
STEPS = ("kinematics", "echoes", "STFT", "image and PNG")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to measure."""

    folder: tyro.conf.Positional[Path]
    """Folder for the data of --whole."""
    output: Path = RESULTS / "simulator.json"
    """JSON file to write."""
    recordings: int = 40
    """Recordings of 12 s with 10 images each, after one that warms up."""
    resolution: int = 256
    """Height and width, in pixels."""
    route: Route = "straight"
    """Straight towards the radar and away, or a free route with turns."""
    whole: bool = False
    """Simulate 31 people with 150 images each as well."""
    workers: int = 2
    """Processes for --whole."""


class Clock:
    """Processor and wall-clock seconds, summed by step."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = dict.fromkeys(STEPS, 0.0)
        self.wall_s: dict[str, float] = dict.fromkeys(STEPS, 0.0)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        yield
        self.cpu_s[step] += time.process_time() - cpu_s
        self.wall_s[step] += time.perf_counter() - wall_s


def main(config: Config) -> None:
    settings = SimulationConfig(
        output_dir=config.folder / "data",
        users=31,
        recordings_per_user=15,
        resolution=config.resolution,
        route=config.route,
        workers=config.workers,
    )
    results: dict[str, Any] = {body: _cost(config, replace(settings, body=body)) for body in BODIES}
    if config.whole:
        start_s = time.perf_counter()
        simulation.simulate(settings)
        results["whole"] = {
            "images": len(list(settings.output_dir.glob("*/*.png"))),
            "workers": config.workers,
            "wall_s": time.perf_counter() - start_s,
            "workers_cpu_s": resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime,
        }
    rows: list[list[Any]] = []
    for body in BODIES:
        cpu_ms = results[body]["cpu_ms"]
        rows.append([body, cell("{:.1f}", cpu_ms["an image"]), *(cell("{:.1f}", cpu_ms[name]) for name in STEPS)])
    tables: dict[str, Table] = {"steps": {"columns": ["body", "an image, CPU ms of one core", *STEPS], "rows": rows}}
    write_results(config, results, tables)
    print_tables(tables)


def _cost(config: Config, settings: SimulationConfig) -> dict[str, Any]:
    """Milliseconds per image of each step."""
    # The first recording warms up caches and is not counted.
    with tempfile.TemporaryDirectory() as folder:
        simulate_one(settings, 0, Path(folder), Clock())
        clock = Clock()
        images = sum(simulate_one(settings, number, Path(folder), clock) for number in range(config.recordings))
    found: dict[str, Any] = {"images": images}
    for name, seconds in (("cpu_ms", clock.cpu_s), ("wall_ms", clock.wall_s)):
        each_ms = {step: 1000 * value / images for step, value in seconds.items()}
        found[name] = {"an image": sum(each_ms.values()), **each_ms}
    return found


def simulate_one(settings: SimulationConfig, number: int, folder: Path, clock: Clock) -> int:
    """Simulate one recording as `simulate` does, and time its steps; returns its number of images."""
    rng = np.random.default_rng(number)
    with clock.timed("kinematics"):
        direction = "towards" if settings.route == "straight" else settings.route
        person = replace(person_of(number, 1), planted=settings.body == "scatterers")
        walk = draw_walk(person, "normal", direction, rng)
        motion = walk_motion(walk, settings.recording_s + settings.shown_s - settings.window_s, rng)
    with clock.timed("echoes"):
        recording = record_motion(walk, motion, settings.measurement, rng)
    windows = simulation.cut_windows(settings, recording)
    images = 0
    while True:
        with clock.timed("STFT"):
            window = next(windows, None)
        if window is None:
            return images
        with clock.timed("image and PNG"):
            path = folder / f"{images}.png"
            simulation.save_window(path, window[2], settings)
        images += 1


if __name__ == "__main__":
    main(tyro.cli(Config))
