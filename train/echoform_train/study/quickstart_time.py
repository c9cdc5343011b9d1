"""How long `echoform quickstart` will take on this machine: a few steps of each kind of its work, multiplied."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from accelerate.utils import parse_flag_from_env
from torch import Tensor

from echoform_train.engine.parallel import usable_cores
from echoform_train.engine.precision import autocast_dtype
from echoform_train.engine.resolution import sides_of
from echoform_train.engine.time_left import duration
from echoform_train.latent_diffusion.latents import PipelineFacts
from echoform_train.radar.simulated_walks import simulated_walks
from echoform_train.radar.simulation import cut_windows, record
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.scoring.judge import train_judge
from echoform_train.scoring.two_sample import TRAIN_IMAGES, two_sample_auc
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae

REPEATS = 3
"""Timed repetitions of each step, after one that warms up; the fastest counts."""
GENERATED_AT_ONCE = 32
"""Batch size of the process that generates, see without_echoform.py."""
VALIDATED = 1.15
"""Time of a whole training divided by that of its steps: validations, checkpoints, samples and the export."""
FIXED_S = 15.0
"""Imports, the start of the process that generates, reading of images, and the page."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a quickstart computes, in images."""

    recordings: int
    """Simulated recordings; 0 for images that are there already."""
    first_stage: int
    """Images that the first stage sees in training; 0 if it is taken as it is, or there is none."""
    denoiser: int
    """Images that the denoiser sees in training."""
    generated: int
    """Images to generate."""
    steps: int
    """Passes of the denoiser per generated image."""
    judges: int
    """Judges to train."""
    judge_images: int
    """Images that each judge sees in training."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds of one unit of each kind of work on this machine, as busy as it is now."""

    recording_s: float
    """One simulated recording."""
    first_stage_s: float
    """One image of the training of the first stage; 0 without one."""
    denoiser_s: float
    """One image of the training of the denoiser."""
    pass_s: float
    """One pass of the denoiser for one image to generate."""
    decoding_s: float
    """Decoding of one generated image."""
    judge_s: float
    """One image of the training of a judge."""
    texture_s: float
    """One image of the training of a network that looks at texture."""

    def seconds(self, work: Work) -> float:
        """Time of a whole quickstart."""
        trainings = work.first_stage * self.first_stage_s + work.denoiser * self.denoiser_s
        generation = work.generated * (work.steps * self.pass_s + self.decoding_s)
        # One judge of real images and one of generated ones per sampling seed, which share one floor of the texture.
        texture = (work.judges // 2 + 1) * min(TRAIN_IMAGES, work.judge_images)
        judging = work.judges * work.judge_images * self.judge_s + texture * self.texture_s
        return FIXED_S + work.recordings * self.recording_s + VALIDATED * trainings + generation + judging


def time_line(speed: Speed, work: Work, from_scratch: Work | None) -> str:
    """A line for the terminal: how long it takes, and how long `--from-scratch` does where that is something else."""
    line = f"On this machine, as busy as it is now, this takes about {duration(speed.seconds(work))}"
    return line if from_scratch is None else f"{line} (with --from-scratch {duration(speed.seconds(from_scratch))})"


def measure(
    simulation: SimulationConfig, vq_vae: train_vq_vae.Config | None, ldm: train_ldm.Config, users: int
) -> Speed:
    """Time a few steps of each kind of work, which takes some seconds; no state of random numbers changes.

    Args:
        simulation: Settings of the simulation.
        vq_vae: Settings of the first stage; None without one.
        ldm: Settings of the denoiser.
        users: Number of people.
    """
    height, width = sides_of(simulation.resolution)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # The device that accelerate chooses; its own state must not be made before a training makes it.
        on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
        device = torch.device("cpu" if on_cpu else "cuda")
        walk = simulated_walks(1, 1, simulation.conditions, simulation.route)[0]
        recording_s = _seconds(lambda: list(cut_windows(simulation, record(simulation, walk))), repeats=1)
        first_stage_s = decoding_s = 0.0
        shape = (ldm.block_size**2, height // ldm.block_size, width // ldm.block_size)
        if vq_vae is not None:
            first_stage_s, decoding_s, shape = _time_first_stage(vq_vae, device, (height, width))
        denoiser_s, pass_s = _time_denoiser(ldm, device, shape, users)
        judge_s, texture_s = _time_judges(height, width)
    return Speed(
        recording_s=recording_s / (simulation.workers or usable_cores()),
        first_stage_s=first_stage_s,
        denoiser_s=denoiser_s,
        pass_s=pass_s,
        decoding_s=decoding_s,
        judge_s=judge_s,
        texture_s=texture_s,
    )


def _seconds(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Shortest time of a call, after one call that warms up."""
    call()
    found = math.inf
    for _ in range(repeats):
        start_s = time.perf_counter()
        call()
        found = min(found, time.perf_counter() - start_s)
    return found


def _time_first_stage(
    config: train_vq_vae.Config, device: torch.device, sides: tuple[int, int]
) -> tuple[float, float, tuple[int, int, int]]:
    """Seconds per image of a training step and of decoding, and the shape of the latents."""
    vqvae: Any = train_vq_vae.build_model(config, 1)
    vqvae.to(device)
    optimizer = torch.optim.AdamW(vqvae.parameters(), lr=1e-6)
    images = torch.rand(config.run.train_batch_size, 1, *sides, device=device) * 2 - 1
    with torch.no_grad():
        latents = vqvae.encode(images).latents

    def decode() -> Tensor:
        return vqvae.decode(latents, force_not_quantize=True).sample

    def step() -> None:
        with _autocast(device):
            loss = F.l1_loss(vqvae.decode(vqvae.encode(images).latents, force_not_quantize=True).sample, images)
        _descend(loss, optimizer)

    count = len(images)
    with torch.no_grad():
        decoding_s = _seconds(decode, repeats=1) / count
    _, depth, height, width = latents.shape
    return _seconds(step) / count, decoding_s, (depth, height, width)


def _time_denoiser(
    config: train_ldm.Config, device: torch.device, shape: tuple[int, int, int], users: int
) -> tuple[float, float]:
    """Seconds per image of a training step, and of one pass when images are generated."""
    facts: PipelineFacts = {
        "id2label": {str(index): f"ID_{index}" for index in range(users)},
        "condition_labels": {},
        "latent_mean": {},
        "latent_std": {},
        "colormap": None,
        "axes": None,
    }
    unet: Any = train_ldm.build_unet(config, shape, facts)
    unet.to(device)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-6)

    def run(count: int) -> Tensor:
        noisy = torch.randn(count, *shape, device=device)
        levels = torch.full((count,), 500, device=device)
        return unet(noisy, levels, torch.zeros_like(levels)).sample

    def step() -> None:
        with _autocast(device):
            loss = run(config.run.train_batch_size).square().mean()
        _descend(loss, optimizer)

    @torch.no_grad()
    def generate() -> None:
        with _autocast(device):
            run(GENERATED_AT_ONCE)

    return _seconds(step) / config.run.train_batch_size, _seconds(generate) / GENERATED_AT_ONCE


def _autocast(device: torch.device) -> torch.autocast:
    dtype = autocast_dtype(device)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _time_judges(height: int, width: int) -> tuple[float, float]:
    """Seconds per image of the trainings of a judge and of a network that looks at texture."""
    pixels, users = torch.randint(256, (64, 1, height, width), dtype=torch.uint8), torch.arange(64) % 2
    seen = 192
    judge_s = _seconds(lambda: train_judge(pixels, users, 2, seed=0, train_images=seen), repeats=1)
    few = pixels[:8]
    texture_s = _seconds(lambda: two_sample_auc((pixels, pixels), (few, few), seed=0, train_images=seen), repeats=1)
    return judge_s / seen, texture_s / seen
