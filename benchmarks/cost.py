"""Whether cost grows in proportion to training images, generated images, users and steps: three sizes of each.

    python benchmarks/cost.py [--output JSON] [--preset cpu] [--resolution 64] [--repeats 3] [--threads 2] ...

Both trainings see 1, 2 and 4 times `--train-images` images twice, with validation, checkpoints and export. The
pipeline generates 1, 2 and 4 times `--images` images of one user, 8 images each of 1, 2 and 4 times `--users` users,
and one batch with 1, 2 and 4 times `--steps` steps. For each, a line is fitted through the medians: the cost of one
more unit, the cost of zero units, and how far the middle size lies off the line between the ends. Images are noise,
weights are random, and sizes take turns.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from in_turns import in_turns
from record import print_tables, write_results
from tables import RESULTS, Table, cell
from untrained import noise_data, untrained_pipeline

from echoform_train.data.config import DataConfig
from echoform_train.latent_diffusion.first_stage import load_first_stage
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae

TIMES = (1, 2, 4)
EPOCHS = 2
HELD_OUT = 16


@dataclass(frozen=True, kw_only=True)
class Config:
    """The smallest size of each series."""

    output: Path = RESULTS / "cost.json"
    """JSON file to write."""
    preset: Literal["cpu", "6gb", "16gb", "256", "paper"] = "cpu"
    """Preset of both training scripts."""
    resolution: int = 64
    """Height and width, in pixels."""
    train_images: int = 192
    """Images to train on, a multiple of the batch size of both stages."""
    images: int = 32
    """Images to generate; a multiple of the batch size."""
    users: int = 4
    """Users, of each of whom 8 images are generated."""
    steps: int = 4
    """Denoising steps."""
    batch_size: int = 16
    """Images per forward pass in generation."""
    repeats: int = 3
    """Timings of each size."""
    threads: int = 2
    """Threads of torch, on a CPU."""


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    series_facts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for series in (generation(config), trainings(config, Path(folder))):
            for name, calls in series.items():
                series_facts[name] = measured(calls, config.repeats)
                write_results(config, {"epochs": EPOCHS, "series": series_facts}, {"series": table(series_facts)})
    print_tables({"series": table(series_facts)})


def generation(config: Config) -> dict[str, dict[int, Callable[[], Any]]]:
    """Calls by size, for each series of generations."""
    pipeline = untrained_pipeline(config.preset, noise_data(config.resolution, TIMES[-1] * config.users, 16))
    if torch.cuda.is_available():
        pipeline.to("cuda")

    def call(users: int, images: int, steps: int) -> Callable[[], Any]:
        return lambda: pipeline(
            users=list(range(users)),
            num_images_per_user=images,
            guidance_scale=1.0,
            num_inference_steps=steps,
            batch_size=config.batch_size,
        )

    return {
        "images": {n * config.images: call(1, n * config.images, 8) for n in TIMES},
        "users": {n * config.users: call(n * config.users, 8, 8) for n in TIMES},
        "steps": {n * config.steps: call(1, config.batch_size, n * config.steps) for n in TIMES},
    }


def trainings(config: Config, folder: Path) -> dict[str, dict[int, Callable[[], Any]]]:
    """Calls by number of training images, for each stage; all second stages share one first stage."""
    number = itertools.count()
    stage_folder = folder / "first-stage"
    train_first_stage(config, config.train_images, stage_folder)

    def first(images: int) -> None:
        train_first_stage(config, images, folder / str(next(number)))

    def second(images: int) -> None:
        preset = train_ldm.PRESETS[config.preset]
        settings = replace(
            _settings(preset, config, images, folder / str(next(number))),
            first_stage=stage_folder,
            sample_every=EPOCHS * images,
        )
        train_ldm.train(settings, _data(config, images), load_first_stage(stage_folder))

    return {
        "training images of the first stage, 2 epochs": {n * config.train_images: _of(first, n, config) for n in TIMES},
        "training images of the second stage, 2 epochs": {
            n * config.train_images: _of(second, n, config) for n in TIMES
        },
    }


def train_first_stage(config: Config, images: int, folder: Path) -> None:
    """Train a VQ-VAE for two epochs; its codebook starts after half of the first."""
    settings = _settings(train_vq_vae.PRESETS[config.preset], config, images, folder)
    settings = replace(settings, quantize_after=images // 2, lpips_weight=0.0)
    train_vq_vae.train(settings, _data(config, images))


def measured(calls: Mapping[int, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Medians by size and the line through them; the smallest size is called once before as warm-up."""
    sizes = sorted(calls)
    calls[sizes[0]]()
    each = in_turns({str(size): calls[size] for size in sizes}, repeats)
    result: dict[str, Any] = {"sizes": sizes}
    # Proportional cost would put the middle size on the line between the ends.
    for place, key in enumerate(("wall_s", "cpu_s")):
        medians = [statistics.median(pair[place] for pair in each[str(size)]) for size in sizes]
        fit = statistics.linear_regression(sizes, medians)
        between = medians[0] + (medians[2] - medians[0]) * (sizes[1] - sizes[0]) / (sizes[2] - sizes[0])
        result[key] = {
            "medians": medians,
            "a_unit": fit.slope,
            "at_zero": fit.intercept,
            "middle_off_the_line": medians[1] / between - 1,
        }
    return result


def table(series: dict[str, Any]) -> Table:
    """CPU time by size, and the line through it."""
    rows = []
    for name, result in series.items():
        cpu = result["cpu_s"]
        row = [
            name,
            ", ".join(map(str, result["sizes"])),
            cell(", ".join(["{:.3g}"] * len(cpu["medians"])), *cpu["medians"]),
            cell("{:.3g} ms", 1000 * cpu["a_unit"]),
            cell("{:+.1f} %", 100 * cpu["middle_off_the_line"]),
        ]
        rows.append(row)
    return {"columns": ["", "sizes", "CPU s", "one more costs", "middle off the line"], "rows": rows}


def _of(train: Callable[[int], None], times: int, config: Config) -> Callable[[], None]:
    return partial(train, times * config.train_images)


def _data(config: Config, images: int) -> Any:
    return noise_data(config.resolution, config.users, images, HELD_OUT)


def _settings(preset: Any, config: Config, images: int, folder: Path) -> Any:
    run = replace(
        preset.run,
        output_dir=folder,
        max_train_images=EPOCHS * images,
        validation_every=EPOCHS * images,
        checkpointing_every=EPOCHS * images,
        report_to="none",
    )
    data = DataConfig(data="noise", resolution=config.resolution)
    return replace(preset, data=data, run=run)


if __name__ == "__main__":
    main(tyro.cli(Config))
