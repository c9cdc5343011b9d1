"""Pictures of random latents and of walks between latents: what the decoder of a convolutional autoencoder knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import make_image_grid
from PIL import Image
from torch import Tensor

from echoform.pipeline_conv_autoencoder import ConvAutoencoderPipeline
from echoform.pipeline_vq_ldm_doppler import spherical_mix
from echoform_train.engine.files import METADATA
from echoform_train.engine.seeds import mix_seed
from echoform_train.publishing.exported import load_pipeline

RANDOM = "random.png"
WALKS = "walks.png"
COLUMNS = 8


@dataclass(frozen=True)
class Walk:
    """Latents from one place to another."""

    first: str | int
    """Name of the first picture, or seed of the first latents."""
    last: str | int
    latents: Tensor
    """float32 [steps, D, h, w]."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Decode random latents, and walks between them or between pictures, with a convolutional autoencoder.

    Every picture is decoded from latents alone: the places of the maxima, which an unpooling encoder tells its decoder,
    are the same for all.
    """

    pipeline: str
    """Folder of an exported pipeline of a convolutional autoencoder, or its id on the Hub."""
    output_dir: Path
    """New or empty folder for the pictures, metadata.jsonl, and sheets of both."""
    num_images: int = 16
    """Random latents to decode; 0 makes none."""
    walks: int = 4
    """Walks between random latents; 0 makes none. Pictures given by --images are walked between instead."""
    images: tuple[Path, ...] = ()
    """At least two pictures to walk between, from each to the next."""
    steps: int = 8
    """Pictures of a walk, with both ends."""
    seed: int = 0
    """With the same seed, random picture k is the same whatever else is asked for."""
    batch_size: int = 16
    """Images a forward pass."""
    device: str = "auto"
    """Where the model runs; auto: on the GPU, if there is one."""
    trust_remote_code: bool = False
    """Run the code of the repository instead of the installed echoform."""


def main(config: Config) -> None:
    """Write random/00000.png ..., walk-00/00000.png ..., what they are in metadata.jsonl, and random.png, walks.png."""
    _check(config)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    pipeline = load_pipeline(config.pipeline, ConvAutoencoderPipeline, trust_remote_code=config.trust_remote_code).to(
        device
    )
    pipeline.set_progress_bar_config(disable=True)
    walks = list(walks_of(pipeline, config))
    folder, rows, pictures = config.output_dir, [], []
    if config.num_images:
        seeds = [mix_seed(config.seed, index) for index in range(config.num_images)]
        latents = pipeline.prepare_latents([torch.Generator().manual_seed(seed) for seed in seeds])
        images = pipeline.decode(latents, batch_size=config.batch_size).images
        rows += _save(images, folder, "random", [{"kind": "random", "image_seed": seed} for seed in seeds])
        _save_sheet(images, COLUMNS, folder / RANDOM)
    for number, walk in enumerate(walks):
        images = pipeline.decode(walk.latents, batch_size=config.batch_size).images
        facts = [
            {"kind": "walk", "from": walk.first, "to": walk.last, "share": step / (config.steps - 1)}
            for step in range(config.steps)
        ]
        rows += _save(images, folder, f"walk-{number:02d}", facts)
        pictures += images
    if pictures:
        _save_sheet(pictures, config.steps, folder / WALKS)
    (folder / METADATA).write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(rows)} pictures of latents alone in {folder}")


def walks_of(pipeline: Any, config: Config) -> Iterator[Walk]:
    """Straight lines between pictures and feature maps; arcs between latents that are normal, whose length is alike."""
    share = torch.linspace(0, 1, config.steps)
    if config.images:
        latents = pipeline.encode(list(config.images), batch_size=config.batch_size)
        ends: list[tuple[str | int, Tensor]] = [
            (path.name, one) for path, one in zip(config.images, latents, strict=True)
        ]
        pairs = list(pairwise(ends))
    else:
        # Other seeds than those of the random pictures.
        seeds = [mix_seed(config.seed, -1, end) for end in range(2 * config.walks)]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        ends = list(zip(seeds, pipeline.prepare_latents(generators), strict=True)) if seeds else []
        pairs = list(zip(ends[::2], ends[1::2], strict=True))
    arc = not config.images and pipeline.autoencoder.config.variational
    for (first, start), (last, end) in pairs:
        if arc:
            latents = spherical_mix(start.flatten(), end.flatten(), share).unflatten(1, start.shape)
        else:
            latents = torch.lerp(start[None], end[None], share[:, None, None, None])
        yield Walk(first, last, latents)


def _save(
    images: list[Image.Image], output_dir: Path, folder: str, facts: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Write pictures to a folder of the output, and return their lines of metadata.jsonl."""
    (output_dir / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (image, told) in enumerate(zip(images, facts, strict=True)):
        name = f"{folder}/{number:05d}.png"
        image.save(output_dir / name)
        rows.append({"file_name": name, "origin": "generated", **told})
    return rows


def _save_sheet(images: list[Image.Image], columns: int, path: Path) -> None:
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    blank = Image.new(images[0].mode, images[0].size)
    make_image_grid([*images, *[blank] * (rows * columns - len(images))], rows, columns).save(path)


def _check(config: Config) -> None:
    if min(config.num_images, config.walks) < 0:
        raise ValueError(f"--num-images and --walks must not be negative, got {config.num_images} and {config.walks}")
    if not (config.num_images or config.walks or config.images):
        raise ValueError("there is nothing to decode: --num-images and --walks are 0, and there are no --images")
    if len(config.images) == 1:
        raise ValueError(f"--images must name at least two pictures to walk between, got {config.images[0]}")
    if config.steps < 2:
        raise ValueError(f"--steps must be at least 2, got {config.steps}")
    if config.output_dir.is_dir() and any(config.output_dir.iterdir()):
        raise ValueError(f"--output-dir must be new or empty, {config.output_dir} is not")
