"""Parts of gpu.py: speed of matrix products, and of generation at several batch sizes, plain and compiled."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from gpu_config import PEAK, Config, Part, generation_name
from torch.utils.flop_counter import FlopCounterMode
from untrained import noise_data, untrained_pipeline

SETTINGS = ("device", "preset", "resolution", "users", "steps", "repeats")


def generation_parts(config: Config) -> tuple[list[Part], list[Part]]:
    """The peak and the plain generations, and the compiled ones, which come last because compiling takes long."""
    speed = [Part(name=PEAK, run=partial(matrix_products, config), usual_s=15, settings=("device", "repeats"))]
    compiled: list[Part] = []
    for size in config.batch_sizes:
        run = partial(generation, config, size)
        speed.append(Part(name=generation_name(size, False), run=partial(run, False), usual_s=15, settings=SETTINGS))
        compiled.append(Part(name=generation_name(size, True), run=partial(run, True), usual_s=100, settings=SETTINGS))
    # The largest batch says most about a compiled model.
    return speed, compiled[::-1] if config.compiled else []


def matrix_products(config: Config) -> dict[str, Any]:
    """Speed of large square matrix products in bfloat16: the peak that shares refer to."""
    side = 8192 if config.device == "cuda" else 256
    a, b = (torch.randn(side, side, device=config.device).bfloat16() for _ in range(2))
    seconds = min(timings(lambda: a @ b, config))
    return {"tflop_per_s": 2 * side**3 / seconds / 1e12, "side": side}


@torch.no_grad()
def generation(config: Config, batch_size: int, compiled: bool) -> dict[str, Any]:
    """Images per second of the whole pipeline, and of its networks alone, in bfloat16 without guidance."""
    pipeline: Any = untrained_pipeline(config.preset, noise_data(config.resolution, config.users, config.users))
    pipeline.to(config.device, torch.bfloat16)
    begin_s = time.perf_counter()
    if compiled:
        pipeline.unet.compile()
        pipeline.vqvae.decoder.compile()

    def whole() -> None:
        pipeline(
            users=[0],
            num_images_per_user=batch_size,
            num_inference_steps=config.steps,
            guidance_scale=1.0,
            batch_size=batch_size,
            output_type="pt",
        )

    networks = network_calls(pipeline, config, batch_size)
    whole()  # compiles
    networks()
    synchronize(config)
    start_s = time.perf_counter() - begin_s
    whole_s, networks_s = (statistics.median(timings(call, config)) for call in (whole, networks))
    return {
        "batch_size": batch_size,
        "images_per_s": batch_size / whole_s,
        "networks_images_per_s": batch_size / networks_s,
        "tflop_per_image": tflop_per_image(config),
        "first_call_s": start_s,
    }


def network_calls(pipeline: Any, config: Config, batch_size: int) -> Callable[[], None]:
    """Call of the networks of a generation alone: the denoiser once per step, then the decoder."""
    unet, vqvae = pipeline.unet, pipeline.vqvae
    shape = batch_size, unet.config["in_channels"], *(2 * [unet.config["sample_size"]])
    if not isinstance(unet.config["sample_size"], int):
        shape = batch_size, unet.config["in_channels"], *unet.config["sample_size"]
    latents = torch.randn(shape, device=config.device, dtype=torch.bfloat16)
    users = torch.zeros(batch_size, dtype=torch.int64, device=config.device)
    timesteps = torch.full((batch_size,), 500, device=config.device)

    @torch.no_grad()
    def call() -> None:
        for _ in range(config.steps):
            unet(latents, timesteps, users)
        vqvae.decode(latents)

    return call


def tflop_per_image(config: Config) -> float:
    """Operations of convolutions, matrix products and attentions per image, in 1e12, counted on one image."""
    pipeline: Any = untrained_pipeline(config.preset, noise_data(config.resolution, config.users, config.users))
    pipeline.to(config.device, torch.bfloat16)
    counter = FlopCounterMode(display=False)
    with counter:
        network_calls(pipeline, config, 1)()
    return counter.get_total_flops() / 1e12


def timings(call: Callable[[], Any], config: Config) -> list[float]:
    """Seconds of each of `config.repeats` calls, after one that warms up."""
    call()
    seconds = []
    for _ in range(config.repeats):
        synchronize(config)
        begin_s = time.perf_counter()
        call()
        synchronize(config)
        seconds.append(time.perf_counter() - begin_s)
    return seconds


def synchronize(config: Config) -> None:
    """Wait for the GPU."""
    if config.device == "cuda":
        torch.cuda.synchronize()
