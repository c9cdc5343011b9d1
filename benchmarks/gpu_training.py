"""Parts of gpu.py: both stages trained on simulated people, and the images that they generate, judged."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from gpu_config import DATA, DENOISER, FIRST_STAGE, JUDGED, Config, Part
from gpu_people import simulated_people

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.data.config import DataConfig
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.files import FACTS, PIPELINE
from echoform_train.engine.training_result import TrainingResult
from echoform_train.latent_diffusion.first_stage import load_first_stage
from echoform_train.scoring.generated import score_generated
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae

PEOPLE = ("device", "resolution", "users", "recordings_per_user", "recording_s")
FIRST = (*PEOPLE, "preset", "stage_s", "first_stage_images", "trial_steps")
SECOND = (*FIRST, "denoiser_images")
VALIDATIONS = 5
Train = Callable[[int, Path, int], TrainingResult]
"""Trains for a number of images into a folder, with a number of validations."""


def training_parts(config: Config) -> list[Part]:
    """The people, both trainings and the verdict."""
    first, second = config.work_dir / "first-stage", config.work_dir / "denoiser"
    usual_s = config.stage_s + 30
    return [
        Part(name=DATA, run=partial(simulation, config), usual_s=40, settings=PEOPLE),
        Part(
            name=FIRST_STAGE,
            run=partial(first_stage, config, first),
            usual_s=usual_s,
            settings=FIRST,
            makes=first / FACTS,
        ),
        Part(
            name=DENOISER,
            run=partial(denoiser, config, first, second),
            usual_s=usual_s,
            settings=SECOND,
            makes=second / PIPELINE,
            needs=(FIRST_STAGE,),
        ),
        Part(
            name=JUDGED,
            run=partial(judged, config, second / PIPELINE),
            usual_s=60,
            settings=(*SECOND, "steps", "judge_images"),
            needs=(DENOISER,),
        ),
    ]


@lru_cache(maxsize=1)
def people(config: Config) -> SpectrogramData:
    """The simulated people, made once per process."""
    return simulated_people(config)


def simulation(config: Config) -> dict[str, Any]:
    """Images per second of the simulator, all cores together."""
    begin_s = time.perf_counter()
    data = people(config)
    count = len(data.train) + len(data.validation) + len(data.test)
    return {"images": count, "images_per_s": count / (time.perf_counter() - begin_s), "train_images": len(data.train)}


def first_stage(config: Config, folder: Path) -> dict[str, Any]:
    """Train the VQ-VAE of the preset, without LPIPS, whose weights would have to be downloaded."""
    preset = replace(train_vq_vae.PRESETS[config.preset], lpips_weight=0.0)

    def train(images: int, output_dir: Path, validations: int) -> TrainingResult:
        settings = settings_of(preset, config, output_dir, images, validations)
        # The codebook starts after a tenth of the training.
        settings = replace(settings, quantize_after=min(10_000, images // 10))
        return train_vq_vae.train(settings, people(config))

    return timed_training(train, preset, folder, config.trial_steps, config.stage_s, config.first_stage_images)


def denoiser(config: Config, stage_folder: Path, folder: Path) -> dict[str, Any]:
    """Train the denoiser of the preset, and export the pipeline."""
    preset, stage = train_ldm.PRESETS[config.preset], load_first_stage(stage_folder)

    def train(images: int, output_dir: Path, validations: int) -> TrainingResult:
        settings = settings_of(preset, config, output_dir, images, validations)
        settings = replace(settings, first_stage=stage_folder, sample_every=images, ema_decay=0.995)
        return train_ldm.train(settings, people(config), stage)

    return timed_training(train, preset, folder, config.trial_steps, config.stage_s, config.denoiser_images)


def timed_training(
    train: Train, preset: Any, folder: Path, trial_steps: int, limit_s: float, most: int
) -> dict[str, Any]:
    """Train for as many images as fit into the time, which two short trainings tell.

    Args:
        train: Trains for a number of images into a folder, with a number of validations.
        preset: Its settings.
        folder: Output folder; what lies there is removed.
        trial_steps: Optimizer steps of the shorter of the two; the other takes three times as many.
        limit_s: Seconds.
        most: Largest number of images.
    """
    batch = preset.run.train_batch_size * preset.run.gradient_accumulation_steps
    seconds: list[float] = []
    for steps in (trial_steps, 3 * trial_steps):
        shutil.rmtree(folder, ignore_errors=True)
        begin_s = time.perf_counter()
        train(steps * batch, folder, 1)
        seconds.append(time.perf_counter() - begin_s)
    shutil.rmtree(folder, ignore_errors=True)
    # The difference holds steps alone: start, one validation and export are in both.
    step_s = max(seconds[1] - seconds[0], 1e-3) / (2 * trial_steps)
    steps = int(0.85 * max(limit_s - seconds[0], 0.0) / step_s)
    images = batch * max(3 * trial_steps, min(steps, -(-most // batch)))
    begin_s = time.perf_counter()
    result = train(images, folder, VALIDATIONS)
    return {
        "training_s": time.perf_counter() - begin_s,
        "images_seen": result.images_seen,
        "best_after": result.best_after,
        "step_images_per_s": batch / step_s,
        "validation": dict(result.metrics),
        "parameters": result.facts["parameters"],
        "precision": result.facts["precision"],
    }


def judged(config: Config, folder: Path) -> dict[str, Any]:
    """Generate as many images of each user as are held out, and score them with one pair of judges."""
    data = people(config)
    pipeline: Any = VQLDMDopplerPipeline.from_pretrained(folder)
    pipeline.to(config.device, torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    per_user = -(-len(data.test) // len(data.id2label))
    users = list(range(len(data.id2label)))
    begin_s = time.perf_counter()
    images = pipeline(
        users=users,
        num_images_per_user=per_user,
        num_inference_steps=config.steps,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        batch_size=256,
        output_type="pt",
    ).images
    generating_s = time.perf_counter() - begin_s
    pixels = (255 * torch.as_tensor(images).float().cpu()).round().to(torch.uint8)
    sample = pixels.reshape(-1, *data.train.pixels.shape[1:]), torch.tensor(users).repeat_interleave(per_user)
    scores = score_generated(data, [sample], judge_train_images=config.judge_images, device=config.device, seeds=(0,))
    return {"generated_images": len(pixels), "generating_s": generating_s, **scores}


def settings_of(preset: Any, config: Config, folder: Path, images: int, validations: int = 1) -> Any:
    """Settings of a training of a number of images, with some validations and one checkpoint at the end."""
    batch = preset.run.train_batch_size * preset.run.gradient_accumulation_steps
    run = replace(
        preset.run,
        output_dir=folder,
        max_train_images=images,
        lr_warmup_steps=min(preset.run.lr_warmup_steps, images // batch // 10),
        validation_every=max(batch, images // validations),
        checkpointing_every=images,
        early_stopping_patience=0,
        report_to="none",
    )
    return replace(preset, data=DataConfig(data=preset.preset, resolution=config.resolution), run=run)
