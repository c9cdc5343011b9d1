"""Settings that the trainings of both first stages share, their presets, and the network that they describe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import tyro

from echoform_train.data.config import DataConfig
from echoform_train.engine.config import RunConfig
from echoform_train.engine.limits import Channels, ChannelsOfLevels, Layers, LimitedSettings, Limits, Weight
from echoform_train.engine.presets import make_preset
from echoform_train.engine.resolution import Halving

NORM_GROUPS = 8  # as good as the usual 32, and cheaper on CPUs

T = TypeVar("T", bound="FirstStageConfig")


@dataclass(frozen=True, kw_only=True)
class FirstStageConfig(LimitedSettings):
    """Settings of every first stage."""

    preset: Literal["cpu", "6gb", "16gb", "256", "paper"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    initial_model: str | None = None
    """Finished first stage to start from instead of random weights: output folder of such a training, exported
    pipeline, folder of a first stage, or an id on the Hub. The flags must describe its architecture."""
    data: tyro.conf.OmitArgPrefixes[DataConfig]
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    block_out_channels: ChannelsOfLevels = (32, 64, 128, 256)
    """Channels of each level, highest resolution first."""
    n_layers: Annotated[int | None, Limits(1, 16)] = None
    """Number of levels, each but the last halving the image: 4 levels give f8. Default: as many as block_out_channels;
    further levels repeat its last value."""
    layers_per_block: Layers = 1
    """Residual blocks per level."""
    latent_channels: Channels = 4
    """Channels of the latents."""
    mid_block_attention: bool = False
    """Full self-attention at the lowest level."""

    l1_weight: Weight = 1.0
    """Weight of the mean absolute error."""
    l2_weight: Weight = 1.0
    """Weight of the mean squared error."""
    spectral_weight: Weight = 0.1
    """Weight of the difference between log-amplitude spectra."""
    spectral_max_share: Annotated[float, Limits(0, 1, above_low=True)] = 0.3
    """Largest share of the loss that the spectral part may have, in (0, 1]; a larger part is scaled down to it. 1 sets
    no limit."""
    lpips_weight: Weight = 0.0
    """Weight of the perceptual distance (LPIPS); needs torchvision's AlexNet weights."""
    adversarial_weight: Weight = 0.0
    """Weight of the hinge loss of a patch discriminator."""


def make_presets(config_class: Callable[..., T], **cpu_settings: Any) -> dict[str, T]:
    """Make the PRESETS table of the trainer of a first stage.

    Args:
        config_class: The trainer's `Config`.
        **cpu_settings: Further settings of this trainer in the preset `cpu`.
    """
    gpu: dict[str, Any] = {"max_train_images": 600_000, "learning_rate": 3e-4, "lr_warmup_steps": 500}
    small_gpu = gpu | {"train_batch_size": 4, "gradient_accumulation_steps": 4}
    cpu = {"max_train_images": 40_000, "learning_rate": 1e-3, "validation_every": 4_000}
    large: dict[str, Any] = {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "mid_block_attention": True,
    }

    def preset(name: str, run: dict[str, Any], **settings: Any) -> T:
        return make_preset(config_class, name, run, DataConfig, **settings)

    return {
        "cpu": preset("cpu", cpu, block_out_channels=(16, 32, 64), **cpu_settings),
        "6gb": preset("6gb", small_gpu, lpips_weight=0.1),
        "16gb": preset("16gb", gpu | {"train_batch_size": 16}, lpips_weight=0.1),
        "256": preset("256", gpu | {"train_batch_size": 32}, lpips_weight=0.1),
        "paper": preset("paper", gpu | {"train_batch_size": 32}, lpips_weight=0.1, **large),
    }


def level_count(config: FirstStageConfig) -> int:
    """Number of levels of the network."""
    return len(config.block_out_channels) if config.n_layers is None else config.n_layers


def image_halving(config: FirstStageConfig) -> Halving:
    """How often all levels but the last halve the images; the smallest denoiser will halve them twice more."""
    levels = level_count(config)
    divisor = 2 ** (levels - 1)
    models = f"the {levels} levels of this first stage (--n-layers, --block-out-channels)"
    return Halving(divisor, models, 4 * divisor)


def model_settings(config: FirstStageConfig, channels: int) -> dict[str, Any]:
    """Arguments that `VQModel` and `AutoencoderKL` of diffusers share, for images of `channels` channels."""
    widths, levels = config.block_out_channels, level_count(config)
    widths = (widths + (widths[-1],) * levels)[:levels]
    return {
        "in_channels": channels,
        "out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": widths,
        "layers_per_block": config.layers_per_block,
        "latent_channels": config.latent_channels,
        "norm_num_groups": math.gcd(NORM_GROUPS, *widths),
        "scaling_factor": 1.0,  # latents are standardised per channel by statistics that travel in the pipeline
        "mid_block_add_attention": config.mid_block_attention,
    }
