"""Images to the cosine coefficients of their blocks and back: a first stage that has nothing to learn."""

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
_HALF_LEVEL = 1 / 255


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

    Pixels without any echo can be marked: they are moved down by a gap, so that the small errors of a generated image
    cannot lift them above the floor again.

    Args:
        in_channels: Channels of the images.
        block_size: Side of a block, pixels.
        floor: Value of pixels without any echo, model range; what lies below becomes the floor as well. None if images
            have no such floor; then the transform is exact for every image.
        floor_gap: How far pixels at the floor are moved down, model range.
        out_channels: Follows from the others, as `latent_channels` does. Whoever uses a first stage finds both in its
            config.
        latent_channels: `in_channels * block_size**2`.

    Raises:
        ValueError: If an argument is out of range.
    """

    @register_to_config
    def __init__(
        self, in_channels: int = 1, block_size: int = 4, floor: float | None = None, floor_gap: float = 0.15,
        out_channels: int | None = None, latent_channels: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value, most in (("in_channels", in_channels, 4), ("block_size", block_size, LARGEST_BLOCK)):
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{name} must be in 1..{most}, got {value!r}")
        for name, value, least in (("floor", -1.0 if floor is None else floor, -1), ("floor_gap", floor_gap, 0)):
            if not isinstance(value, (int, float)) or not least <= value <= 1:
                raise ValueError(f"{name} must be in {least}..1, got {value!r}")
        following = {"out_channels": in_channels, "latent_channels": in_channels * block_size**2}
        for name, value in (("out_channels", out_channels), ("latent_channels", latent_channels)):
            if value not in (None, following[name]):
                raise ValueError(f"{name} must be {following[name]}, got {value!r}")
        self.register_to_config(**following)
        waves = _cosines(block_size)
        basis = torch.einsum("ux,vy->uvxy", waves, waves).flatten(0, 1)[:, None]  # [frequencies, 1, block, block]
        self.basis = nn.Parameter(basis.repeat(in_channels, 1, 1, 1), requires_grad=False)

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        """Coefficients of images, float [B, C, H, W] in [-1, 1] whose sides are multiples of the block.

        Returns:
            `BlockDCTEncoderOutput`, or (latents,) where return_dict is False.

        Raises:
            ValueError: If a side is no multiple of the block.
        """
        block, floor = self.config["block_size"], self.config["floor"]
        if any(side % block for side in x.shape[-2:]):
            raise ValueError(f"height and width must be multiples of {block}, got {tuple(x.shape[-2:])}")
        if floor is not None:
            # Levels of 8 bits are 1/127.5 apart, so that rounding does not decide.
            x = torch.where(x < floor + _HALF_LEVEL, floor - self.config["floor_gap"], x)
        latents = F.conv2d(x, self.basis, stride=block, groups=self.config["in_channels"])
        return BlockDCTEncoderOutput(latents=latents) if return_dict else (latents,)

    def decode(self, z: Tensor, return_dict: bool = True) -> Any:
        """Images of coefficients, float [B, C * block**2, h, w].

        Returns:
            `BlockDCTDecoderOutput`, or (sample,) where return_dict is False.
        """
        block, floor = self.config["block_size"], self.config["floor"]
        sample = F.conv_transpose2d(z, self.basis, stride=block, groups=self.config["in_channels"])
        if floor is not None:
            sample = sample.clamp(min=floor)
        return BlockDCTDecoderOutput(sample=sample) if return_dict else (sample,)

    def forward(self, sample: Tensor, return_dict: bool = True) -> Any:
        """Images float [B, C, H, W] in [-1, 1], encoded and decoded: the same images, with all below the floor at it.

        Returns:
            `BlockDCTDecoderOutput`, or (sample,) where return_dict is False.
        """
        return self.decode(self.encode(sample).latents, return_dict=return_dict)


def _cosines(size: int) -> Tensor:
    """The orthonormal DCT-II of `size` values, float32 [frequency, position]."""
    index = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi / size * (index + 0.5) * index[:, None])
    scale = torch.full((size, 1), math.sqrt(2 / size), dtype=torch.float64)
    scale[0] = math.sqrt(1 / size)
    return (scale * waves).float()
