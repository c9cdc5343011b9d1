"""Convolutional autoencoders and pipelines that are small, and folders of pictures for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from echoform import ConvAutoencoder, ConvAutoencoderPipeline
from echoform_train.data.image_config import ImageDataConfig
from echoform_train.trainers import conv_ae as train_conv_ae
from tiny import tiny_run


def tiny_conv_autoencoder(**settings: Any) -> ConvAutoencoder:
    """16x16 pixels to 12 maps of 4x4, random weights; the statistics of batch norm are of random pictures."""
    torch.manual_seed(0)
    defaults: dict[str, Any] = {"sample_size": 16, "block_out_channels": (8, 12), "layers_per_block": (2, 3)}
    model = ConvAutoencoder(**(defaults | settings))
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.rand(4, model.config["in_channels"], 16, 16))
    return model.eval()


def tiny_conv_pipeline(**settings: Any) -> ConvAutoencoderPipeline:
    facts = {name: settings.pop(name) for name in ("latent_mean", "latent_std") if name in settings}
    pipeline = ConvAutoencoderPipeline(tiny_conv_autoencoder(**settings), **facts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write_pictures(folder: Path, count: int = 40, side: int = 36, channels: int = 3) -> None:
    """Blurred blobs of random colours on a slope, in two folders, as PNG."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side
    for number in range(count):
        place = rng.uniform(0.25, 0.75, 2)
        blob = np.exp(-((rows - place[0]) ** 2 + (columns - place[1]) ** 2) / 0.02)
        colour, ground = rng.uniform(0, 1, (2, 3))
        picture = ground * (0.5 + 0.5 * columns[..., None]) + blob[..., None] * (colour - ground)
        pixels = (255 * picture.clip(0, 1)).round().astype(np.uint8)
        path = folder / ("ab"[number % 2]) / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(path)


def tiny_conv_ae(source: Path, output_dir: Path, **settings: Any) -> train_conv_ae.Config:
    """16x16 pixels, two levels, 24 steps."""
    defaults: dict[str, Any] = {
        "data": ImageDataConfig(data=str(source), resolution=16),
        "run": tiny_run(output_dir),
        "backbone": "vgg13",
        "levels": 2,
        "width_factor": 0.125,
        "sample_every": 192,
    }
    return train_conv_ae.Config(**(defaults | settings))
