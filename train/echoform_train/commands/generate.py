"""`echoform generate`: new spectrograms of chosen users from an exported pipeline, as files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from accelerate import Accelerator
from diffusers.utils import load_image, make_image_grid
from PIL import Image
from tqdm.auto import tqdm

from echoform_train.engine.files import METADATA
from echoform_train.engine.seeds import mix_seed
from echoform_train.latent_diffusion.sampling import load_pipeline

SETTINGS = "generate.json"
GRID = "grid.png"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Generate spectrograms; started again with the same flags, it goes on where it stopped."""

    pipeline: str
    """Folder of an exported pipeline, or its id on the Hub."""
    output_dir: Path
    """Folder for the images and metadata.jsonl."""
    users: tuple[str, ...] = ()
    """Names of users. Default: all."""
    num_images: int = 16
    """Images a user."""
    conditions: tuple[str, ...] = ()
    """Such as direction=towards, or direction=towards,away to take turns. Default: left to the model."""
    seed: int = 0
    """With the same seed, image k of a user is the same whatever else is asked for."""
    guidance_scale: float | None = None
    """Strength of the guidance towards the user; 1 is none. Default: what the pipeline was made for, usually 1.5."""
    num_inference_steps: int | None = None
    """Denoising steps. Default: what the pipeline was made for, usually 8."""
    batch_size: int = 16
    """Images a forward pass."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights."""
    grid: bool = False
    """Also write grid.png, a row a user."""
    trust_remote_code: bool = False
    """Run the code of the repository instead of the installed echoform."""


@dataclass(frozen=True)
class Job:
    """One image to make."""

    user: str
    index: int
    seed: int
    image_seed: int
    conditions: dict[str, str]

    @property
    def file_name(self) -> str:
        """Path inside the output folder."""
        return f"{self.user}/{self.index:05d}.png"

    def row(self) -> dict[str, Any]:
        """Line of metadata.jsonl."""
        return {
            "file_name": self.file_name,
            "user": self.user,
            "index": self.index,
            "seed": self.seed,
            "image_seed": self.image_seed,
            "origin": "generated",
            **self.conditions,
        }


def main(config: Config) -> None:
    """Generate what is not there yet; under `accelerate launch` the processes share the work."""
    state = Accelerator()
    pipeline = load_pipeline(config.pipeline, DTYPES[config.dtype], config.trust_remote_code).to(state.device)
    for name, usual in (("num_inference_steps", 8), ("guidance_scale", 1.5)):
        if getattr(config, name) is None:
            config = replace(config, **{name: pipeline.config.get(name, usual)})
    jobs = plan(pipeline, config)
    if state.is_main_process:
        _check_settings(config)
        _gather_metadata(config.output_dir, jobs)
    state.wait_for_everyone()
    done = _finished(config.output_dir)
    todo = [job for job in jobs if job.file_name not in done]
    part = config.output_dir / f"{METADATA}.{state.process_index}"
    pipeline.set_progress_bar_config(disable=True)
    with (
        state.split_between_processes(todo) as mine,
        tqdm(total=len(mine), unit="image", disable=not state.is_local_main_process) as bar,
    ):
        for batch in _batches(cast(list[Job], mine), config.batch_size):
            images = pipeline(
                users=[job.user for job in batch],
                conditions={name: [job.conditions[name] for job in batch] for name in batch[0].conditions} or None,
                guidance_scale=config.guidance_scale,
                num_inference_steps=config.num_inference_steps,
                generator=[torch.Generator().manual_seed(job.image_seed) for job in batch],
                batch_size=config.batch_size,
            ).images
            for job, image in zip(batch, images, strict=True):
                _save(image, config.output_dir / job.file_name)
            with part.open("a") as file:
                file.writelines(json.dumps(job.row()) + "\n" for job in batch)
            bar.update(len(batch))
    state.wait_for_everyone()
    if state.is_main_process:
        _gather_metadata(config.output_dir, jobs)
        if config.grid:
            save_grid(config.output_dir, jobs)


def plan(pipeline: Any, config: Config) -> list[Job]:
    """All images that the settings ask for, in order.

    Raises:
        ValueError: If a user or condition is unknown to the pipeline.
    """
    known = list(pipeline.config["id2label"].values())
    users = config.users or tuple(known)
    if unknown := [user for user in users if user not in known]:
        raise ValueError(f"users must be among {', '.join(known)}, got {', '.join(unknown)}")
    choices = dict(_parse_condition(text) for text in config.conditions)
    jobs = []
    for user in users:
        for index in range(config.num_images):
            conditions = {name: values[index % len(values)] for name, values in choices.items()}
            image_seed = mix_seed(config.seed, known.index(user), index)
            jobs.append(Job(user, index, config.seed, image_seed, conditions))
    return jobs


def save_grid(output_dir: Path, jobs: list[Job], columns: int = 8) -> None:
    """Write grid.png: the first images of each user in a row."""
    users = list(dict.fromkeys(job.user for job in jobs))
    columns = min(columns, len(jobs) // len(users))
    images = [load_image(str(output_dir / job.file_name)) for job in jobs if job.index < columns]
    make_image_grid(images, rows=len(users), cols=columns).save(output_dir / GRID)


def _parse_condition(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    if not (name and equals and values):
        raise ValueError(f"a condition is written name=value or name=value,value, got {text!r}")
    return name, values.split(",")


def _batches(jobs: list[Job], size: int) -> Iterator[list[Job]]:
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    image.save(partial, format="png")
    partial.replace(path)


def _check_settings(config: Config) -> None:
    """Refuse to mix images of different settings in one folder."""
    settings = {
        name: value
        for name, value in asdict(config).items()
        if name in ("pipeline", "seed", "conditions", "guidance_scale", "num_inference_steps", "dtype")
    }
    settings = json.loads(json.dumps(settings))
    path = config.output_dir / SETTINGS
    if path.is_file() and (earlier := json.loads(path.read_text())) != settings:
        changed = [name for name in settings if earlier.get(name) != settings[name]]
        raise ValueError(
            f"{config.output_dir} holds images of other settings ({', '.join(changed)}); choose another --output-dir"
        )
    config.output_dir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=1))


def _finished(output_dir: Path) -> set[str]:
    rows = _rows(output_dir)
    return {name for name in rows if (output_dir / name).is_file()}


def _rows(output_dir: Path) -> dict[str, str]:
    """Lines of all metadata files by file name; a line that an interruption cut short is made anew."""
    rows = {}
    for path in sorted(output_dir.glob(f"{METADATA}*")):
        for line in path.read_text().splitlines():
            if line.endswith("}"):
                rows[json.loads(line)["file_name"]] = line
    return rows


def _gather_metadata(output_dir: Path, jobs: list[Job]) -> None:
    rows = _rows(output_dir)
    order = {job.file_name: position for position, job in enumerate(jobs)}
    names = sorted(rows, key=lambda name: (order.get(name, len(order)), name))
    partial = output_dir / f".{METADATA}.partial"
    partial.write_text("".join(rows[name] + "\n" for name in names))
    partial.replace(output_dir / METADATA)
    for path in output_dir.glob(f"{METADATA}.[0-9]*"):
        path.unlink()
