"""Copies of few real images for a generator to learn from: what the same people could have been recorded as.

A generator makes what it sees. So a copy whose roll shows where it was closed says so in a condition (as Karras et al.,
NeurIPS 2022, appendix F.2, tell a denoiser how an image was augmented), and the finished generator makes none of those.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, to_pixels
from echoform_train.engine.files import FACTS
from echoform_train.publishing.export import export_pipeline
from echoform_train.study.classifiers.augmentations import Strips, time_roll

ROLLED = "rolled"
"""The condition that says whether an image shows where its roll was closed."""
ROLLED_LABELS = {0: "no", 1: "yes"}

# Milder than what classifiers train with: what a generator sees here, it makes.
GAIN_DEVIATION = 0.05
OFFSET_DEVIATION = 0.02
ROLLED_SHARE = 0.5
"""Share of the copies of an image that are rolled although that shows."""


def learning_material(
    data: SpectrogramData,
    images: Spectrograms,
    copies: int,
    window_s: float | None,
    *,
    validation: Spectrograms,
    seed: int,
) -> SpectrogramData:
    """What a generator is trained on: `data` with copies of `images` in place of its training images.

    Args:
        data: What the images are from.
        images: The images to copy.
        copies: Versions of each.
        window_s: Seconds in one image, None where it is unknown.
        validation: Images to validate on, as they are.
        seed: Of the copies.

    Raises:
        ValueError: If the data have a condition "rolled" of their own.
    """
    if ROLLED in data.condition_labels:
        raise ValueError(f"a condition must not be called {ROLLED}: generators are told by it which copies are rolled")
    return replace(
        data,
        train=make_copies(images, copies, window_s, seed),
        validation=_labelled(validation, torch.zeros(len(validation), dtype=torch.int64)),
        condition_labels=data.condition_labels | {ROLLED: ROLLED_LABELS},
    )


def make_copies(images: Spectrograms, copies: int, window_s: float | None, seed: int) -> Spectrograms:
    """Each image in `copies` versions: itself first, then others with another start, gain and noise floor.

    Windows of `images` that overlap are stitched, and cut anew at other starts. A window that goes on at its beginning
    where it ends is rolled, as it can have begun at any column; of the others, every second one is rolled and says so.

    Returns:
        The versions, with the further condition "rolled": 1 of images that show where they were closed.
    """
    generator = torch.Generator().manual_seed(seed)
    strips = Strips(images, window_s, full_size=True)
    pixels, rolled = [images.pixels], [torch.zeros(len(images), dtype=torch.int64)]
    for _ in range(copies - 1):
        for places in torch.arange(len(images)).split(256):
            window = strips.crop(places, generator)
            seamless = closes(window)
            shows = ~seamless & (torch.rand(len(window), generator=generator) < ROLLED_SHARE)
            turned = time_roll(window, generator)
            window = torch.where((seamless | shows)[:, None, None, None], turned, window)
            pixels.append(to_pixels(_vary(window, generator)))
            rolled.append(shows.long())
    versions = images.select(torch.arange(len(images)).repeat(copies))
    return _labelled(replace(versions, pixels=torch.cat(pixels)), torch.cat(rolled))


def closes(image: Tensor) -> Tensor:
    """Whether the first column follows the last no less smoothly than columns follow one another somewhere inside.

    Args:
        image: [B, C, H, W].

    Returns:
        bool [B].
    """
    inside = (image[..., 1:] - image[..., :-1]).abs().mean(dim=(1, 2)).amax(dim=-1)
    return (image[..., 0] - image[..., -1]).abs().mean(dim=(1, 2)) <= inside


def export_unrolled(source: Path, folder: Path) -> Path:
    """Export a pipeline that was trained on copies once more to `folder`, as one that makes images that are not rolled.

    The label "no" becomes part of every user's embedding, and the condition is gone.

    Returns:
        `folder`.
    """
    pipeline = VQLDMDopplerPipeline.from_pretrained(source)
    unet: DopplerUNet2DModel = pipeline.unet
    names = sorted(unet.null_conditions)
    tables = {name: table.state_dict()["weight"] for name, table in zip(names, unet.condition_embeddings, strict=True)}
    not_rolled = tables.pop(ROLLED)[0]
    weights = {name: weight for name, weight in unet.state_dict().items() if not name.startswith("condition_embedd")}
    weights["user_embedding.weight"] = weights["user_embedding.weight"] + not_rolled
    weights |= {f"condition_embeddings.{place}.weight": table for place, table in enumerate(tables.values())}
    conditions = {name: values for name, values in unet.null_conditions.items() if name != ROLLED}
    settled = cast(DopplerUNet2DModel, DopplerUNet2DModel.from_config({**unet.config, "conditions": conditions}))
    settled.load_state_dict(weights)
    labels = {name: labels for name, labels in pipeline.config["condition_labels"].items() if name != ROLLED}
    pipeline.register_modules(unet=settled.eval())
    pipeline.register_to_config(condition_labels=labels)
    facts = json.loads((source / FACTS).read_text())
    del facts["data"]["conditions"][ROLLED]
    facts["parameters"] = sum(weight.numel() for weight in settled.parameters())
    export_pipeline(pipeline, facts, folder)
    return folder


def _vary(image: Tensor, generator: torch.Generator) -> Tensor:
    gain, offset = torch.randn(2, len(image), 1, 1, 1, generator=generator)
    height = (image + 1) * (1 + GAIN_DEVIATION * gain)
    return (height - 1 + OFFSET_DEVIATION * offset).clamp(-1, 1)


def _labelled(images: Spectrograms, rolled: Tensor) -> Spectrograms:
    return replace(images, conditions=images.conditions | {ROLLED: rolled})
