"""Parts of gpu.py: the peak of memory in a training of each preset."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from gpu_config import Config, Part, Preset, memory_name
from gpu_training import settings_of
from untrained import noise_data, write_backbone

from echoform_train.latent_diffusion.first_stage import load_first_stage
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae

STEPS = 2
USERS = 4


def memory_parts(config: Config) -> list[Part]:
    """One part per preset and stage."""
    settings = ("device", "resolution")
    return [
        Part(name=memory_name(preset, stage), run=partial(run, config, preset), usual_s=20, settings=settings)
        for preset in config.memory_presets
        for stage, run in (("first stage", first_stage_memory), ("denoiser", denoiser_memory))
    ]


def first_stage_memory(config: Config, preset: Preset) -> dict[str, Any]:
    """Peak of two optimizer steps of a first stage, its validation and checkpoint; with LPIPS where it is installed."""
    settings = train_vq_vae.PRESETS[preset]
    with_lpips = settings.lpips_weight > 0 and find_spec("lpips") is not None
    settings = settings if with_lpips else replace(settings, lpips_weight=0.0)
    with tempfile.TemporaryDirectory() as folder, random_backbone(Path(folder) / "torch"):
        measured = _peak_of_first_stage(config, settings, Path(folder) / "run")
    return {**measured, "batch_size": settings.run.train_batch_size, "lpips": with_lpips}


def denoiser_memory(config: Config, preset: Preset) -> dict[str, Any]:
    """Peak of two optimizer steps of a denoiser, with validation, sample sheet and checkpoint."""
    stage, settings = train_vq_vae.PRESETS[preset], train_ldm.PRESETS[preset]
    with tempfile.TemporaryDirectory() as folder:
        stage_folder = Path(folder) / "stage"
        _peak_of_first_stage(config, replace(stage, lpips_weight=0.0), stage_folder)
        images = STEPS * settings.run.train_batch_size * settings.run.gradient_accumulation_steps
        run = settings_of(settings, config, Path(folder) / "run", images)
        run = replace(run, first_stage=stage_folder, sample_every=images)
        _reset_peak()
        train_ldm.train(run, noise_data(config.resolution, USERS, 64), load_first_stage(stage_folder))
        return {**_peak(), "batch_size": settings.run.train_batch_size}


def _peak_of_first_stage(config: Config, settings: train_vq_vae.Config, folder: Path) -> dict[str, Any]:
    images = STEPS * settings.run.train_batch_size * settings.run.gradient_accumulation_steps
    run = replace(settings_of(settings, config, folder, images), quantize_after=images // 2)
    data = noise_data(config.resolution, USERS, 64)
    _reset_peak()
    train_vq_vae.train(run, data)
    return _peak()


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak() -> dict[str, Any]:
    """Largest memory since `_reset_peak`: in tensors, and held by torch; None without a GPU."""
    if not torch.cuda.is_available():
        return {"peak_gib": None, "reserved_gib": None}
    return {
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
        "reserved_gib": torch.cuda.max_memory_reserved() / 2**30,
    }


@contextmanager
def random_backbone(torch_home: Path) -> Iterator[None]:
    """LPIPS finds a backbone of random weights, which costs what the real one does."""
    before = os.environ.get("TORCH_HOME")
    write_backbone(torch_home)
    os.environ["TORCH_HOME"] = str(torch_home)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TORCH_HOME"]
        else:
            os.environ["TORCH_HOME"] = before
