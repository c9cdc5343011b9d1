"""Seconds until the program answers in a fresh process, until `echoform generate` has made one image, and its imports.

    python benchmarks/start_up.py [--output JSON] [--pipeline FOLDER] [--repeats 5]

In turns with it run processes that only import torch, or only what any pipeline of diffusers needs, and command lines
that are answered without them: help, a typo, a missing folder. Each process computes with one thread. CPU seconds are
those of the user's code, which other processes of the machine change least. Without --pipeline, a pipeline with random
weights and the preset `cpu`, 64x64, is used. One more process with `python -X importtime` measures the seconds in the
modules of each package.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from record import print_tables, write_results
from tables import RESULTS, Table, cell
from untrained import noise_data, untrained_pipeline

BARE = {
    "python": "pass",
    "import torch": "import torch",
    "import of diffusers' classes": "from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler, VQModel",
    "import echoform_train.commands.generate": "import echoform_train.commands.generate",
}
ANSWERS = {
    # command line: exit status, what it is
    "echoform --version": (0, "the version"),
    "echoform --help": (0, "help of the program"),
    "echoform generatr": (2, "a verb with a typo"),
    "echoform generate --pipelin x": (2, "a flag with a typo"),
    "echoform prepare missing": (1, "a missing folder of `prepare`"),
    "echoform generate --pipeline missing --output-dir out": (1, "a missing folder of `generate`"),
    "echoform generate --help": (0, "help of `generate`"),
    "echoform train ldm --help": (0, "help of `train ldm`"),
}
"""Command lines that are answered before torch is needed."""
IMAGE = "echoform generate, one image"
SHOWN = 12
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to start and how often."""

    output: Path = RESULTS / "start_up.json"
    """JSON file to write."""
    pipeline: Path | None = None
    """Folder of an exported pipeline. Default: one with random weights."""
    repeats: int = 5
    """Processes of each kind, after one that loads the files into the disk cache."""


def main(config: Config) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Commands run in a folder of their own.
        pipeline = None if config.pipeline is None else config.pipeline.resolve()
        if pipeline is None:
            pipeline = folder / "pipeline"
            torch.manual_seed(0)
            untrained_pipeline("cpu", noise_data(64, 8, 16)).save_pretrained(pipeline)
        commands = {name: ["-c", code] for name, code in BARE.items()}
        commands |= {line: ["-m", "echoform_train.cli", *line.split()[1:]] for line in ANSWERS}
        # Turn 0 warms up the disk cache and is not counted.
        seconds: dict[str, list[tuple[float, float]]] = {}
        for turn in range(config.repeats + 1):
            commands[IMAGE] = generate(pipeline, folder / str(turn))
            for kind, command in commands.items():
                measured = run([], command, ANSWERS.get(kind, (0, kind))[0], folder)[0]
                if turn > 0:
                    seconds.setdefault(kind, []).append(measured)
        errors = run(["-X", "importtime"], generate(pipeline, folder / "named"), 0, folder)[1]
    processes = {
        kind: {
            "wall_s": statistics.median(wall_s for wall_s, _ in each),
            "user_cpu_s": statistics.median(cpu_s for _, cpu_s in each),
            "wall_s_each": [wall_s for wall_s, _ in each],
            "user_cpu_s_each": [cpu_s for _, cpu_s in each],
        }
        for kind, each in seconds.items()
    }
    facts = {"processes": processes, "imports": imports(errors)}
    tables = describe(facts)
    write_results(config, facts, tables)
    print_tables(tables)


def generate(pipeline: Path, output_dir: Path) -> list[str]:
    """Arguments of Python that make one image of the first user."""
    arguments = ["--pipeline", str(pipeline), "--output-dir", str(output_dir), "--users", "ID_1", "--num-images", "1"]
    return ["-m", "echoform_train.cli", "generate", *arguments]


def run(options: list[str], arguments: list[str], status: int, folder: Path) -> tuple[tuple[float, float], str]:
    """Run a fresh Python process in a folder; returns its seconds by the clock and of user CPU, and its stderr."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *options, *arguments]
    wall_s, before = time.perf_counter(), os.times()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    wall_s, after = time.perf_counter() - wall_s, os.times()
    if done.returncode != status:
        raise RuntimeError(f"{' '.join(arguments)} must end with {status}, got {done.returncode}: {done.stderr}")
    return (wall_s, after.children_user - before.children_user), done.stderr


def imports(errors: str) -> dict[str, Any]:
    """Summary of the lines of `-X importtime`: modules and seconds in all, and those of the slowest packages."""
    own_s: dict[str, float] = {}
    modules = Counter[str]()
    for self_us, module in _LINE.findall(errors):
        package = module.partition(".")[0]
        own_s[package] = own_s.get(package, 0.0) + int(self_us) / 1e6
        modules[package] += 1
    slowest = sorted(own_s, key=own_s.__getitem__, reverse=True)[:SHOWN]
    return {
        "modules": modules.total(),
        "seconds": sum(own_s.values()),
        "packages": {name: {"seconds": own_s[name], "modules": modules[name]} for name in slowest},
    }


def _label(kind: str) -> str:
    """What a table calls a kind of process."""
    return ANSWERS[kind][1] if kind in ANSWERS else "one image of `generate`" if kind == IMAGE else f"`{kind}`"


def describe(facts: dict[str, Any]) -> dict[str, Table]:
    """Both tables: seconds of each process, and of the imports of each package."""
    named = facts["imports"]
    processes = [
        [
            _label(kind),
            cell("{:.2f}", result["wall_s"]),
            cell("{:.2f}", result["user_cpu_s"]),
        ]
        for kind, result in facts["processes"].items()
    ]
    packages = [["all", cell("{:.2f}", named["seconds"]), cell("{:,}", named["modules"])]]
    packages += [
        [name, cell("{:.2f}", one["seconds"]), cell("{:,}", one["modules"])] for name, one in named["packages"].items()
    ]
    return {
        "processes": {"columns": ["", "seconds by the clock", "user CPU s"], "rows": processes},
        "imports": {"columns": ["imports of `generate`", "seconds", "modules"], "rows": packages},
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
