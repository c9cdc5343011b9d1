"""What fewer sampling steps cost in quality: one trained pipeline with several samplers and numbers of steps.

    python benchmarks/sampler_steps.py PIPELINE DATA SPLIT_FILE OUTPUT_DIR [--steps 1 2 4 8 16 50 250] [--output JSON]

Each row of the table is one sampler with one number of steps. All rows start from the same noise, as `echoform
generate` does, and are scored as by `echoform score generated`: for each seed all rows share the judge of real
images, and each has its own judge trained on its generated images. `own` is the pipeline's sampler (UniPC of order 2
for v-prediction), `own-3` the same of order 3; `ddim`, `dpm` (DPM-Solver++) and `unipc` are built from its settings,
which keeps noise schedule, prediction type and trailing time steps; `distilled` are pipelines that `echoform distill`
made from this one. Ratios to the row of `own` with the most steps are paired by seed. Seconds are those of whole
images, decoding included; rows take turns. Rows that OUTPUT_DIR/values.json already holds are not repeated.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from in_turns import in_turns
from record import print_tables, write_results
from tables import RESULTS, Cell, Table, cell, mean_cell
from torch import Tensor

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.seeds import mix_seed
from echoform_train.latent_diffusion.sampling import load_pipeline
from echoform_train.scoring.generated import score_generated
from echoform_train.scoring.intervals import mean_interval
from echoform_train.scoring.judge import Judge, train_judges
from echoform_train.scoring.scores import LABELS, SHARES

Sampler = Literal["own", "own-3", "ddim", "dpm", "unipc", "distilled"]
OTHERS = {"ddim": DDIMScheduler, "dpm": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}
SHOWN = ("frechet", "kid", "gan_test", "gan_train", "precision", "coverage", "diversity_features")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to compare."""

    pipeline: tyro.conf.Positional[Path]
    """Folder of an exported pipeline."""
    data: tyro.conf.Positional[str]
    """Data that it was trained on."""
    split_file: tyro.conf.Positional[Path]
    """Split of that training."""
    output_dir: tyro.conf.Positional[Path]
    """Folder for the scores of finished rows."""
    output: Path = RESULTS / "sampler_steps.json"
    """JSON file to write."""
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 50, 250)
    """Numbers of steps of the pipeline's own sampler; the largest is the reference."""
    other_steps: tuple[int, ...] = (2, 4, 8, 16)
    """Numbers of steps of the other samplers."""
    others: tuple[Sampler, ...] = ("own-3", "ddim", "dpm")
    """Samplers to compare with the pipeline's own."""
    distilled: tuple[Path, ...] = ()
    """Folders of pipelines that were distilled from it."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each seed makes one set of images and its judges; at least two, for an interval."""
    images_per_user: int = 40
    """Images of each user, for each seed."""
    guidance_scale: float = 1.0
    """Guidance towards the user; 1 is none."""
    batch_size: int = 20
    """Images per forward pass."""
    judge_train_images: int = 24_000
    """Images that each judge sees in training."""
    repeats: int = 3
    """Timings of a batch of each row."""
    threads: int = 2
    """Threads of torch, on a CPU."""


@dataclass(frozen=True)
class Row:
    """A sampler and its number of steps."""

    sampler: Sampler
    steps: int

    @property
    def name(self) -> str:
        return f"{self.sampler} {self.steps}"


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipelines = Pipelines(config, device)
    pipeline = pipelines.teacher
    side = pipeline.unet.config.sample_size * 2 ** (len(pipeline.vqvae.config.block_out_channels) - 1)
    data = load_spectrograms(config.data, split_file=config.split_file, resolution=side)
    # The rows of the table: own sampler, other samplers, distilled pipelines.
    rows = [Row("own", steps) for steps in sorted(config.steps)]
    rows += [Row(sampler, steps) for sampler in config.others for steps in sorted(config.other_steps)]
    rows += [Row("distilled", steps) for steps in sorted(pipelines.students)]
    judges = dict(zip(config.seeds, train_judges(data, config.seeds, config.judge_train_images, device), strict=True))
    finished = config.output_dir / "values.json"
    finished.parent.mkdir(parents=True, exist_ok=True)
    # Settings that change a score must be those of an earlier run that is continued.
    settings = json.loads(json.dumps({k: v for k, v in asdict(config).items() if k not in FREE}, default=str))
    values = earlier(finished, settings)
    for row in rows:
        for seed in config.seeds[len(values.get(row.name, [])) :]:
            sample = generated(pipelines.of(row), row.steps, seed, config, data)
            values.setdefault(row.name, []).append(judged(data, sample, judges[seed], seed, config, device))
            write_json(finished, {"settings": settings, "values": values})
    # Timings take turns over all rows, so they are made anew each time.
    seconds = time_rows(pipelines, rows, config)
    scores = interval_scores(values, rows, config.steps)
    tables = {"samplers": table(scores, seconds)}
    write_results(config, {"values": values, "seconds": seconds, "scores": scores}, tables)
    print_tables(tables)


FREE = ("output", "output_dir", "steps", "other_steps", "others", "distilled", "seeds", "repeats", "threads")
"""Settings that may differ between a run and its continuation."""


class Pipelines:
    """The pipelines that make the images of all rows.

    Args:
        config: Names the pipeline and those that were distilled from it.
        device: Where to compute.
    """

    def __init__(self, config: Config, device: str) -> None:
        self.teacher = self._load(config.pipeline, device)
        self.own = self.teacher.scheduler
        loaded = [self._load(folder, device) for folder in config.distilled]
        self.students = {student.config["num_inference_steps"]: student for student in loaded}
        """Distilled pipelines by number of steps."""

    def of(self, row: Row) -> Any:
        """The pipeline of a row, set to the row's sampler."""
        if row.sampler == "distilled":
            return self.students[row.steps]
        self.teacher.scheduler = scheduler_of(self.own, row.sampler)
        return self.teacher

    @staticmethod
    def _load(folder: Path, device: str) -> Any:
        pipeline = load_pipeline(str(folder), torch.float32).to(device)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def earlier(finished: Path, settings: dict[str, Any]) -> dict[str, list[dict[str, dict[str, float | None]]]]:
    """Scores by row, one entry per seed, of an earlier run that was interrupted or had fewer rows or seeds.

    Raises:
        ValueError: If it had other settings.
    """
    if not finished.is_file():
        return {}
    facts = read_json_object(finished)
    if facts["settings"] != settings:
        raise ValueError(f"{finished} must have the settings of this run, {settings}, it has {facts['settings']}")
    return facts["values"]


def scheduler_of(own: Any, sampler: Sampler) -> Any:
    """The pipeline's own sampler, or another one with the same noise schedule.

    Raises:
        ValueError: If the settings of the pipeline's own sampler, such as those of flow matching, fit no other.
    """
    if sampler == "own":
        return own
    settings = own.config
    if settings.get("prediction_type") != "v_prediction":
        raise ValueError(f"{sampler} needs a pipeline with v-prediction, its sampler is {type(own).__name__}")
    if sampler == "own-3":
        return type(own).from_config(settings, solver_order=3)
    return OTHERS[sampler].from_config(settings)


def generated(pipeline: Any, steps: int, seed: int, config: Config, data: SpectrogramData) -> tuple[Tensor, Tensor]:
    """One seed's images from the noise of `echoform generate`: pixels uint8 [N, C, H, W], users int64 [N]."""
    pixels = []
    for user, label in data.id2label.items():
        generators = [
            torch.Generator().manual_seed(mix_seed(seed, user, index)) for index in range(config.images_per_user)
        ]
        images = pipeline(
            users=[label],
            num_images_per_user=config.images_per_user,
            guidance_scale=config.guidance_scale,
            num_inference_steps=steps,
            generator=generators,
            batch_size=config.batch_size,
            output_type="pt",
        ).images
        pixels.append((255 * images).round().to(torch.uint8))
    users = torch.tensor(list(data.id2label)).repeat_interleave(config.images_per_user)
    return torch.cat(pixels), users


def judged(
    data: SpectrogramData, sample: tuple[Tensor, Tensor], judge: Judge, seed: int, config: Config, device: str
) -> dict[str, dict[str, float | None]]:
    """Value and floor of each score, for one seed."""
    scores = score_generated(
        data,
        [sample],
        judge_train_images=config.judge_train_images,
        device=device,
        seeds=(seed,),
        judges={seed: judge},
    )["scores"]
    return {name: {"value": scores[name]["mean"], "floor": scores[name]["floor"]} for name in LABELS}


def time_rows(pipelines: Pipelines, rows: Sequence[Row], config: Config) -> dict[str, dict[str, float]]:
    """Medians of wall-clock and processor seconds per image, from batches in turns."""

    def batch(row: Row) -> None:
        pipelines.of(row)(
            users=[0],
            num_images_per_user=config.batch_size,
            guidance_scale=config.guidance_scale,
            num_inference_steps=row.steps,
            batch_size=config.batch_size,
        )

    batch(rows[0])
    each = in_turns({row.name: lambda row=row: batch(row) for row in rows}, config.repeats)
    return {
        name: {
            key: statistics.median(pair[place] for pair in pairs) / config.batch_size
            for place, key in enumerate(("wall_s", "cpu_s"))
        }
        for name, pairs in each.items()
    }


def interval_scores(
    values: dict[str, list[dict[str, dict[str, float | None]]]], rows: Sequence[Row], steps: Sequence[int]
) -> dict[str, Any]:
    """By row and score: mean and 95 % interval over seeds, floor, and ratio to the reference row, paired by seed."""
    reference = values[Row("own", max(steps)).name]
    result: dict[str, Any] = {}
    for row in rows:
        entries = values[row.name]
        result[row.name] = {}
        for name in LABELS:
            mine, theirs = ([entry[name]["value"] for entry in each] for each in (entries, reference))
            ratios = [a / b for a, b in zip(mine, theirs, strict=True) if a is not None and b]
            floors = [floor for entry in entries if (floor := entry[name]["floor"]) is not None]
            result[row.name][name] = {
                "value": _interval(
                    [value for value in mine if value is not None], most=1.0 if name in SHARES else math.inf
                ),
                "ratio_to_most_steps": _interval(ratios) if len(ratios) == len(mine) else None,
                "floor": statistics.mean(floors) if floors else None,
            }
    return result


def _interval(values: list[float], most: float = math.inf) -> dict[str, float | None]:
    if len(values) < 2:
        return {"mean": values[0], "low": None, "high": None}
    return dict(mean_interval(values, most=most)._asdict())


def table(scores: dict[str, Any], seconds: dict[str, dict[str, float]]) -> Table:
    """Each score with its interval over seeds, and its ratio to that of the most steps, paired by seed."""
    rows = [
        [name, cell("{:,.0f}", 1000 * seconds[name]["cpu_s"]), *(_cell(entries[score], score) for score in SHOWN)]
        for name, entries in scores.items()
    ]
    floors = [next(iter(scores.values()))[score]["floor"] for score in SHOWN]
    factors = [100 if score in SHARES else 1 for score in SHOWN]
    real = [
        "" if floor is None else cell("{:.3g}", factor * floor) for floor, factor in zip(floors, factors, strict=True)
    ]
    titles = [LABELS[score].partition(":")[0] + (", %" if score in SHARES else "") for score in SHOWN]
    return {
        "columns": ["sampler, steps", "CPU ms per image", *titles],
        "rows": [*rows, ["real in its place", "", *real]],
    }


def _cell(entry: dict[str, Any], score: str) -> Cell:
    factor = 100 if score in SHARES else 1
    value = mean_cell(entry["value"], "{:.3g}", "", factor)
    ratio = entry["ratio_to_most_steps"]
    if ratio is None:
        return value
    ratio_cell = mean_cell(ratio, "{:.2f}")
    return [f"{value[0]}, x{ratio_cell[0]}", *value[1:], *ratio_cell[1:]]


if __name__ == "__main__":
    main(tyro.cli(Config))
