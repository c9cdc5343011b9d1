"""Settings of trainings that take seconds, and fresh processes to run them in."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from echoform_train.data.config import DataConfig
from echoform_train.depth.config import DepthDataConfig
from echoform_train.engine.config import RunConfig
from echoform_train.trainers import depth_ae as train_depth_ae
from echoform_train.trainers import kl_vae as train_kl_vae
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae


def tiny_run(output_dir: Path, **settings: Any) -> RunConfig:
    """A run of a few seconds: 24 optimizer steps of 8 images."""
    defaults: dict[str, Any] = {
        "max_train_images": 192,
        "train_batch_size": 8,
        "lr_warmup_steps": 4,
        "learning_rate": 2e-3,
        "mixed_precision": "no",
        "validation_every": 48,
        "checkpointing_every": 48,
        "checkpoints_total_limit": 10,
        "logging_every": 8,
        "early_stopping_patience": 0,
        "report_to": "none",
    }
    return RunConfig(output_dir=output_dir, **(defaults | settings))


def tiny_vq_vae(data: Path, output_dir: Path, **settings: Any) -> train_vq_vae.Config:
    """f4, 8x8 latents of 4 channels, 16 codes."""
    config = train_vq_vae.Config(
        data=DataConfig(data=str(data)),
        run=tiny_run(output_dir),
        block_out_channels=(8, 16, 16),
        mid_block_attention=False,
        num_vq_embeddings=16,
        quantize_after=64,
    )
    return replace(config, **settings)


def tiny_kl_vae(data: Path, output_dir: Path, **settings: Any) -> train_kl_vae.Config:
    """f4, 8x8 latents of 4 channels, averages that follow within some steps."""
    config = train_kl_vae.Config(
        data=DataConfig(data=str(data)),
        run=tiny_run(output_dir),
        block_out_channels=(8, 16, 16),
        mid_block_attention=False,
        ema_decay=0.8,
    )
    return replace(config, **settings)


def tiny_ldm(data: Path, first_stage: Literal["none"] | Path, output_dir: Path, **settings: Any) -> train_ldm.Config:
    """Two levels, window attention above axial."""
    config = train_ldm.Config(
        data=DataConfig(data=str(data)),
        first_stage=first_stage,
        run=tiny_run(output_dir),
        block_out_channels=(16, 32),
        attention_types=("window", "axial"),
        num_attention_heads=4,
        layers_per_block=1,
        window_size=4,
        sample_every=192,
    )
    return replace(config, **settings)


def write_depth_images(folder: Path, images_a_class: int = 40, side: int = 32) -> None:
    """Balls and boxes before a slanted wall, uint16 millimetres, as frames of two videos; a corner has no reading."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side
    for label in ("ball", "box"):
        (folder / label).mkdir(parents=True)
        for number in range(images_a_class):
            depth_mm = 1500 + 300 * columns + 100 * rng.random()
            row, column = rng.uniform(0.3, 0.7, 2)
            reach = np.stack([rows - row, columns - column])
            far = np.hypot(*reach) if label == "ball" else np.abs(reach).max(0)
            depth_mm[far < 0.25] = 800 + 200 * rng.random()
            depth_mm[(rows + columns) < rng.uniform(0.2, 0.5)] = 0
            Image.fromarray(depth_mm.astype(np.uint16)).save(folder / label / f"depth_{label}_{number:04d}.png")


def tiny_depth_ae(data: Path, output_dir: Path, **settings: Any) -> train_depth_ae.Config:
    """32x32 pixels to 16 numbers, a residual block a stage."""
    config = train_depth_ae.Config(
        data=DepthDataConfig(data=str(data), resolution=32, validation_share=0.2, gap_images=1),
        run=tiny_run(output_dir),
        latent_dim=16,
        block_out_channels=(8, 16, 16, 32),
        layers_per_block=(1, 1, 1, 1),
        num_attention_heads=2,
        sample_every=192,
    )
    return replace(config, **settings)


def train_tiny(kind: str, data: Path, first_stage: Path, output_dir: Path, *, batch_size: int) -> None:
    """Twelve optimizer steps of a stage, without dropout, whose noise depends on the process."""
    run = tiny_run(output_dir, max_train_images=96, train_batch_size=batch_size, validation_every=48)
    if kind == "ldm":
        train_ldm.main(tiny_ldm(data, first_stage, output_dir, run=run, dropout=0.0))
    elif kind == "kl-vae":
        train_kl_vae.main(tiny_kl_vae(data, output_dir, run=run))
    else:
        train_vq_vae.main(tiny_vq_vae(data, output_dir, run=run))


def run_python(arguments: list[str]) -> None:
    """Run `python ARGUMENTS` on the CPU with one thread and the tests importable; its errors fail the test."""
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_processes(count: int, arguments: list[str]) -> None:
    """Run a script on `count` processes; `accelerate launch --cpu` needs MPI for more than one, torchrun does not."""
    run_python(["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", *arguments])
