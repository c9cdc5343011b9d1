"""Depth images to a few hundred numbers and back: the encoder alone, and with its decoder."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

PATCH = 4  # side of the squares of pixels that the stem folds into channels
LIMITS: dict[str, Sequence[float]] = {
    "sample_size": (1, 2048), "latent_dim": (1, 8192), "block_out_channels": [1, 4096], "layers_per_block": [1, 32],
    "num_attention_heads": (1, 256), "norm_num_groups": (1, 1024), "dropout": (0.0, 1.0),
}  # fmt: skip
"""Lowest and highest value of each number among the settings; see `check_limits`."""


@dataclass
class DepthDecoderOutput(BaseOutput):
    """A decoded depth image."""

    depth: Tensor
    """float [B, C, H, W], in [-1, 1] except for overshoot; without meaning where there is no reading."""
    valid_logit: Tensor
    """float [B, 1, H, W]; greater than 0 where a reading is more likely than not."""


@dataclass
class DepthAutoencoderOutput(DepthDecoderOutput):
    """A decoded depth image and the embedding that it was decoded from."""

    latents: Tensor
    """float [B, latent_dim]."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after group norm and SiLU, added to the input; at initialisation they add nothing.

    Source: identity mappings, He et al. 2016 (arXiv:1603.05027), figure 4e.
    """

    def __init__(self, channels: int, norm_num_groups: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_num_groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.norm2 = nn.GroupNorm(norm_num_groups, channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = _zeroed(nn.Conv2d(channels, channels, kernel_size=3, padding=1))

    def forward(self, grid: Tensor) -> Tensor:
        """[B, C, H, W] in and out."""
        hidden = self.conv1(F.silu(self.norm1(grid)))
        return grid + self.conv2(self.dropout(F.silu(self.norm2(hidden))))


class AttentionBlock(nn.Module):
    """Multi-head attention among all positions of a map, each with a learned embedding; it starts as the identity."""

    def __init__(self, channels: int, side: int, num_heads: int, norm_num_groups: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.GroupNorm(norm_num_groups, channels)
        self.position = nn.Parameter(0.02 * torch.randn(side * side, channels))
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.to_out = _zeroed(nn.Linear(channels, channels))

    def forward(self, grid: Tensor) -> Tensor:
        """[B, C, side, side] in and out."""
        tokens = self.norm(grid).flatten(2).transpose(1, 2) + self.position  # [B, L, C]
        qkv = self.to_qkv(tokens).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, L, D]
        attended = F.scaled_dot_product_attention(query, key, value)
        return grid + self.to_out(attended.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(2, grid.shape[2:])


class Downsample(nn.Module):
    """Halve a map: a strided convolution plus a shortcut that folds 2x2 positions into channels and averages them.

    Source: deep compression autoencoders, Chen et al. 2024 (arXiv:2410.10733), section 3.2, also for `Upsample`.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1)

    def forward(self, grid: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H/2, W/2]."""
        shortcut = F.pixel_unshuffle(grid, 2).unflatten(1, (self.out_channels, -1)).mean(dim=2)
        return self.conv(grid) + shortcut


class Upsample(nn.Module):
    """Double a map: a convolution that writes 2x2 positions at once plus a shortcut that repeats channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.repeats = 4 * out_channels // in_channels
        self.conv = nn.Conv2d(in_channels, 4 * out_channels, kernel_size=3, padding=1)

    def forward(self, grid: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, 2H, 2W]."""
        return F.pixel_shuffle(self.conv(grid) + grid.repeat_interleave(self.repeats, dim=1), 2)


class UNetDecoder(nn.Module):
    """Decode maps of four stages to an image, at first 0: each is doubled, added to the next finer one, and refined.

    Source: the U-Net, Ronneberger et al. 2015 (arXiv:1505.04597), figure 1, which concatenates instead of adding.
    """

    def __init__(self, config: Mapping[str, Any], out_channels: int) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        widths = config["block_out_channels"]
        self.ups = nn.ModuleList(nn.ConvTranspose2d(wider, wide, 2, stride=2) for wide, wider in pairwise(widths))
        self.stages = nn.ModuleList(_stages(config, count=3))
        self.conv_out = _zeroed(nn.Conv2d(widths[0], out_channels * PATCH**2, kernel_size=3, padding=1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [B, C, H, W], the finest first and each half of the one before, to [B, out_channels, 4H, 4W]."""
        grid = maps[-1]
        for level in reversed(range(len(self.ups))):
            grid = _run(self, self.stages[level], self.ups[level](grid) + maps[level])
        return F.pixel_shuffle(self.conv_out(grid), PATCH)


class SelfContainedModel(ModelMixin, ConfigMixin):
    """A model whose folder holds its code, so that diffusers' `AutoModel` loads it where echoform is not installed."""

    _supports_gradient_checkpointing = True
    _no_split_modules = _repeated_blocks = ("ResidualBlock", "AttentionBlock")
    _skip_layerwise_casting_patterns = ("norm",)

    def save_config(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Write config.json together with the code file that it names for diffusers' `AutoModel`."""
        super().save_config(save_directory, *args, **kwargs)
        stem = copy_code(Path(str(sys.modules[type(self).__module__].__file__)), Path(save_directory))
        path = Path(save_directory, self.config_name)
        config = json.loads(path.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)  # a path of this machine
        config["auto_map"] = {"AutoModel": f"{stem}.{type(self).__name__}"}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def extract_init_dict(cls, config_dict: Any, **kwargs: Any) -> Any:
        """Leave out auto_map, which only `AutoModel` reads and diffusers would warn about."""
        return super().extract_init_dict({k: v for k, v in config_dict.items() if k != "auto_map"}, **kwargs)

    # Copied from echoform.unet_doppler.DopplerUNet2DModel.from_pretrained
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """Load all weights, as diffusers does; raises ValueError if any is missing, unknown, NaN or infinite."""
        if kwargs.get("use_safetensors") is False:
            raise ValueError("use_safetensors must not be turned off, got False")
        with_info = kwargs.pop("output_loading_info", False)
        kwargs |= {"use_safetensors": True, "output_loading_info": True}
        try:
            checks: Any = import_module("echoform.loading").refusing_damage
        except ModuleNotFoundError:  # what travels works without echoform
            checks = nullcontext
        with checks(pretrained_model_name_or_path):
            model, info = loaded = cast(Any, super().from_pretrained(pretrained_model_name_or_path, **kwargs))
        if bad := sorted({*info["missing_keys"], *info["unexpected_keys"]}):
            raise ValueError(f"{cls.__name__} must get its own weights, {len(bad)} are missing or unknown: {bad[0]}")
        check_weights(model)
        return loaded if with_info else model

    # Copied from echoform.self_contained.SelfContainedPipeline.save_pretrained
    def save_pretrained(self, save_directory: Any, **settings: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write a folder that loads without echoform; settings are those of diffusers and of `push_to_hub`."""
        if not settings.pop("safe_serialization", True):
            raise ValueError("weights are written as safetensors alone, got safe_serialization=False")
        push = settings.pop("push_to_hub", False)
        super().save_pretrained(save_directory, **settings)
        if push:
            self.push_to_hub(**({"repo_id": Path(save_directory).resolve().name} | settings))

    vars(save_pretrained)["__wrapped__"] = ModelMixin.save_pretrained  # a pipeline gives settings that this names

    # Copied from echoform.self_contained.SelfContainedPipeline.push_to_hub
    def push_to_hub(self, repo_id: str, **settings: Any) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Upload in one commit, by `echoform.hub.push_model` (see its arguments) or, without echoform, by diffusers."""
        try:
            hub = import_module("echoform.hub")
        except ModuleNotFoundError:
            return super().push_to_hub(repo_id, **settings)
        return hub.push_model(self, repo_id, **settings)


class DepthEncoder(SelfContainedModel):
    """Depth image to an embedding: `stem`, four stages `layer1` ... `layer4`, and a head.

    There are two bottlenecks. With "map" the embedding is a small learned map of 1/16 of the image's resolution, to
    which `layer4` adds features of a coarser map. With "cosine" it is the first coefficients of the image's
    cosine transform; stages and head are a U-Net that prepares the image, whose holes are filled, for the transform. A
    last linear map, which the decoder inverts, balances the dimensions. Settings that do not fit raise ValueError.

    Args:
        sample_size: Side of the square images, in pixels; divisible by 32.
        input_channels: 1, or 3 for depth that comes as an image of three channels.
        latent_dim: Numbers of the embedding; a multiple of (sample_size / 16)^2 for "map", at most one per pixel and
            channel for "cosine".
        block_out_channels: Width of each stage, at 1/4 to 1/32 of the side; 4 times each is a multiple of the next.
        layers_per_block: Residual blocks of each stage; with "cosine" also of its mirror in the head.
        attention: Which stages attend.
        num_attention_heads: Number of heads (not their size) of every attention.
        norm_num_groups: Groups of every group norm; must divide all of block_out_channels.
        dropout: Share of features dropped inside residual blocks in training.
        bottleneck: "map" or "cosine".
        depth_range_mm: Depth that becomes -1 and +1, millimetres, as {"min": 300.0, "max": 5000.0}. This and what
            follows describe the sensor; inside a pipeline they have no values, because the pipeline has them.
        units_per_mm: The sensor's units per millimetre.
        invalid_values: Units that mean no reading besides 0, with their meaning, as {"65535": "saturated"}.
        float_unit, encoding, resize_rule: How images become units of the model's size, see `DepthAutoencoderPipeline`.
    """

    centre: Tensor
    mix: Tensor

    @register_to_config
    def __init__(
        self, *, sample_size: int = 128, input_channels: int = 1, latent_dim: int = 768,
        block_out_channels: tuple[int, ...] = (32, 64, 128, 256), layers_per_block: tuple[int, ...] = (1, 1, 1, 1),
        attention: tuple[bool, ...] = (False, True, True, False), num_attention_heads: int = 4,
        norm_num_groups: int = 8, dropout: float = 0.0, bottleneck: str = "map",
        depth_range_mm: dict[str, float] | None = None, units_per_mm: float | None = None,
        invalid_values: dict[str, str] | None = None, float_unit: str | None = None, encoding: str = "linear",
        resize_rule: str = "half",
    ) -> None:  # fmt: skip
        super().__init__()
        _check_config(self.config)
        self.gradient_checkpointing = False
        self.stem = nn.Conv2d((input_channels + 1) * PATCH**2, block_out_channels[0], kernel_size=3, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = _down_stages(self.config)
        self.up: Any = None
        self.norm_out: Any = None
        if bottleneck == "map":
            self.up = Upsample(block_out_channels[3], block_out_channels[2])
            self.norm_out = nn.GroupNorm(norm_num_groups, block_out_channels[2])
            self.head = nn.Conv2d(block_out_channels[2], latent_dim // (sample_size // 16) ** 2, kernel_size=1)
        else:
            self.head = UNetDecoder(self.config, input_channels)
        self.register_buffer("centre", torch.zeros(latent_dim))
        self.register_buffer("mix", torch.eye(latent_dim))

    @apply_forward_hook
    def encode(self, depth: Tensor, valid: Tensor | None = None) -> Tensor:
        """Embed depth images: float [B, latent_dim]; raises ValueError if the shapes do not fit the model.

        Args:
            depth: float [B, input_channels, H, W] in [-1, 1]; values where `valid` is 0 do not matter.
            valid: [B, 1, H, W], 1 or True where there is a reading; None if there is one everywhere.
        """
        return self.embed(self.features(depth, valid))

    def features(self, depth: Tensor, valid: Tensor | None = None) -> Tensor:
        """Features that the embedding is computed from; arguments as in `encode`.

        With "map" they are maps, float [B, width, H/16, W/16]; with "cosine" the prepared image, float32 [B, C, H, W].
        """
        depth, valid = self._checked(depth, valid)
        if self.config["bottleneck"] == "map":
            maps = _stage_maps(self, torch.cat([depth, valid], dim=1))
            return maps[2] + self.up(maps[3])
        whole = filled(depth, valid)
        return whole + self.head(_stage_maps(self, torch.cat([whole.to(valid.dtype), valid], dim=1))).float()

    def embed(self, features: Tensor) -> Tensor:
        """Embedding of what `features` gave, float [B, latent_dim]."""
        if self.config["bottleneck"] == "map":
            numbers = self.head(F.silu(self.norm_out(features))).flatten(1)
        else:
            numbers = to_cosines(features, self.config["latent_dim"])
        return _exactly_linear(numbers - self.centre, self.mix)

    forward = encode

    def readings(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Arguments of `encode` from units [B, C, H, W] of any dtype of 16 bits.

        Units of 0, outside `depth_range_mm` or in `invalid_values` are no reading; a pixel has one if each channel has.
        Raises ValueError if the sensor is unknown, or there are readings, but none in range.
        """
        span_mm, per_mm = self.config["depth_range_mm"], self.config["units_per_mm"]
        if span_mm is None or per_mm is None:
            raise ValueError(f"units need depth_range_mm and units_per_mm of the config, got {span_mm} and {per_mm}")
        units = units.to(torch.float32)
        for value in self.config["invalid_values"] or {}:
            units = torch.where(units == float(value), 0.0, units)
        low, high = units_between(span_mm["min"], span_mm["max"], per_mm)
        valid = ((units >= low) & (units <= high)).all(dim=1, keepdim=True)
        if units.any() and not valid.any():
            raise ValueError(f"units must have readings in {low}..{high}, of {span_mm} mm, got up to {units.max():g}")
        return torch.where(valid, (units - low) * (2 / (high - low)) - 1, 0.0), valid

    def _checked(self, depth: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Depth with 0 where there is no reading; and the mask of readings in the dtype of depth."""
        channels, size = self.config["input_channels"], self.config["sample_size"]
        if not depth.is_floating_point():
            raise ValueError(f"depth must be floating point in [-1, 1], got {depth.dtype}; see `readings` for units")
        if tuple(depth.shape[1:]) != (channels, size, size):
            raise ValueError(f"depth must be [B, {channels}, {size}, {size}], got {list(depth.shape)}")
        if valid is None:
            return depth, torch.ones_like(depth[:, :1])
        if valid.shape != (depth.shape[0], 1, size, size):
            raise ValueError(f"valid must be [{len(depth)}, 1, {size}, {size}], got {list(valid.shape)}")
        valid = valid.to(depth.dtype)
        return torch.where(valid > 0, depth, 0), valid


class DepthDecoder(nn.Module):
    """Base of the decoders, which make depth [B, C, H, W] and the logit of a reading [B, 1, H, W] of embeddings."""

    centre: Tensor
    unmix: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        self.register_buffer("centre", torch.zeros(config["latent_dim"]))
        self.register_buffer("unmix", torch.eye(config["latent_dim"]))

    def numbers(self, latents: Tensor) -> Tensor:
        """Invert the last linear map of the encoder; float [B, latent_dim] in and out."""
        return _exactly_linear(latents, self.unmix) + self.centre


class MapDecoder(DepthDecoder):
    """Decoder for the bottleneck "map": the encoder in reverse."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        widths, self.side = config["block_out_channels"], config["sample_size"] // 16
        self.head = nn.Conv2d(config["latent_dim"] // self.side**2, widths[2], kernel_size=3, padding=1)
        stages = _stages(config)
        self.layer4 = nn.Sequential(Downsample(widths[2], widths[3]), *stages[3], Upsample(widths[3], widths[2]))
        self.layer3 = nn.Sequential(*stages[2], Upsample(widths[2], widths[1]))
        self.layer2 = nn.Sequential(*stages[1], Upsample(widths[1], widths[0]))
        self.layer1 = stages[0]
        self.norm_out = nn.GroupNorm(config["norm_num_groups"], widths[0])
        self.conv_out = nn.Conv2d(widths[0], (config["input_channels"] + 1) * PATCH**2, kernel_size=3, padding=1)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and logit of embeddings, float [B, latent_dim]."""
        grid = self.head(self.numbers(latents).unflatten(1, (-1, self.side, self.side)))
        grid = grid + _run(self, self.layer4, grid)
        for stage in (self.layer3, self.layer2, self.layer1):
            grid = _run(self, stage, grid)
        image = F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(grid))), PATCH)  # [B, C + 1, H, W]
        return image[:, :-1], image[:, -1:]


class CosineDecoder(DepthDecoder):
    """Decoder for the bottleneck "cosine": the inverse transform plus a U-Net, which adds 0 at initialisation."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        channels = config["input_channels"]
        self.image_shape = (channels, config["sample_size"])
        self.stem = nn.Conv2d(channels * PATCH**2, config["block_out_channels"][0], kernel_size=3, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = _down_stages(config)
        self.head = UNetDecoder(config, channels + 1)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and logit of embeddings, float [B, latent_dim]."""
        smooth = from_cosines(self.numbers(latents), *self.image_shape)
        added = self.head(_stage_maps(self, smooth.to(self.unmix.dtype))).float()
        return (smooth + added[:, :-1]).to(self.unmix.dtype), added[:, -1:].to(self.unmix.dtype)


class DepthAutoencoder(SelfContainedModel):
    """Depth image [B, C, H, W] and where it has readings, to `latent_dim` numbers and back.

    `encoder` is a `DepthEncoder`, which documents the other arguments; `decoder` mirrors it.

    Args:
        decoder_block_out_channels: Width of each stage of the decoder, finest first; None mirrors the encoder.
        decoder_layers_per_block: Residual blocks of each stage of the decoder; None mirrors the encoder.
    """

    @register_to_config
    def __init__(
        self, *, sample_size: int = 128, input_channels: int = 1, latent_dim: int = 768,
        block_out_channels: tuple[int, ...] = (32, 64, 128, 256), layers_per_block: tuple[int, ...] = (1, 1, 1, 1),
        attention: tuple[bool, ...] = (False, True, True, False),
        decoder_block_out_channels: tuple[int, ...] | None = None,
        decoder_layers_per_block: tuple[int, ...] | None = None, num_attention_heads: int = 4,
        norm_num_groups: int = 8, dropout: float = 0.0, bottleneck: str = "map",
    ) -> None:  # fmt: skip
        super().__init__()
        config = {name: value for name, value in self.config.items() if not name.startswith(("_", "decoder_"))}
        self.encoder = DepthEncoder(**config)
        config["block_out_channels"] = decoder_block_out_channels or block_out_channels
        config["layers_per_block"] = decoder_layers_per_block or layers_per_block
        _check_config(config)
        self.decoder = MapDecoder(config) if bottleneck == "map" else CosineDecoder(config)

    @apply_forward_hook
    def encode(self, depth: Tensor, valid: Tensor | None = None) -> Tensor:
        """Embed depth images; see `DepthEncoder.encode`."""
        return self.encoder.encode(depth, valid)

    @apply_forward_hook
    def decode(self, latents: Tensor) -> DepthDecoderOutput:
        """Decode embeddings, float [B, latent_dim], to depth and the logit of a reading."""
        return DepthDecoderOutput(*self.decoder(latents))

    def forward(self, depth: Tensor, valid: Tensor | None = None, return_dict: bool = True) -> Any:
        """`DepthAutoencoderOutput`, or (depth, valid_logit, latents); see `DepthEncoder.encode` for depth and valid."""
        latents = self.encode(depth, valid)
        output = DepthAutoencoderOutput(**self.decode(latents), latents=latents)
        return output if return_dict else output.to_tuple()


def to_cosines(images: Tensor, count: int) -> Tensor:
    """The first `count` coefficients of images' cosine transform, scaled to similar sizes.

    The transform is the orthonormal DCT-II of images [B, C, side, side]. Coefficients, float32 [B, count], come in the
    zigzag order of JPEG, several channels in turn. Each is multiplied by sqrt(1 + row + column) / side, because else
    the first, the mean of the image, would dominate distances, and noise on all numbers would exceed the last.

    Source: Ahmed, Natarajan and Rao 1974, "Discrete cosine transform"; ITU-T T.81, figure A.6, for the order.
    """
    channels, side = images.shape[1:3]
    with torch.autocast(images.device.type, enabled=False):
        rows, columns, factors, basis = _first_coefficients(side, math.ceil(count / channels), images.device)
        spectrum = basis @ images.float() @ basis.T  # [B, C, extent, extent]
    return (spectrum[:, :, rows, columns] * factors).transpose(1, 2).flatten(1)[:, :count]


def from_cosines(numbers: Tensor, channels: int, side: int) -> Tensor:
    """Images float32 [B, channels, side, side] from numbers of `to_cosines` [B, count]; missing coefficients are 0."""
    frequencies = math.ceil(numbers.shape[1] / channels)
    padded = F.pad(numbers.float(), (0, frequencies * channels - numbers.shape[1]))
    with torch.autocast(numbers.device.type, enabled=False):
        rows, columns, factors, basis = _first_coefficients(side, frequencies, numbers.device)
        spectrum = padded.new_zeros(len(numbers), channels, len(basis), len(basis))
        spectrum[:, :, rows, columns] = padded.unflatten(1, (frequencies, channels)).transpose(1, 2) / factors
        return basis.T @ spectrum @ basis


def filled(depth: Tensor, valid: Tensor) -> Tensor:
    """Depth [B, C, H, H] with its holes filled from the nearest readings around them.

    `valid` [B, 1, H, H] is 1 where there is a reading, else 0 like depth. An image without any is 0; returns float32.

    Source: pull-push, Gortler et al. 1996, "The lumigraph", section 3.4.2, with weights of 0 and 1.
    """
    # Pull: means over the readings of ever larger squares, down to one pixel.
    levels = [(depth.float(), valid.float())]
    while (side := levels[-1][0].shape[-1]) > 1:
        factor = 2 if side % 2 == 0 else side
        known = F.avg_pool2d(levels[-1][1], factor)
        mean = F.avg_pool2d(levels[-1][0] * levels[-1][1], factor) / torch.where(known > 0, known, 1)
        levels.append((mean, (known > 0).float()))
    # Push: back to full size, taking the coarser level where the finer one has no reading.
    image = levels.pop()[0]
    for finer, known in reversed(levels):
        image = torch.where(known > 0, finer, F.interpolate(image, size=finer.shape[2:], mode="bilinear"))
    return image


def _first_coefficients(side: int, count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows, columns and factors of the first coefficients in zigzag order, and an orthonormal DCT-II [extent, side]."""
    extent = min(side, math.ceil((math.sqrt(8 * count + 1) - 1) / 2))  # of the smallest square that holds them
    positions = torch.arange(extent**2, device=device)
    rows, columns = positions // extent, positions % extent
    diagonal = rows + columns
    order = torch.argsort(diagonal * extent + torch.where(diagonal % 2 == 1, rows, columns))[:count]
    # Computed at each call, so that it stays float32 in a model of another type.
    frequency, pixel = torch.arange(extent, device=device)[:, None], torch.arange(side, device=device)
    turns = frequency * (2 * pixel + 1) % (4 * side)  # in whole numbers, so that large angles are exact
    basis = torch.where(frequency > 0, math.sqrt(2 / side) * torch.cos(math.pi / (2 * side) * turns), side**-0.5)
    return rows[order], columns[order], (1 + diagonal[order]).sqrt() / side, basis


def _check_config(config: Mapping[str, Any]) -> None:
    check_limits(config, LIMITS)
    with suppress(ModuleNotFoundError):  # without echoform nobody builds models, and only their sizes are bounded
        import_module("echoform.checks").check_depth_encoder(config)


def _stages(config: Mapping[str, Any], count: int = 4) -> list[nn.Sequential]:
    """The finest stages: residual blocks, each followed by attention if its stage attends."""
    stages, heads, groups = [], config["num_attention_heads"], config["norm_num_groups"]
    for stage, width in enumerate(config["block_out_channels"][:count]):
        blocks: list[nn.Module] = []
        for _ in range(config["layers_per_block"][stage]):
            blocks.append(ResidualBlock(width, groups, config["dropout"]))
            if config["attention"][stage]:
                blocks.append(AttentionBlock(width, config["sample_size"] // PATCH >> stage, heads, groups))
        stages.append(nn.Sequential(*blocks))
    return stages


def _down_stages(config: Mapping[str, Any]) -> list[nn.Module]:
    """The four stages of the way down; each but the first begins with a halving."""
    stages = _stages(config)
    downs = [Downsample(wide, wider) for wide, wider in pairwise(config["block_out_channels"])]
    return [stages[0], *(nn.Sequential(down, *stage) for down, stage in zip(downs, stages[1:], strict=True))]


def _stage_maps(model: Any, image: Tensor) -> list[Tensor]:
    """Maps that the four stages of a model compute from an image [B, C, H, W], the finest first."""
    maps = [_run(model, model.layer1, model.stem(F.pixel_unshuffle(image, PATCH)))]
    for stage in (model.layer2, model.layer3, model.layer4):
        maps.append(_run(model, stage, maps[-1]))
    return maps


def _run(model: Any, stage: nn.Module, grid: Tensor) -> Tensor:
    if torch.is_grad_enabled() and model.gradient_checkpointing:
        return model._gradient_checkpointing_func(stage, grid)
    return stage(grid)


def _exactly_linear(vectors: Tensor, matrix: Tensor) -> Tensor:
    # In half precision, this map and its inverse would lose more accuracy than the rest of the model.
    with torch.autocast(vectors.device.type, enabled=False):
        return vectors.to(matrix.dtype) @ matrix


def _zeroed(layer: Any) -> Any:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


# Copied from echoform.depth_units.units_between
def units_between(low_mm: float, high_mm: float, units_per_mm: float) -> tuple[int, int]:
    """First and last whole unit of a range, at least 1; the tolerance makes products such as 10 * 0.1 mm whole."""
    return max(math.ceil(low_mm * units_per_mm - 1e-6), 1), math.floor(high_mm * units_per_mm + 1e-6)


# Copied from echoform.model_checks.check_limits
def check_limits(settings: Mapping[str, Any], limits: Mapping[str, Sequence[float]]) -> None:
    """Raise ValueError unless every setting that `limits` names is a number from its lowest to its highest value.

    Limits that are whole are for whole numbers, and limits in a list are for lists of 1 to 16 numbers.
    """
    for name, (low, high) in limits.items():
        value, several = settings[name], isinstance(limits[name], list)
        items: Any = value if several else [value]
        whole, kind = ("whole ", int) if isinstance(low, int) else ("", (int, float))
        counted = isinstance(items, (list, tuple)) and 1 <= len(items) <= 16
        if not counted or not all(isinstance(n, kind) and not isinstance(n, bool) and low <= n <= high for n in items):
            what = f"1 to 16 {whole}numbers" if several else f"a {whole}number"
            raise ValueError(f"{name} must be {what} in {low}..{high}, got {value!r:.80}")


# Copied from echoform.model_checks.check_weights
def check_weights(model: nn.Module) -> None:
    """Raise ValueError if weights of a model are missing, NaN or infinite; reads each of them once."""
    offloaded = any(hasattr(module, "_hf_hook") for module in model.modules())
    for name, value in model.state_dict().items():
        if value.is_meta and not offloaded:
            raise ValueError(f"weights of {type(model).__name__} must be complete, {name} is missing")
        # One byte per number has no isfinite.
        if not value.is_meta and not (value.float() if value.element_size() == 1 else value).isfinite().all():
            raise ValueError(f"weights of {type(model).__name__} must be finite, {name} holds NaN or inf")


# Copied from echoform.code_files.copy_code
def copy_code(code: Path, folder: Path, content: bytes | None = None) -> str:
    """Copy a code file to a folder in place of its other versions; returns its new name, which ends in a hash."""
    folder.mkdir(parents=True, exist_ok=True)
    content, plain = content or code.read_bytes(), re.sub(r"_[0-9a-f]{8}\Z", "", code.stem)
    for other in folder.glob(f"{plain}*.py"):
        if re.fullmatch(f"{plain}(_[0-9a-f]{{8}})?", other.stem) and not other.samefile(code):
            other.unlink()
    name = f"{plain}_{hashlib.sha256(content).hexdigest()[:8]}"
    (folder / f"{name}.py").write_bytes(content)
    return name
