"""How much faster training and sampling are with a second process, and whether the result stays the same.

    python benchmarks/scaling.py [--output JSON] [--resolution 64] [--train-images 1600] ...

`torchrun` starts every program in three ways: one process, two processes of one thread each, and one process of two
threads. A training has the same images per optimizer step in all of them, and no dropout, whose noise depends on the
process. Each program runs twice, once three times as long as the other; the difference is timed, so that start-up and
loading do not count. `sample 256x256` is `echoform generate` with the preset `256` and random weights: bf16, guidance
1, batches of 8.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from record import print_tables, write_results
from tables import RESULTS, Table, cell
from untrained import noise_data, untrained_pipeline

Program = Literal["train vq-vae", "train ldm", "generate", "sample 256x256"]
BATCH = 16
SHORT, LONG = 1, 3
ARRANGEMENTS = {"1 process": (1, 1), "2 processes": (2, 1), "1 process, 2 threads": (1, 2)}
"""Number of processes, and of torch's threads in each."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to run and how long."""

    output: Path = RESULTS / "scaling.json"
    """JSON file to write."""
    programs: tuple[Program, ...] = ("train vq-vae", "train ldm", "generate", "sample 256x256")
    """Programs to time."""
    resolution: int = 64
    """Side of the simulated spectrograms, in pixels."""
    train_images: int = 1_600
    """Length of the short trainings, in images seen."""
    images: int = 32
    """Images of the short sampling runs."""
    steps: int = 8
    """Sampling steps at 256x256."""


def main(config: Config) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = prepare(config, folder)
        measured: dict[Program, dict[str, dict[str, Any]]] = {}
        for program in config.programs:
            more = (LONG - SHORT) * (config.train_images if program.startswith("train") else config.images)
            measured[program] = time_program(program, programs[program], more, folder)
            write_results(config, {"batch_size": BATCH, "programs": measured}, {"programs": table(measured)})
    print_tables({"programs": table(measured)})


Arguments = Callable[[Path, int, int], list[str]]
"""Arguments of `echoform` for an output folder, a length (SHORT or LONG) and a batch size per process."""


def prepare(config: Config, folder: Path) -> dict[Program, Arguments]:
    """Make the data and the models that the programs need, and return the arguments of each program."""
    data, stage, ldm, large = folder / "data", folder / "vq-vae", folder / "ldm", folder / "large"
    sizes = ["--users", "4", "--recordings-per-user", "8", "--resolution", str(config.resolution)]
    echoform(1, 2, ["simulate", str(data), *sizes])
    # Short trainings, whose models `train ldm` and `generate` start from.
    echoform(1, 2, train_vq_vae(data, stage, 512, BATCH))
    echoform(1, 2, train_ldm(data, stage, ldm, 512, BATCH))
    if "sample 256x256" in config.programs:
        torch.manual_seed(0)
        untrained_pipeline("256", noise_data(256, 31, 16)).save_pretrained(large)
    return {
        "train vq-vae": lambda out, length, batch: train_vq_vae(data, out, length * config.train_images, batch),
        "train ldm": lambda out, length, batch: train_ldm(data, stage, out, length * config.train_images, batch),
        "generate": lambda out, length, batch: generate(ldm / "pipeline", out, length * config.images),
        "sample 256x256": lambda out, length, batch: [
            *generate(large, out, length * config.images),
            *("--dtype", "bfloat16", "--num-inference-steps", str(config.steps)),
        ],
    }


def time_program(program: Program, arguments: Arguments, more: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Speed and result of a program in each arrangement; `more` is how many images the long run has in addition."""
    measured = {}
    for number, (arrangement, (processes, threads)) in enumerate(ARRANGEMENTS.items()):
        outs = {length: folder / f"{program}-{number}-{length}" for length in (SHORT, LONG)}
        seconds = {
            length: echoform(processes, threads, arguments(out, length, BATCH // processes))
            for length, out in outs.items()
        }
        measured[arrangement] = {
            "images_per_s": more / (seconds[LONG] - seconds[SHORT]),
            "result": result(outs[LONG]),
        }
    return measured


def train_vq_vae(data: Path, out: Path, images: int, batch: int) -> list[str]:
    """Arguments of `echoform train vq-vae`, with a codebook that starts early."""
    flags = ["--quantize-after", "256", "--data", str(data), *run_flags(out, images, batch)]
    return ["train", "vq-vae", *flags]


def train_ldm(data: Path, stage: Path, out: Path, images: int, batch: int) -> list[str]:
    """Arguments of `echoform train ldm` without dropout."""
    flags = ["--first-stage", str(stage), "--dropout", "0", "--sample-every", "1000000", "--data", str(data)]
    return ["train", "ldm", *flags, *run_flags(out, images, batch)]


def run_flags(out: Path, images: int, batch: int) -> list[str]:
    """Flags of both trainings; they validate and save once, at the end."""
    flags = {"output-dir": out, "max-train-images": images, "train-batch-size": batch, "report-to": "none"}
    flags |= dict.fromkeys(("validation-every", "checkpointing-every"), 10**6)
    return [word for name, value in flags.items() for word in (f"--{name}", str(value))]


def generate(pipeline: Path, out: Path, images: int) -> list[str]:
    """Arguments of `echoform generate` for a number of images in all, of four users."""
    flags = ["--users", *(f"ID_{number}" for number in range(1, 5)), "--num-images", str(images // 4)]
    flags += ["--batch-size", "8", "--guidance-scale", "1"]
    return ["generate", "--pipeline", str(pipeline), "--output-dir", str(out), *flags]


def echoform(processes: int, threads: int, arguments: list[str]) -> float:
    """Run a command on a number of processes; returns its wall-clock seconds."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if not torch.cuda.is_available():
        environment["ACCELERATE_USE_CPU"] = "true"
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *launcher, "-m", "echoform_train.cli", *arguments],
        env=environment,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - start


def result(folder: Path) -> float | None:
    """Loss on held-out images at the end of a training; None for a folder of images."""
    facts = folder / "facts.json"
    if not facts.is_file():
        return None
    validation = json.loads(facts.read_text())["validation"]
    return validation.get("loss", validation.get("l1"))


def table(measured: Mapping[Program, dict[str, dict[str, Any]]]) -> Table:
    """Speeds in each arrangement, and the held-out loss that each ends with."""
    rows = []
    for program, arrangements in measured.items():
        speeds = [arrangements[name]["images_per_s"] for name in ARRANGEMENTS]
        losses = [arrangements[name]["result"] for name in ARRANGEMENTS]
        row = [
            program,
            *(cell("{:.3g}", speed) for speed in speeds),
            cell("{:.0f} %", 100 * speeds[1] / (2 * speeds[0])),
            cell(", ".join(["{:.5f}"] * len(losses)), *losses),
        ]
        rows.append(row)
    titles = ("images/s", *ARRANGEMENTS, "2 processes / twice 1 process", "held-out loss of each, one seed")
    return {"columns": titles, "rows": rows}


if __name__ == "__main__":
    main(tyro.cli(Config))
