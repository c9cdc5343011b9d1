"""Settings of the training of a first stage with a codebook, and their presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from echoform_train.engine.limits import Channels, Decay, LengthOrZero, Limits, Weight
from echoform_train.latent_diffusion.first_stage_config import FirstStageConfig, make_presets


@dataclass(frozen=True, kw_only=True)
class Config(FirstStageConfig):
    """Train the VQ-VAE that turns spectrograms into small latents."""

    vq_embed_dim: Channels = 4
    """Numbers per code."""
    num_vq_embeddings: Annotated[int, Limits(2, 2**20)] = 256
    """Codes in the codebook."""

    quantize: bool = True
    """--no-quantize trains the same network without its codebook, to measure the loss of quality by quantisation."""
    quantize_after: LengthOrZero = 10_000
    """Images seen before the codebook starts from k-means; until then the network trains without it. The codebook of
    --initial-model is in use from the first image."""
    codebook_decay: Decay = 0.99
    """Decay of the codebook's moving averages at each optimizer step."""
    commitment_weight: Weight = 0.25
    """Weight of the distance between latents and their codes."""


PRESETS = make_presets(Config, quantize_after=8_000)
