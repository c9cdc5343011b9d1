"""Two ways of telling the denoiser the user, compared: added to the time step's embedding, or by cross-attention.

    python benchmarks/conditioning.py DATA OUTPUT_DIR --first-stages runs/vq runs/kl [--train-images 40000] ...

For each first stage and each way, a second stage is trained on the same images in the same order. Its pipeline
generates images of each user with several seeds, and they are scored against the test part as by `echoform score
generated`. Started again, it continues where it stopped. Writes OUTPUT_DIR/conditioning.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro

from echoform_train.commands import generate, score_generated
from echoform_train.data.config import DataConfig
from echoform_train.engine.files import FACTS, PIPELINE, SPLIT
from echoform_train.engine.provenance import provenance
from echoform_train.scoring.scores import LABELS
from echoform_train.trainers import ldm as train_ldm

SHOWN = ("gan_test", "gan_test_ratio", "gan_train", "gan_train_ratio", "frechet", "precision", "recall", "memorised")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train, generate and score."""

    data: tyro.conf.Positional[str]
    """Folder of spectrograms."""
    output_dir: tyro.conf.Positional[Path]
    """Folder for the trainings, the images and the JSON file."""
    first_stages: tuple[Path, ...]
    """Output folders of `echoform train vq-vae` or `echoform train kl-vae`."""
    conditionings: tuple[Literal["embedding", "cross-attention"], ...] = ("embedding", "cross-attention")
    """Ways to compare."""
    train_images: int = 40_000
    """Images that each second stage sees in training."""
    block_out_channels: tuple[int, ...] = (64, 128, 128)
    """Width of each level of the U-Net."""
    num_images: int = 40
    """Generated images per user and seed."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the generated images."""
    guidance_scale: float = 1.5
    """Guidance of the generated images."""
    judge_train_images: int = 12_000
    """Images that each judge sees in training."""


def main(config: Config) -> None:
    results: dict[str, Any] = {}
    # Written after each pair, so that an interruption loses one training at most.
    for stage in config.first_stages:
        for conditioning in config.conditionings:
            name = f"{stage.name}, {conditioning}"
            folder = config.output_dir / stage.name / conditioning
            facts = train(config, stage, conditioning, folder)
            scores = judge(config, stage, folder)
            results[name] = {key: facts[key] for key in ("parameters", "seconds", "validation")} | scores
            config.output_dir.mkdir(parents=True, exist_ok=True)
            (config.output_dir / "conditioning.json").write_text(json.dumps(results | provenance(), indent=1))
    print("\n".join(table(results)))


def train(
    config: Config, stage: Path, conditioning: Literal["embedding", "cross-attention"], folder: Path
) -> dict[str, Any]:
    preset = train_ldm.PRESETS["cpu"]
    run = replace(
        preset.run,
        output_dir=folder,
        max_train_images=config.train_images,
        validation_every=config.train_images // 10,
        early_stopping_patience=0,
        resume_from_checkpoint="latest",
    )
    settings = replace(
        preset,
        data=DataConfig(data=config.data),
        run=run,
        first_stage=stage,
        conditioning=conditioning,
        block_out_channels=config.block_out_channels,
    )
    train_ldm.main(settings)
    return json.loads((folder / FACTS).read_text())


def judge(config: Config, stage: Path, folder: Path) -> dict[str, Any]:
    generated = [folder / f"generated-{seed}" for seed in config.seeds]
    for seed, output in zip(config.seeds, generated, strict=True):
        settings = generate.Config(
            pipeline=str(folder / PIPELINE),
            output_dir=output,
            num_images=config.num_images,
            seed=seed,
            guidance_scale=config.guidance_scale,
        )
        generate.main(settings)
    scoring = score_generated.Config(
        data=config.data,
        split_file=stage / SPLIT,
        generated_dir=tuple(generated),
        output=folder / score_generated.SCORES,
        judge_seeds=config.seeds,
        judge_train_images=config.judge_train_images,
    )
    score_generated.main(scoring)
    return {"scores": json.loads((folder / score_generated.SCORES).read_text())["scores"]}


def table(results: dict[str, Any]) -> list[str]:
    """The scores as a Markdown table, with those of real images in the last column."""
    lines = [f"| | {' | '.join(results)} | real in its place |", "|---" * (len(results) + 2) + "|"]
    for score in SHOWN:
        entries = [result["scores"][score] for result in results.values()]
        cells = " | ".join(_cell(entry) for entry in entries)
        lines.append(f"| {LABELS[score]} | {cells} | {entries[0]['floor']:.3f} |")
    return lines


def _cell(entry: dict[str, Any]) -> str:
    ends = "" if entry["low"] is None else f" ({entry['low']:.3f} to {entry['high']:.3f})"
    return f"{entry['mean']:.3f}{ends}"


if __name__ == "__main__":
    main(tyro.cli(Config))
