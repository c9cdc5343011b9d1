"""Two ways of telling the denoiser the user, compared: added to the time step's embedding, or by cross-attention.

    python benchmarks/conditioning.py DATA OUTPUT_DIR --first-stages runs/vq runs/kl [--output JSON] ...

For each first stage and each way, a second stage is trained on the same images in the same order. Its pipeline
generates images of each user with several seeds, and they are scored against the test part as by `echoform score
generated`. Started again, it continues where it stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro
from record import print_tables, write_results
from scores_table import scores_table
from tables import RESULTS

from echoform_train.commands import generate, score_generated
from echoform_train.data.config import DataConfig
from echoform_train.engine.files import FACTS, PIPELINE, SPLIT
from echoform_train.engine.json_files import read_json_object
from echoform_train.trainers import ldm as train_ldm

SHOWN = ("gan_test", "gan_test_ratio", "gan_train", "gan_train_ratio", "frechet", "precision", "recall", "memorised")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train, generate and score."""

    data: tyro.conf.Positional[str]
    """Folder of spectrograms."""
    output_dir: tyro.conf.Positional[Path]
    """Folder for the trainings and the images."""
    output: Path = RESULTS / "conditioning.json"
    """JSON file to write."""
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
            tables = {"scores": scores_table({name: result["scores"] for name, result in results.items()}, SHOWN)}
            write_results(config, {"results": results}, tables)
            print_tables(tables)


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
    return read_json_object(folder / FACTS)


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
    return {"scores": read_json_object(folder / score_generated.SCORES)["scores"]}


if __name__ == "__main__":
    main(tyro.cli(Config))
