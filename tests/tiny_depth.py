"""Depth models and pipelines that are small, and one that is perfect."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from echoform import DepthAutoencoder, DepthAutoencoderPipeline
from echoform.depth_autoencoder import DepthDecoderOutput


class PerfectAutoencoder(ModelMixin, ConfigMixin):
    """Its embedding is the image, so that every error is that of the pipeline; `shift` is added to what it decodes."""

    @register_to_config
    def __init__(self, sample_size: int = 32, shift: float = 0.0, input_channels: int = 1) -> None:
        super().__init__()
        self.register_to_config(latent_dim=2 * sample_size**2)
        self.offset = torch.nn.Parameter(torch.tensor(shift))

    def encode(self, depth: Tensor, valid: Tensor) -> Tensor:
        return torch.cat([depth, valid], dim=1).flatten(1)

    def decode(self, latents: Tensor) -> DepthDecoderOutput:
        side = self.config["sample_size"]
        depth, valid = latents.unflatten(1, (2, side, side)).split(1, dim=1)
        return DepthDecoderOutput(depth=depth + self.offset, valid_logit=valid - 0.5)


def tiny_autoencoder(**settings: Any) -> DepthAutoencoder:
    """32x32 pixels to 16 numbers, random weights."""
    torch.manual_seed(0)
    defaults: dict[str, Any] = {
        "sample_size": 32,
        "latent_dim": 16,
        "block_out_channels": (8, 8, 16, 16),
        "num_attention_heads": 2,
        "norm_num_groups": 4,
    }
    return DepthAutoencoder(**(defaults | settings)).eval()


def tiny_depth_pipeline(autoencoder: Any = None, **settings: Any) -> DepthAutoencoderPipeline:
    """Sensor units are millimetres in 300..5000 unless told otherwise."""
    defaults: dict[str, Any] = {"depth_range_mm": {"min": 300.0, "max": 5000.0}}
    return DepthAutoencoderPipeline(autoencoder or tiny_autoencoder(), **(defaults | settings))
