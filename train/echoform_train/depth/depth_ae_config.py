"""Settings of the training of the depth autoencoder, and their presets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from echoform_train.depth.config import DepthDataConfig
from echoform_train.engine.config import RunConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.limits import Channels, Decay, Dropout, Heads, Length, LimitedSettings, Limits, Weight
from echoform_train.engine.presets import make_preset


@dataclass(frozen=True, kw_only=True)
class Weights(LimitedSettings):
    """Weights of the parts of the loss; every weighted part is logged."""

    huber_weight: Weight = 1.0
    """Weight of the Huber loss of depth, over pixels with a reading."""
    huber_delta: Annotated[float, Limits(0, 1e6, above_low=True)] = 1.0
    """Error at which the Huber loss turns from quadratic to linear; the model range has length 2."""
    gradient_weight: Weight = 0.02
    """Weight of the error of differences between neighbouring pixels, which keeps edges sharp."""
    validity_weight: Weight = 0.05
    """Weight of the cross-entropy of predicted validity (which pixels have a reading)."""
    lpips_weight: Weight = 0.0
    """Weight of the perceptual distance LPIPS; needs torchvision's AlexNet weights."""
    latent_weight: Weight = 0.0
    """Weight of the mean square of the embedding."""
    covariance_weight: Weight = 0.0
    """Weight of the mean squared correlation between dimensions of the embedding over a batch."""
    contrastive_weight: Weight = 0.0
    """Weight of the contrastive loss between two augmented views of each image; needs an --augment option."""
    contrastive_temperature: Annotated[float, Limits(0, 1e6, above_low=True)] = 0.1
    """Temperature of the cosine similarities between views."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Kinds and strengths of the random changes in training; by default there are none."""

    augment: bool = False
    """Rotate by 0, 90, 180 or 270 degrees. Off by default, because cameras are rarely upside down."""
    augment_flip: bool = False
    """Mirror left and right with probability 1/2."""
    augment_tilt_deg: float = 0.0
    """Largest random rotation in either direction, degrees."""
    augment_zoom: float = 0.0
    """Largest random change of the focal length, as a share of it."""
    augment_shift: float = 0.0
    """Largest random shift, as a share of the side of the image; uncovered pixels have no reading."""
    augment_depth: float = 0.0
    """Largest random scaling of all depths of an image, as a share; reduced where a reading would leave the range."""

    def __post_init__(self) -> None:
        for name in ("augment_zoom", "augment_shift", "augment_depth"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise UserError(f"--{name.replace('_', '-')} must be a share in [0, 1), got {share}")
        if not 0 <= self.augment_tilt_deg <= 180:
            raise UserError(f"--augment-tilt-deg must lie in 0..180, got {self.augment_tilt_deg}")

    @property
    def any(self) -> bool:
        """Whether images are changed at all."""
        return self != Augmentation()


@dataclass(frozen=True, kw_only=True)
class Config(LimitedSettings):
    """Train the depth autoencoder and export its pipeline."""

    preset: Literal["cpu", "small", "large"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    data: tyro.conf.OmitArgPrefixes[DepthDataConfig]
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    bottleneck: Literal["map", "cosine"] = "map"
    """Kind of embedding: a learned map of the image, or coefficients of a cosine transform between two U-Nets."""
    size: Literal["small", "large"] = "small"
    """Size of the model, which sets the defaults of the next three flags."""
    latent_dim: Channels = 768
    """Dimensions of the embedding."""
    block_out_channels: Annotated[tuple[int, ...] | None, Limits(1, 65_536)] = None
    """Channels of each of the four stages."""
    layers_per_block: Annotated[tuple[int, ...] | None, Limits(1, 64)] = None
    """Residual blocks of each stage."""
    attention: tuple[bool, ...] | None = None
    """Which stages have attention."""
    num_attention_heads: Heads = 4
    """Heads of each attention layer."""
    dropout: Dropout = 0.0
    """Dropout inside the residual blocks."""
    balance_power: Annotated[float | None, Limits(0, 1)] = None
    """How strongly the variances of the principal components of the embedding are equalised after training: 0 not at
    all, 1 completely (whitening). Default: 0.5 for the bottleneck map, 0.25 for cosine."""

    weights: tyro.conf.OmitArgPrefixes[Weights] = field(default_factory=Weights)
    augmentation: tyro.conf.OmitArgPrefixes[Augmentation] = field(default_factory=Augmentation)
    latent_noise: Weight = 0.0
    """Standard deviation of noise added to the embedding in training, relative to its root mean square. With noise,
    similar embeddings decode to similar images."""
    ema_decay: Decay = 0.999
    """Decay per optimizer step of the averaged weights, which are validated and exported."""
    sample_every: Length = 50_000
    """Images seen between two sheets of reconstructions."""


_CPU_RUN: dict[str, Any] = {"max_train_images": 150_000, "train_batch_size": 8, "validation_every": 10_000}
_GPU_RUN: dict[str, Any] = {"max_train_images": 3_000_000, "train_batch_size": 64, "lr_warmup_steps": 500}
_GPU_RUN |= {"checkpointing_every": 100_000, "validation_every": 50_000}
PRESETS = {
    "cpu": make_preset(Config, "cpu", _CPU_RUN | {"learning_rate": 1e-3}, DepthDataConfig, sample_every=25_000),
    "small": make_preset(Config, "small", _GPU_RUN | {"learning_rate": 1e-3}, DepthDataConfig),
    "large": make_preset(Config, "large", _GPU_RUN | {"learning_rate": 5e-4}, DepthDataConfig, size="large"),
}
