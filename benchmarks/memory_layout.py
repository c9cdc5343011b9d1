"""How the memory layout and the number of images per call change the cost of convolutions on this machine.

    python benchmarks/memory_layout.py [--output JSON] [--preset 256] [--at-once 1 2 4 8] [--repeats 5] ...

Timed are decoding and a forward pass of the denoiser without gradients, and a forward and backward pass of the first
stage in training (in bfloat16 where that is faster), each with contiguous and with channels-last weights, for several
numbers of images per call. Weights are random, calls take turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from in_turns import measure
from record import print_tables, write_results
from tables import RESULTS, Table, cell
from torch import Tensor, nn
from untrained import noise_data, untrained_pipeline

from echoform_train.engine.precision import cpu_computes_bf16
from echoform_train.trainers import vq_vae as train_vq_vae

Layout = Literal["contiguous", "channels last"]
LAYOUTS: dict[Layout, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels last": torch.channels_last,
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to measure."""

    output: Path = RESULTS / "memory_layout.json"
    """JSON file to write."""
    preset: Literal["cpu", "6gb", "16gb", "256", "paper"] = "256"
    """Preset of both training scripts."""
    resolution: int = 256
    """Height and width, in pixels."""
    at_once: tuple[int, ...] = (1, 2, 4, 8)
    """Images per call."""
    repeats: int = 5
    """Timings of each call, after one that warms up."""
    threads: int = 1
    """Threads of torch, on a CPU."""


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    calls: dict[str, dict[str, Any]] = {}
    for at_once in config.at_once:
        makers = {
            f"{what}, {layout}": partial(make, config, LAYOUTS[layout], at_once)
            for what, make in MAKERS.items()
            for layout in LAYOUTS
        }
        for name, result in measure(makers, config.repeats).items():
            calls.setdefault(name, {})[str(at_once)] = result
        write_results(config, {"calls": calls}, {"layouts": table(calls)})
    print_tables({"layouts": table(calls)})


def decoding(dtype: torch.dtype, config: Config, layout: torch.memory_format, at_once: int) -> Callable[[], Tensor]:
    """Call that decodes latents to images, all in one batch."""
    model, latents = part("vqvae", dtype, config, layout, at_once)
    return torch.no_grad()(lambda: model.decode(latents).sample)


def denoising(dtype: torch.dtype, config: Config, layout: torch.memory_format, at_once: int) -> Callable[[], Tensor]:
    """Call of one forward pass of the denoiser."""
    model, latents = part("unet", dtype, config, layout, at_once)
    return torch.no_grad()(lambda: model(latents, 500).sample)


def part(
    name: str, dtype: torch.dtype, config: Config, layout: torch.memory_format, at_once: int
) -> tuple[Any, Tensor]:
    """A model of a pipeline with random weights, and latents for it."""
    pipeline: Any = untrained_pipeline(config.preset, noise_data(config.resolution, 4, 4))
    shape = pipeline.unet.config["in_channels"], *(2 * [pipeline.unet.config["sample_size"]])
    model = getattr(pipeline, name)
    nn.Module.to(model, DEVICE, dtype)  # in place; that of diffusers warns of every cast
    return model.to(memory_format=layout), _normal(at_once, *shape).to(dtype)


def training(config: Config, layout: torch.memory_format, at_once: int) -> Callable[[], None]:
    """Call of a forward and backward pass of the first stage, with squared error alone."""
    wrapper = train_vq_vae.QuantizedAutoencoder(train_vq_vae.build_model(train_vq_vae.PRESETS[config.preset], 1))
    nn.Module.to(wrapper, DEVICE)
    wrapper.vqvae.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    images = _normal(at_once, 1, config.resolution, config.resolution).contiguous(memory_format=layout)
    bf16 = DEVICE == "cuda" or cpu_computes_bf16()

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            reconstruction, _, _ = wrapper(images, True)
        (reconstruction.float() - images).square().mean().backward()
        wrapper.zero_grad(set_to_none=True)

    return step


MAKERS: dict[str, Callable[[Config, torch.memory_format, int], Callable[[], Any]]] = {
    "decoding, float32": partial(decoding, torch.float32),
    "decoding, bfloat16": partial(decoding, torch.bfloat16),
    "denoiser, float32": partial(denoising, torch.float32),
    "denoiser, bfloat16": partial(denoising, torch.bfloat16),
    "training of the first stage": training,
}


def table(calls: dict[str, dict[str, Any]]) -> Table:
    """Milliseconds per image, processor time on a CPU."""
    sizes = list(next(iter(calls.values())))
    clock, title = ("wall_s", "ms per image") if DEVICE == "cuda" else ("cpu_s", "CPU ms per image")
    rows = [
        [name, *(cell("{:.0f}", 1000 * result[clock] / int(size)) for size, result in results.items())]
        for name, results in calls.items()
    ]
    return {"columns": [title, *(f"{size} at once" for size in sizes)], "rows": rows}


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(DEVICE)


if __name__ == "__main__":
    main(tyro.cli(Config))
