"""Training images of a generator: copies of few real images, varied like other recordings of the same users.

Some copies are rolled in time and then show a seam, where the last column does not continue in the first. The
condition "rolled" marks them, so that the generator can be asked for images without a seam; compare the augmentation
labels of Karras et al. (NeurIPS 2022, appendix F.2). The exported generator makes only images without a seam.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, to_pixels
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import FACTS
from echoform_train.engine.json_files import read_json_object
from echoform_train.publishing.export import export_pipeline
from echoform_train.scoring.augmentations import time_roll
from echoform_train.study.classifiers.recropping import Strips

ROLLED = "rolled"
"""The condition that marks images in which the seam of a roll is visible."""
ROLLED_LABELS = {0: "no", 1: "yes"}

# Milder than the augmentation of classifiers, because a generator reproduces its training images.
GAIN_DEVIATION = 0.05
OFFSET_DEVIATION = 0.02
ROLLED_SHARE = 0.5
"""Share of the copies that are rolled, for images that show a seam when rolled."""


def with_training_copies(
    data: SpectrogramData,
    images: Spectrograms,
    copies: int,
    window_s: float | None,
    *,
    validation: Spectrograms,
    seed: int,
) -> SpectrogramData:
    """The data that a generator is trained on: copies of `images` for training, and the condition "rolled".

    Args:
        data: The data that `images` are from.
        images: Images to copy.
        copies: Versions of each image.
        window_s: Length of one image, seconds; None if it is unknown.
        validation: Images to validate on, which are used unchanged.
        seed: Seed of the copies.

    Raises:
        ValueError: If the data already have a condition "rolled".
    """
    if ROLLED in data.condition_labels:
        raise UserError(f"a condition must not be called {ROLLED}: this name marks rolled copies in trainings")
    return replace(
        data,
        train=make_copies(images, copies, window_s, seed),
        validation=_marked(validation, torch.zeros(len(validation), dtype=torch.int64)),
        condition_labels=data.condition_labels | {ROLLED: ROLLED_LABELS},
    )


def make_copies(images: Spectrograms, copies: int, window_s: float | None, seed: int) -> Spectrograms:
    """Each image in `copies` versions: first the image itself, then others with another start, gain and noise floor.

    Overlapping windows are stitched and cut again at other starts. A window whose last column continues in its first is
    always rolled. Of the other windows, half are rolled and marked as "rolled".

    Returns:
        The versions, with the condition "rolled": 1 for images with a visible seam.
    """
    generator = torch.Generator().manual_seed(seed)
    strips = Strips(images, window_s, full_size=True)
    pixels, has_seam = [images.pixels], [torch.zeros(len(images), dtype=torch.int64)]
    for _ in range(copies - 1):
        for indices in torch.arange(len(images)).split(256):
            window = strips.crop(indices, generator)
            seamless = is_seamless(window)
            rolled = ~seamless & (torch.rand(len(window), generator=generator) < ROLLED_SHARE)
            window = torch.where((seamless | rolled)[:, None, None, None], time_roll(window, generator), window)
            pixels.append(to_pixels(_vary(window, generator)))
            has_seam.append(rolled.long())
    versions = images.select(torch.arange(len(images)).repeat(copies))
    return _marked(replace(versions, pixels=torch.cat(pixels)), torch.cat(has_seam))


def is_seamless(image: Tensor) -> Tensor:
    """Whether the last column differs from the first by at most the largest difference of two adjacent columns.

    Args:
        image: [B, C, H, W].

    Returns:
        bool [B].
    """
    inside = (image[..., 1:] - image[..., :-1]).abs().mean(dim=(1, 2)).amax(dim=-1)
    return (image[..., 0] - image[..., -1]).abs().mean(dim=(1, 2)) <= inside


def export_unrolled(source: Path, folder: Path) -> Path:
    """Export a copy of a pipeline trained on copies, changed so that it makes only images without a seam.

    The embedding of the label "no" is added to the embedding of every user, and the condition "rolled" is removed.

    Args:
        source: The trained pipeline.
        folder: Output folder.

    Returns:
        `folder`.
    """
    pipeline = VQLDMDopplerPipeline.from_pretrained(source)
    unet = _without_rolled(pipeline.unet)
    labels = {name: labels for name, labels in pipeline.config["condition_labels"].items() if name != ROLLED}
    pipeline.register_modules(unet=unet.eval())
    pipeline.register_to_config(condition_labels=labels)
    facts = read_json_object(source / FACTS)
    del facts["data"]["conditions"][ROLLED]
    facts["parameters"] = sum(weight.numel() for weight in unet.parameters())
    export_pipeline(pipeline, facts, folder)
    return folder


def _without_rolled(unet: DopplerUNet2DModel) -> DopplerUNet2DModel:
    """The same network with the label "no" of the condition "rolled" built into its weights."""
    # Embedding tables are numbered in the order of the condition names, so those after "rolled" get new numbers.
    names = sorted(unet.null_conditions)
    tables = {name: table.state_dict()["weight"] for name, table in zip(names, unet.condition_embeddings, strict=True)}
    not_rolled = tables.pop(ROLLED)[0]
    others = [name for name in unet.state_dict() if not name.startswith("condition_embeddings.")]
    weights = {name: unet.state_dict()[name] for name in others}
    weights["user_embedding.weight"] = weights["user_embedding.weight"] + not_rolled
    weights |= {f"condition_embeddings.{number}.weight": table for number, table in enumerate(tables.values())}
    conditions = {name: values for name, values in unet.null_conditions.items() if name != ROLLED}
    plain = cast(DopplerUNet2DModel, DopplerUNet2DModel.from_config({**unet.config, "conditions": conditions}))
    plain.load_state_dict(weights)
    return plain


def _vary(image: Tensor, generator: torch.Generator) -> Tensor:
    gain, offset = torch.randn(2, len(image), 1, 1, 1, generator=generator)
    height = (image + 1) * (1 + GAIN_DEVIATION * gain)
    return (height - 1 + OFFSET_DEVIATION * offset).clamp(-1, 1)


def _marked(images: Spectrograms, has_seam: Tensor) -> Spectrograms:
    return replace(images, conditions=images.conditions | {ROLLED: has_seam})
