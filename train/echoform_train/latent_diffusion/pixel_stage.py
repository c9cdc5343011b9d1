"""`--first-stage none`: the pixels themselves as latents, as cosine coefficients of blocks, with nothing to train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echoform.block_dct import BlockDCT
from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.data.config import data_facts
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.errors import UserError
from echoform_train.engine.resolution import Halving, resolution_of
from echoform_train.latent_diffusion.first_stage import FirstStage, latent_shape
from echoform_train.publishing.cards.first_stage import FirstStageTraining
from echoform_train.publishing.exported import load_pipeline

NO_FIRST_STAGE = "none"
"""Value of `--first-stage`, and kind of the first stage in facts.json."""

_LEAST_FLOOR, _MOST_BELOW = 0.1, 0.05
"""Smallest share of pixels at the floor, and largest share below it."""


def pixel_halving(block_size: int, levels: int) -> Halving:
    """What height and width of the images must be multiples of, for a denoiser of so many levels."""
    divisor = block_size * 2 ** (levels - 1)
    return Halving(
        divisor, f"blocks of {block_size} pixels (--block-size) and {levels} levels of the denoiser", divisor
    )


def pixel_stage(data: SpectrogramData, block_size: int, initial_pipeline: Path | None) -> FirstStage:
    """The exact first stage for these spectrograms.

    Args:
        data: The spectrograms, whose training part tells the floor.
        block_size: Side of a block, pixels.
        initial_pipeline: Exported pipeline whose first stage is taken instead; None for a new one.

    Raises:
        FileNotFoundError: If the folder holds no pipeline.
        UserError: If its first stage is another one, or has other blocks or channels.
    """
    channels = data.train.pixels.shape[1]
    if initial_pipeline is None:
        model = BlockDCT(channels, block_size, floor=echo_floor(data.train.pixels))
    else:
        model = load_pipeline(initial_pipeline, VQLDMDopplerPipeline).vqvae
        theirs = model.config.get("block_size"), model.config["in_channels"]
        if theirs != (block_size, channels):
            raise UserError(
                f"--initial-pipeline must have blocks of {block_size} pixels with --first-stage none, and {channels} "
                f"channels, {initial_pipeline} has {'a first stage' if theirs[0] is None else theirs}"
            )
    facts = data_facts(data)
    training: FirstStageTraining = {
        "kind": NO_FIRST_STAGE,
        "latent_shape": list(latent_shape(model, channels, resolution_of(*data.train.pixels.shape[-2:]))),
        "validation": {},
        "data": facts,  # pyright: ignore[reportAssignmentType]
        "command": None,
        "commit": None,
        "versions": {},
        "machine": "",
        "seconds": 0.0,
        "images_seen": 0,
        "parameters": 0,
    }
    return FirstStage(None, model, dict(training))


def echo_floor(pixels: Tensor) -> float | None:
    """Value in model range that pixels without any echo have, where the receiver or the software cut off the noise.

    Args:
        pixels: uint8 [N, C, H, W].

    Returns:
        The most common level, in [-1, 1], if a tenth of all pixels have it and hardly any lies below; else None. None
        too for images in colour.
    """
    if pixels.shape[1] != 1:
        return None
    counts = torch.bincount(pixels.flatten().int(), minlength=256).numpy()
    level, total = int(counts.argmax()), counts.sum()
    if counts[level] < _LEAST_FLOOR * total or counts[:level].sum() > _MOST_BELOW * total:
        return None
    return float(np.float32(level / 127.5 - 1))
