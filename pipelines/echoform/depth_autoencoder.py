"""Depth images to a few hundred numbers and back: the encoder alone, and with its decoder."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from huggingface_hub import create_branch, create_repo, file_exists, upload_folder
from torch import Tensor, nn

PATCH = 4
"""Pixels a side of the squares that the stem folds into channels."""

SIZES: dict[str, dict[str, Any]] = {
    "small": {"block_out_channels": (32, 64, 128, 256), "layers_per_block": (1, 1, 1, 1)},
    "large": {"block_out_channels": (64, 128, 256, 512), "layers_per_block": (2, 2, 2, 2)},
}
"""Settings of `DepthAutoencoder` by name: `DepthAutoencoder(**SIZES["large"])`. "small" is the default."""

COSINE_SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "bottleneck": "cosine",
        "block_out_channels": (32, 64, 128, 256),
        "layers_per_block": (2, 2, 2, 1),
        "attention": (False, False, False, False),
    },
    "large": {
        "bottleneck": "cosine",
        "block_out_channels": (64, 128, 256, 512),
        "layers_per_block": (3, 3, 3, 2),
        "attention": (False, False, True, True),
    },
}
"""The same with the bottleneck "cosine": `DepthAutoencoder(**COSINE_SIZES["small"])`."""


@dataclass
class DepthDecoderOutput(BaseOutput):
    """A decoded depth image."""

    depth: Tensor
    """float [B, C, H, W], in [-1, 1] but for overshoot; it means nothing where there is no reading."""

    valid_logit: Tensor
    """float [B, 1, H, W]; greater than 0 where a reading is more likely than not."""


@dataclass
class DepthAutoencoderOutput(DepthDecoderOutput):
    """A decoded depth image and what it was decoded from."""

    latents: Tensor
    """float [B, latent_dim]."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after group norm and SiLU, added to what comes in; at first it adds nothing.

    Source: identity mappings, He et al. 2016 (arXiv:1603.05027), figure 4e.
    """

    def __init__(self, channels: int, norm_num_groups: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_num_groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.norm2 = nn.GroupNorm(norm_num_groups, channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, grid: Tensor) -> Tensor:
        """[B, C, H, W] in and out."""
        hidden = self.conv1(F.silu(self.norm1(grid)))
        return grid + self.conv2(self.dropout(F.silu(self.norm2(hidden))))


class AttentionBlock(nn.Module):
    """Multi-head attention among all places of a map of known size, added to what comes in; at first it adds nothing.

    Each place has a learned position, because the same surface means something else on the floor than on the ceiling.
    """

    def __init__(self, channels: int, side: int, num_heads: int, norm_num_groups: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.GroupNorm(norm_num_groups, channels)
        self.position = nn.Parameter(0.02 * torch.randn(side * side, channels))
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.to_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, grid: Tensor) -> Tensor:
        """[B, C, side, side] in and out."""
        tokens = self.norm(grid).flatten(2).transpose(1, 2) + self.position  # [B, L, C]
        qkv = self.to_qkv(tokens).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, L, D]
        attended = F.scaled_dot_product_attention(query, key, value)
        return grid + self.to_out(attended.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(2, grid.shape[2:])


class Downsample(nn.Module):
    """Halve a map: a strided convolution beside a shortcut that folds 2x2 places into channels and averages them.

    Source: deep compression autoencoders, Chen et al. 2024 (arXiv:2410.10733), section 3.2.
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
    """Double a map: a convolution that writes 2x2 places at once beside a shortcut that repeats channels.

    Source: as of `Downsample`.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.repeats = 4 * out_channels // in_channels
        self.conv = nn.Conv2d(in_channels, 4 * out_channels, kernel_size=3, padding=1)

    def forward(self, grid: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, 2H, 2W]."""
        return F.pixel_shuffle(self.conv(grid) + grid.repeat_interleave(self.repeats, dim=1), 2)


class Stage(nn.Sequential):
    """Residual blocks of one resolution, each followed by attention where the stage attends."""

    def __init__(
        self,
        channels: int,
        side: int,
        layers: int,
        attention: bool,
        num_heads: int,
        norm_num_groups: int,
        dropout: float,
    ) -> None:
        blocks: list[nn.Module] = []
        for _ in range(layers):
            blocks.append(ResidualBlock(channels, norm_num_groups, dropout))
            if attention:
                blocks.append(AttentionBlock(channels, side, num_heads, norm_num_groups))
        super().__init__(*blocks)


class Ascent(nn.Module):
    """From the maps of all four stages to an image: doubled, added to the next finer one and refined; at first 0.

    With the stages before it a U-Net, Ronneberger et al. 2015 (arXiv:1505.04597), figure 1, that adds where that one
    concatenates.
    """

    def __init__(self, stages: Sequence[Stage], widths: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        ups = [nn.ConvTranspose2d(wider, wide, kernel_size=2, stride=2) for wide, wider in pairwise(widths)]
        self.ups = nn.ModuleList(ups)
        self.stages = nn.ModuleList(stages)
        self.conv_out = nn.Conv2d(widths[0], out_channels * PATCH**2, kernel_size=3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [B, C, H, W], the finest first and each half of the one before, to [B, out_channels, 4H, 4W]."""
        grid = maps[-1]
        for level in reversed(range(len(self.ups))):
            grid = _run(self, self.stages[level], self.ups[level](grid) + maps[level])
        return F.pixel_shuffle(self.conv_out(grid), PATCH)


class TravellingModel(ModelMixin, ConfigMixin):
    """A model whose folder holds its own code, so that it loads where echoform is not installed.

    Example:
        >>> model = diffusers.AutoModel.from_pretrained("user/model", trust_remote_code=True)
    """

    _auto_class = "AutoModel"  # config.json then names file and class under auto_map
    _supports_gradient_checkpointing = True
    _no_split_modules = ("ResidualBlock", "AttentionBlock")
    _repeated_blocks = ("ResidualBlock", "AttentionBlock")
    _skip_layerwise_casting_patterns = ("norm",)

    def save_config(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Write config.json and beside it the code that it names."""
        copy_code(_code_of(self), Path(save_directory))
        super().save_config(save_directory, *args, **kwargs)

    def to_json_string(self) -> str:
        """What config.json holds."""
        config = json.loads(super().to_json_string())
        config.pop("_name_or_path", None)  # a path of this machine
        config["auto_map"] = {self._auto_class: f"{travelling_stem(_code_of(self))}.{type(self).__name__}"}
        return json.dumps(config, indent=2, sort_keys=True) + "\n"

    @classmethod
    def extract_init_dict(cls, config_dict: Any, **kwargs: Any) -> Any:
        """Leave out what only `AutoModel` reads, which diffusers would warn of."""
        return super().extract_init_dict({k: v for k, v in config_dict.items() if k != "auto_map"}, **kwargs)

    def save_pretrained(self, save_directory: Any, *args: Any, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write config.json, the code that it names, and the weights; see `ModelMixin.save_pretrained`.

        After `push_to_hub=True` may follow what `push_to_hub` takes; repo_id is the folder's name unless given.
        """
        names = ("repo_id", "commit_message", "private", "token", "create_pr", "revision")
        hub: dict[str, Any] = {name: kwargs.pop(name) for name in names if name in kwargs}
        super().save_pretrained(save_directory, *args, **kwargs)
        if push_to_hub:
            self.push_to_hub(hub.pop("repo_id", Path(save_directory).name), **hub)

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
        subfolder: str | None = None,
        revision: str | None = None,
    ) -> str:
        """Upload config, code and weights in one commit.

        Args:
            repo_id: Repository, as "user/model"; made if there is none.
            commit_message: Title of the commit.
            private: Whether a repository that is made here is private; None leaves it to the Hub.
            token: Of the Hub; None is the one of `hf auth login`.
            create_pr: Propose the commit instead.
            safe_serialization: Must be True; the name is that of diffusers.
            variant: Infix of the weights' file name, such as "fp16".
            subfolder: Where in the repository.
            revision: Branch, made if there is none; None is main.

        Returns:
            URL of the commit. A README that is there stays as it is; where there is none, a few lines are written.

        Raises:
            ValueError: If weights should be pickled.
        """
        if not safe_serialization:
            raise ValueError("weights are written as safetensors alone, got safe_serialization=False")
        repo_id = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
        if revision is not None:
            create_branch(repo_id, branch=revision, token=token, exist_ok=True)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, variant=variant)
            if subfolder is None and not file_exists(repo_id, "README.md", revision=revision, token=token):
                (Path(folder) / "README.md").write_text(_README.format(name=type(self).__name__, repo_id=repo_id))
            return upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                path_in_repo=subfolder,
                delete_patterns=versions_of(PurePath(_code_of(self).name)),
                commit_message=commit_message or f"Upload {type(self).__name__}",
                token=token,
                create_pr=create_pr,
                revision=revision,
            )


def _code_of(model: TravellingModel) -> Path:
    return Path(str(sys.modules[type(model).__module__].__file__))


_README = """---
library_name: diffusers
tags: [depth, echoform]
---

# {name}

```python
import torch
from diffusers import AutoModel

model = AutoModel.from_pretrained("{repo_id}", trust_remote_code=True)
```
"""


class DepthEncoder(TravellingModel):
    """Depth image to an embedding: `stem`, four stages `layer1` ... `layer4`, and a head that keeps places apart.

    With the bottleneck "map" the embedding is a small map, latent_dim / (sample_size / 16)^2 numbers at each place of
    1/16 of the resolution, to which `layer4` adds what it sees of the whole. With "cosine" the stages and the head are
    a U-Net that prepares the image, its holes filled, for a fixed cosine transform, whose first coefficients are the
    embedding; at first it changes nothing. A last linear map, fixed after training, balances the dimensions.

    Readings are depths in [-1, 1]; what lies where there is no reading never enters. Saved alone, the folder loads by
    `diffusers.AutoModel.from_pretrained(folder, trust_remote_code=True)` where echoform is not installed.

    Args:
        sample_size: Side of the square images, in pixels; divisible by 32.
        input_channels: 1, or 3 for depth that comes as an image of three channels.
        latent_dim: Numbers of the embedding; with the bottleneck "map" a multiple of (sample_size / 16)^2, with
            "cosine" at most as many as the image has.
        block_out_channels: Width of each stage, at 1/4, 1/8, 1/16 and 1/32 of the side; each at most four times the
            one before and such that four times the one before is a multiple of it.
        layers_per_block: Residual blocks of each stage; with "cosine" also of its mirror in the head.
        attention: Which stages attend.
        num_attention_heads: Heads of every attention (their number, not their size).
        norm_num_groups: Groups of every group norm; must divide all of block_out_channels.
        dropout: Share of features dropped inside residual blocks while training.
        bottleneck: "map" or "cosine".
        depth_range_mm: Depth that -1 and +1 stand for, millimetres, as {"min": 300.0, "max": 5000.0}. This and what
            follows is what `readings` needs to know of the sensor; inside a pipeline the pipeline knows it.
        units_per_mm: Units of the sensor in a millimetre.
        invalid_values: Units that mean no reading beside 0, with their meaning, as {"65535": "saturated"}.

    Raises:
        ValueError: If sizes, widths, heads or groups do not fit together.
    """

    centre: Tensor
    mix: Tensor

    @register_to_config
    def __init__(
        self,
        *,
        sample_size: int = 128,
        input_channels: int = 1,
        latent_dim: int = 768,
        block_out_channels: tuple[int, ...] = (32, 64, 128, 256),
        layers_per_block: tuple[int, ...] = (1, 1, 1, 1),
        attention: tuple[bool, ...] = (False, True, True, False),
        num_attention_heads: int = 4,
        norm_num_groups: int = 8,
        dropout: float = 0.0,
        bottleneck: str = "map",
        depth_range_mm: dict[str, float] | None = None,
        units_per_mm: float | None = None,
        invalid_values: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        _check_shape(self.config, block_out_channels, layers_per_block)
        self.gradient_checkpointing = False
        sides, widths = _sides(sample_size), block_out_channels

        self.stem = nn.Conv2d((input_channels + 1) * PATCH**2, widths[0], kernel_size=3, padding=1)
        rest = (num_attention_heads, norm_num_groups, dropout)
        stages = _stages(sides, widths, layers_per_block, attention, *rest)
        self.layer1, self.layer2, self.layer3, self.layer4 = _descent(stages, widths)
        self.up = self.norm_out = None
        if bottleneck == "cosine":
            finer = _stages(sides[:3], widths[:3], layers_per_block[:3], attention[:3], *rest)
            self.head = Ascent(finer, widths, input_channels)
        else:
            self.up = Upsample(widths[3], widths[2])
            self.norm_out = nn.GroupNorm(norm_num_groups, widths[2])
            self.head = nn.Conv2d(widths[2], latent_dim // sides[2] ** 2, kernel_size=1)
        self.register_buffer("centre", torch.zeros(latent_dim))
        self.register_buffer("mix", torch.eye(latent_dim))

    @apply_forward_hook
    def encode(self, depth: Tensor, valid: Tensor | None = None) -> Tensor:
        """Embed depth images.

        Args:
            depth: float [B, input_channels, H, W] in [-1, 1]; whatever lies where `valid` is 0 does not matter.
            valid: [B, 1, H, W], 1 or True where there is a reading; None if there is one everywhere.

        Returns:
            float [B, latent_dim].

        Raises:
            ValueError: If the shapes do not fit the model.
        """
        return self.embed(self.features(depth, valid))

    def features(self, depth: Tensor, valid: Tensor | None = None) -> Tensor:
        """What the embedding is made from; arguments as of `encode`.

        Returns:
            With the bottleneck "map" what the stages made, float [B, width, H/16, W/16]; with "cosine" the image as it
            is transformed, float32 [B, input_channels, H, W].
        """
        depth, valid = self._checked(depth, valid)
        if self.up is None:
            depth = filled(depth, valid)
            return depth + self.head(_maps(self, torch.cat([depth.to(valid.dtype), valid], dim=1))).float()
        maps = _maps(self, torch.cat([depth, valid], dim=1))
        return maps[2] + self.up(maps[3])

    def embed(self, grid: Tensor) -> Tensor:
        """Embedding of what `features` gave, float [B, latent_dim]."""
        if self.norm_out is None:
            numbers = to_cosines(grid, self.config["latent_dim"])
        else:
            numbers = self.head(F.silu(self.norm_out(grid))).flatten(1)
        return _exactly_linear(numbers - self.centre, self.mix)

    def forward(self, depth: Tensor, valid: Tensor | None = None) -> Tensor:
        """The same as `encode`."""
        return self.encode(depth, valid)

    def readings(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """What `encode` takes, from what the sensor gave.

        Args:
            units: Raw depth, any dtype that holds 16 bits, [B, input_channels, H, W]; 0 means no reading.

        Returns:
            Depth in [-1, 1], float32 [B, input_channels, H, W], and whether there is a reading, bool [B, 1, H, W].
            What lies outside `depth_range_mm` is no reading, and of several channels each must have one.

        Raises:
            ValueError: If the config does not know the sensor.
        """
        config = self.config
        if config["depth_range_mm"] is None or config["units_per_mm"] is None:
            raise ValueError(
                "units become depth by depth_range_mm and units_per_mm of the config, "
                f"got {config['depth_range_mm']} and {config['units_per_mm']}"
            )
        units = units.to(torch.float32)
        for value in config["invalid_values"] or {}:
            units = torch.where(units == float(value), 0.0, units)
        return _in_model_range(units, config["depth_range_mm"], config["units_per_mm"])

    def _checked(self, depth: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Depth with 0 where there is no reading, and where there is one, in depth's dtype."""
        channels, size = self.config["input_channels"], self.config["sample_size"]
        if not depth.is_floating_point():
            raise ValueError(
                f"depth must be floating point in [-1, 1], got {depth.dtype}; readings() makes it of units"
            )
        if tuple(depth.shape[1:]) != (channels, size, size):
            raise ValueError(f"depth must be [B, {channels}, {size}, {size}], got {list(depth.shape)}")
        if valid is None:
            return depth, torch.ones_like(depth[:, :1])
        if valid.shape != (len(depth), 1, size, size):
            raise ValueError(f"valid must be [{len(depth)}, 1, {size}, {size}], got {list(valid.shape)}")
        valid = valid.to(depth.dtype)
        return torch.where(valid > 0, depth, 0), valid


class DepthDecoder(nn.Module):
    """Embedding to depth and the logit of there being a reading: the encoder in reverse; see `DepthAutoencoder`."""

    centre: Tensor
    unmix: Tensor

    def __init__(
        self,
        sample_size: int,
        output_channels: int,
        latent_dim: int,
        block_out_channels: Sequence[int],
        layers_per_block: Sequence[int],
        attention: Sequence[bool],
        num_attention_heads: int,
        norm_num_groups: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        sides, widths = _sides(sample_size), block_out_channels
        self.side = sides[2]
        self.register_buffer("centre", torch.zeros(latent_dim))
        self.register_buffer("unmix", torch.eye(latent_dim))
        self.head = nn.Conv2d(latent_dim // self.side**2, widths[2], kernel_size=3, padding=1)
        stages = _stages(sides, widths, layers_per_block, attention, num_attention_heads, norm_num_groups, dropout)
        self.layer4 = nn.Sequential(Downsample(widths[2], widths[3]), *stages[3], Upsample(widths[3], widths[2]))
        self.layer3 = nn.Sequential(*stages[2], Upsample(widths[2], widths[1]))
        self.layer2 = nn.Sequential(*stages[1], Upsample(widths[1], widths[0]))
        self.layer1 = stages[0]
        self.norm_out = nn.GroupNorm(norm_num_groups, widths[0])
        self.conv_out = nn.Conv2d(widths[0], (output_channels + 1) * PATCH**2, kernel_size=3, padding=1)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """float [B, latent_dim] to depth [B, C, H, W] and logit [B, 1, H, W]."""
        latents = _exactly_linear(latents, self.unmix) + self.centre
        grid = self.head(latents.unflatten(1, (-1, self.side, self.side)))
        grid = grid + _run(self, self.layer4, grid)
        for stage in (self.layer3, self.layer2, self.layer1):
            grid = _run(self, stage, grid)
        image = F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(grid))), PATCH)  # [B, C + 1, H, W]
        return image[:, :-1], image[:, -1:]


class CosineDecoder(nn.Module):
    """Cosine coefficients to depth and the logit of there being a reading; see `DepthAutoencoder`.

    The transform is undone and a U-Net adds what it has learned that images have beyond; at first that is 0.
    """

    centre: Tensor
    unmix: Tensor

    def __init__(
        self,
        sample_size: int,
        output_channels: int,
        latent_dim: int,
        block_out_channels: Sequence[int],
        layers_per_block: Sequence[int],
        attention: Sequence[bool],
        num_attention_heads: int,
        norm_num_groups: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        self.image_shape = (output_channels, sample_size)
        sides, widths = _sides(sample_size), block_out_channels
        self.register_buffer("centre", torch.zeros(latent_dim))
        self.register_buffer("unmix", torch.eye(latent_dim))
        self.stem = nn.Conv2d(output_channels * PATCH**2, widths[0], kernel_size=3, padding=1)
        rest = (num_attention_heads, norm_num_groups, dropout)
        stages = _stages(sides, widths, layers_per_block, attention, *rest)
        self.layer1, self.layer2, self.layer3, self.layer4 = _descent(stages, widths)
        finer = _stages(sides[:3], widths[:3], layers_per_block[:3], attention[:3], *rest)
        self.head = Ascent(finer, widths, output_channels + 1)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """float [B, latent_dim] to depth [B, C, H, W] and logit [B, 1, H, W]."""
        smooth = from_cosines(_exactly_linear(latents, self.unmix) + self.centre, *self.image_shape)
        added = self.head(_maps(self, smooth.to(self.unmix.dtype))).float()
        depth, logit = smooth + added[:, :-1], added[:, -1:]
        return depth.to(self.unmix.dtype), logit.to(self.unmix.dtype)


class DepthAutoencoder(TravellingModel):
    """Depth image [B, C, H, W] and where it has readings, to `latent_dim` numbers and back.

    `encoder` is a `DepthEncoder`; `decoder` mirrors it. Both work at a quarter of the resolution and below. With the
    bottleneck "cosine" it is the first coefficients of a cosine transform, between two U-Nets that improve on them.

    Args:
        sample_size: Side of the square images, in pixels; divisible by 32.
        input_channels: 1, or 3 for depth that comes as an image of three channels.
        latent_dim: Numbers of the embedding; with the bottleneck "map" a multiple of (sample_size / 16)^2, with
            "cosine" at most as many as the image has.
        block_out_channels: Width of each stage of the encoder; see `DepthEncoder`.
        layers_per_block: Residual blocks of each stage of the encoder.
        attention: Which stages attend, in encoder and decoder.
        decoder_block_out_channels: Width of each stage of the decoder, highest resolution first; None mirrors the
            encoder.
        decoder_layers_per_block: Residual blocks of each stage of the decoder; None mirrors the encoder.
        num_attention_heads: Heads of every attention.
        norm_num_groups: Groups of every group norm; must divide all widths.
        dropout: Share of features dropped inside residual blocks while training.
        bottleneck: "map" or "cosine", what the embedding is; see `DepthEncoder`.

    Raises:
        ValueError: If sizes, widths, heads or groups do not fit together.
    """

    @register_to_config
    def __init__(
        self,
        *,
        sample_size: int = 128,
        input_channels: int = 1,
        latent_dim: int = 768,
        block_out_channels: tuple[int, ...] = (32, 64, 128, 256),
        layers_per_block: tuple[int, ...] = (1, 1, 1, 1),
        attention: tuple[bool, ...] = (False, True, True, False),
        decoder_block_out_channels: tuple[int, ...] | None = None,
        decoder_layers_per_block: tuple[int, ...] | None = None,
        num_attention_heads: int = 4,
        norm_num_groups: int = 8,
        dropout: float = 0.0,
        bottleneck: str = "map",
    ) -> None:
        super().__init__()
        decoder_block_out_channels = decoder_block_out_channels or block_out_channels
        decoder_layers_per_block = decoder_layers_per_block or layers_per_block
        _check_shape(self.config, decoder_block_out_channels, decoder_layers_per_block)
        shared: dict[str, Any] = {
            "sample_size": sample_size,
            "latent_dim": latent_dim,
            "attention": attention,
            "num_attention_heads": num_attention_heads,
            "norm_num_groups": norm_num_groups,
            "dropout": dropout,
        }
        self.encoder = DepthEncoder(
            input_channels=input_channels,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            bottleneck=bottleneck,
            **shared,
        )
        self.decoder = (CosineDecoder if bottleneck == "cosine" else DepthDecoder)(
            output_channels=input_channels,
            block_out_channels=decoder_block_out_channels,
            layers_per_block=decoder_layers_per_block,
            **shared,
        )

    @apply_forward_hook
    def encode(self, depth: Tensor, valid: Tensor | None = None) -> Tensor:
        """Embed depth images; see `DepthEncoder.encode`."""
        return self.encoder.encode(depth, valid)

    @apply_forward_hook
    def decode(self, latents: Tensor) -> DepthDecoderOutput:
        """Embeddings, float [B, latent_dim], to depth and the logit of there being a reading."""
        depth, valid_logit = self.decoder(latents)
        return DepthDecoderOutput(depth=depth, valid_logit=valid_logit)

    def forward(self, depth: Tensor, valid: Tensor | None = None) -> DepthAutoencoderOutput:
        """Encode and decode; arguments as of `DepthEncoder.encode`."""
        latents = self.encode(depth, valid)
        depth, valid_logit = self.decoder(latents)
        return DepthAutoencoderOutput(depth=depth, valid_logit=valid_logit, latents=latents)

    @torch.no_grad()
    def balance(self, centre: Tensor, mix: Tensor) -> None:
        """Make the embedding (z - centre) @ mix of what the network computes, z; the decoder undoes it.

        Args:
            centre: float [latent_dim].
            mix: float [latent_dim, latent_dim], invertible.
        """
        self.encoder.centre.copy_(centre)
        self.encoder.mix.copy_(mix)
        self.decoder.centre.copy_(centre)
        self.decoder.unmix.copy_(torch.linalg.inv(mix.double()))


def to_cosines(images: Tensor, count: int) -> Tensor:
    """The first coefficients of images' cosine transform, brought to like sizes.

    The transform is the orthonormal DCT-II of the whole image. Coefficients come in zigzag order, as of JPEG: by
    row + column of the frequency, along odd diagonals down and along even ones up; of several channels each in turn at
    every frequency. Each is multiplied by sqrt(1 + row + column) / side; those of depth images fall off faster still.
    Without it, the mean of an image would drown in a distance what the image shows, and noise of one size would be
    nothing to the first coefficients and everything to the last. The first number is the mean of its channel.

    Args:
        images: float [B, C, side, side].
        count: How many numbers of an image, at most C * side^2.

    Returns:
        float32 [B, count].

    Source: Ahmed, Natarajan and Rao 1974, "Discrete cosine transform"; ITU-T T.81, figure A.6, for the order.
    """
    channels, side = images.shape[1:3]
    rows, columns = _zigzag(side, math.ceil(count / channels), images.device)
    with torch.autocast(images.device.type, enabled=False):
        basis = _cosines(side, images.device)[: _reach(side, len(rows))]
        spectrum = basis @ images.float() @ basis.T  # [B, C, reach, reach]
    numbers = spectrum[:, :, rows, columns] * _emphasis(rows + columns, side)
    return numbers.transpose(1, 2).flatten(1)[:, :count]


def from_cosines(numbers: Tensor, channels: int, side: int) -> Tensor:
    """Images float32 [B, channels, side, side] of numbers of `to_cosines` [B, count]; what was left out is 0."""
    places = math.ceil(numbers.shape[1] / channels)
    rows, columns = _zigzag(side, places, numbers.device)
    numbers = F.pad(numbers.float(), (0, places * channels - numbers.shape[1])).unflatten(1, (places, channels))
    reach = _reach(side, places)
    spectrum = numbers.new_zeros(len(numbers), channels, reach, reach)
    spectrum[:, :, rows, columns] = numbers.transpose(1, 2) / _emphasis(rows + columns, side)
    with torch.autocast(numbers.device.type, enabled=False):
        basis = _cosines(side, numbers.device)[:reach]
        return basis.T @ spectrum @ basis


def filled(depth: Tensor, valid: Tensor) -> Tensor:
    """Depth with its holes filled from around them, from near for small holes and from farther for large ones.

    Args:
        depth: float [B, C, H, H], 0 where there is no reading.
        valid: 1 where there is a reading and 0 elsewhere, [B, 1, H, H].

    Returns:
        float32 [B, C, H, H]; readings as they were, and 0 throughout an image without any.

    Source: pull-push, Gortler et al. 1996, "The lumigraph", section 3.4.2, with weights of 0 and 1.
    """
    levels = [(depth.float(), valid.float())]
    while (side := levels[-1][0].shape[-1]) > 1:
        factor = 2 if side % 2 == 0 else side
        known = F.avg_pool2d(levels[-1][1], factor)
        mean = F.avg_pool2d(levels[-1][0] * levels[-1][1], factor) / torch.where(known > 0, known, 1)
        levels.append((mean, (known > 0).float()))
    image = levels.pop()[0]
    for finer, known in reversed(levels):
        image = F.interpolate(image, size=finer.shape[2:], mode="bilinear")
        image = torch.where(known > 0, finer, image)
    return image


def _cosines(side: int, device: torch.device) -> Tensor:
    """Orthonormal DCT-II of a line of `side` pixels, float32 [side, side]; rows are frequencies."""
    # Made anew at each call, so that it stays float32 in a model of another type.
    frequency, pixel = torch.arange(side, device=device)[:, None], torch.arange(side, device=device)
    turns = frequency * (2 * pixel + 1) % (4 * side)  # in whole numbers, so that large angles are exact
    basis = math.sqrt(2 / side) * torch.cos(math.pi / (2 * side) * turns)
    return torch.where(frequency > 0, basis, math.sqrt(1 / side))


def _emphasis(diagonal: Tensor, side: int) -> Tensor:
    return (1 + diagonal).sqrt() / side


def _reach(side: int, count: int) -> int:
    """Side of the smallest square that holds the first `count` places of a square in zigzag order."""
    return min(side, math.ceil((math.sqrt(8 * count + 1) - 1) / 2))


def _zigzag(side: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns, int64 [count] each, of the first places of a square in zigzag order."""
    reach = _reach(side, count)
    places = torch.arange(reach**2, device=device)
    rows, columns = places // reach, places % reach
    diagonal = rows + columns
    order = torch.argsort(diagonal * reach + torch.where(diagonal % 2 == 1, rows, columns))[:count]
    return rows[order], columns[order]


def _descent(stages: Sequence[Stage], widths: Sequence[int]) -> list[nn.Module]:
    """Stages, each but the first after the halving that leads to it."""
    downs = [Downsample(wide, wider) for wide, wider in pairwise(widths)]
    return [stages[0], *(nn.Sequential(down, *stage) for down, stage in zip(downs, stages[1:], strict=True))]


def _maps(model: Any, image: Tensor) -> list[Tensor]:
    """What the stages of an encoder or decoder make of an image [B, C, H, W], the finest first."""
    maps = [_run(model, model.layer1, model.stem(F.pixel_unshuffle(image, PATCH)))]
    for stage in (model.layer2, model.layer3, model.layer4):
        maps.append(_run(model, stage, maps[-1]))
    return maps


def _exactly_linear(vectors: Tensor, matrix: Tensor) -> Tensor:
    # In few bits, mixing and undoing it would cost more precision than everything else does.
    with torch.autocast(vectors.device.type, enabled=False):
        return vectors.to(matrix.dtype) @ matrix


def _run(model: Any, stage: nn.Module, grid: Tensor) -> Tensor:
    if torch.is_grad_enabled() and model.gradient_checkpointing:
        return model._gradient_checkpointing_func(stage, grid)
    return stage(grid)


def _sides(sample_size: int) -> tuple[int, int, int, int]:
    side = sample_size // PATCH
    return side, side // 2, side // 4, side // 8


def _stages(
    sides: Sequence[int],
    widths: Sequence[int],
    layers_per_block: Sequence[int],
    attention: Sequence[bool],
    num_heads: int,
    norm_num_groups: int,
    dropout: float,
) -> list[Stage]:
    return [
        Stage(width, side, layers, attends, num_heads, norm_num_groups, dropout)
        for width, side, layers, attends in zip(widths, sides, layers_per_block, attention, strict=True)
    ]


def _in_model_range(units: Tensor, depth_range_mm: Mapping[str, float], units_per_mm: float) -> tuple[Tensor, Tensor]:
    # The same arithmetic as of the pipeline's `encode_units`, which this file must not import.
    low = max(math.ceil(depth_range_mm["min"] * units_per_mm - 1e-6), 1)
    high = math.floor(depth_range_mm["max"] * units_per_mm + 1e-6)
    valid = ((units >= low) & (units <= high)).all(dim=1, keepdim=True)
    depth = (units - low) * (2 / (high - low)) - 1
    return torch.where(valid, depth, 0.0), valid


def _check_shape(config: Mapping[str, Any], widths: Sequence[int], layers: Sequence[int]) -> None:
    heads, groups = config["num_attention_heads"], config["norm_num_groups"]
    if config["sample_size"] % (8 * PATCH) or config["sample_size"] < 8 * PATCH:
        raise ValueError(f"sample_size must be a multiple of {8 * PATCH}, got {config['sample_size']}")
    if config["input_channels"] not in (1, 3):
        raise ValueError(f"input_channels must be 1 or 3, got {config['input_channels']}")
    if config["latent_dim"] < 1:
        raise ValueError(f"latent_dim must be at least 1, got {config['latent_dim']}")
    for name, values in (("widths", widths), ("layers_per_block", layers), ("attention", config["attention"])):
        if len(values) != 4:
            raise ValueError(f"{name} must hold one value for each of 4 stages, got {tuple(values)}")
    if min(layers) < 1:
        raise ValueError(f"layers_per_block must be at least 1, got {tuple(layers)}")
    for width, attends in zip(widths, config["attention"], strict=True):
        if width % groups:
            raise ValueError(f"widths must be divisible by norm_num_groups ({groups}), got {width}")
        if attends and width % heads:
            raise ValueError(f"widths of stages that attend must be divisible by {heads} heads, got {width}")
    for wide, wider in pairwise(widths):
        if 4 * wide % wider:
            raise ValueError(f"4 times each width must be a multiple of the next one, got {wide} and {wider}")
    if config["bottleneck"] not in ("map", "cosine"):
        raise ValueError(f"bottleneck must be map or cosine, got {config['bottleneck']}")
    pixels = config["input_channels"] * config["sample_size"] ** 2
    if config["bottleneck"] == "cosine" and config["latent_dim"] > pixels:
        raise ValueError(f"latent_dim must be at most {pixels}, what an image holds, got {config['latent_dim']}")
    places = (config["sample_size"] // (4 * PATCH)) ** 2
    if config["bottleneck"] == "map" and config["latent_dim"] % places:
        raise ValueError(f"latent_dim must be a multiple of {places}, (sample_size / 16)^2, got {config['latent_dim']}")


# Copied from echoform.code_files.plain_stem
def plain_stem(stem: str) -> str:
    """Name of a code file, without its suffix and without the hash that `travelling_stem` gives it."""
    return re.sub(r"_[0-9a-f]{8}\Z", "", stem)


# Copied from echoform.code_files.travelling_stem
def travelling_stem(code: Path) -> str:
    """Name under which a code file travels: its own and 8 hexadecimal digits of the sha256 of its content.

    diffusers keeps one module a name, for all repositories that a process loads: under one name the version that comes
    second would take the place of the first, in pipelines that are at work and in what they save.
    """
    return f"{plain_stem(code.stem)}_{hashlib.sha256(code.read_bytes()).hexdigest()[:8]}"


# Copied from echoform.code_files.versions_of
def versions_of(code: PurePath) -> list[str]:
    """Patterns of the names that the versions of a code file have or had: without a hash, and with any."""
    stem = plain_stem(code.stem)
    return [code.with_name(f"{name}.py").as_posix() for name in (stem, f"{stem}_{'[0-9a-f]' * 8}")]


# Copied from echoform.code_files.copy_code
def copy_code(code: Path, folder: Path) -> None:
    """Copy a code file to a folder under its travelling name, in place of the versions of it that lie there."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{travelling_stem(code)}.py"
    if not (copy.exists() and copy.samefile(code)):
        shutil.copyfile(code, copy)
    for pattern in versions_of(PurePath(code.name)):
        for version in folder.glob(pattern):
            if version != copy and not version.samefile(code):
                version.unlink()
