"""Images to the cosine coefficients of their blocks and back: a first stage that is exact and has nothing to learn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from torch import Tensor, nn

LARGEST_BLOCK = 32


@dataclass
class BlockDCTEncoderOutput(BaseOutput):
    """Encoded images."""

    latents: Tensor
    """float [B, in_channels * block_size**2, H / block_size, W / block_size]."""


@dataclass
class BlockDCTDecoderOutput(BaseOutput):
    """Decoded images."""

    sample: Tensor
    """float [B, in_channels, H, W]."""


class BlockDCT(ModelMixin, ConfigMixin):
    """Orthonormal two-dimensional cosine transform (DCT-II) of square blocks, as in JPEG.

    Blocks become the pixels of the latents, and the coefficients of a block their channels. A diffusion model of these
    latents is one of the pixels themselves. When each channel is standardised, fine texture, of which natural spectra
    have little, is learned with as much weight as coarse shape, and appears at the same noise levels.

    Args:
        in_channels: Channels of the images.
        block_size: Side of a block, pixels.

    Raises:
        ValueError: If an argument is out of range.
    """

    @register_to_config
    def __init__(self, in_channels: int = 1, block_size: int = 4) -> None:
        super().__init__()
        for name, value, most in (("in_channels", in_channels, 4), ("block_size", block_size, LARGEST_BLOCK)):
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{name} must be in 1..{most}, got {value!r}")
        # Facts that users of any first stage read from its config.
        self.register_to_config(out_channels=in_channels, latent_channels=in_channels * block_size**2)
        positions = torch.arange(block_size, dtype=torch.float64)
        waves = torch.cos(math.pi / block_size * (positions + 0.5) * positions[:, None])  # [frequency, position]
        waves *= torch.where(positions == 0, 1.0, math.sqrt(2))[:, None] / math.sqrt(block_size)
        basis = torch.einsum("ux,vy->uvxy", waves, waves).flatten(0, 1)[:, None]  # [frequencies, 1, block, block]
        self.basis = nn.Parameter(basis.float().repeat(in_channels, 1, 1, 1), requires_grad=False)

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        latents = F.conv2d(x, self.basis, stride=self.config["block_size"], groups=self.config["in_channels"])
        return BlockDCTEncoderOutput(latents=latents) if return_dict else (latents,)

    def decode(self, z: Tensor, return_dict: bool = True) -> Any:
        sample = F.conv_transpose2d(z, self.basis, stride=self.config["block_size"], groups=self.config["in_channels"])
        return BlockDCTDecoderOutput(sample=sample) if return_dict else (sample,)
