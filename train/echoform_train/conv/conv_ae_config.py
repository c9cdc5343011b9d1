"""Settings of the training of a convolutional autoencoder, and their presets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import tyro

from echoform_train.data.image_config import ImageDataConfig
from echoform_train.engine.config import RunConfig
from echoform_train.engine.limits import Length, LimitedSettings, Limits, Weight
from echoform_train.engine.presets import make_preset

ErrorKind = Literal["mse", "l1"]


@dataclass(frozen=True, kw_only=True)
class Config(LimitedSettings):
    """Train a convolutional autoencoder and export its pipeline."""

    preset: Literal["cpu", "vgg13", "vgg16"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    data: tyro.conf.OmitArgPrefixes[ImageDataConfig]
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    backbone: Literal["vgg13", "vgg16"] = "vgg16"
    """Network whose convolutional layers form the encoder; the decoder mirrors them."""
    width_factor: Annotated[float, Limits(0, 64, above_low=True)] = 1.0
    """Factor on the number of channels of every VGG layer."""
    levels: Annotated[int, Limits(1, 5)] = 5
    """Number of VGG levels to use; each halves height and width."""
    batch_norm: bool = True
    """Batch norm after every convolution except the last."""
    torchvision_weights: bool = False
    """Start the encoder from torchvision's weights, which are downloaded at first use."""
    upsampling: Literal["unpool", "transpose"] = "unpool"
    """unpool: unpooling with the encoder's pooling indices (positions of maxima). transpose: transposed convolutions,
    from the latents alone."""
    output_activation: Literal["none", "sigmoid", "tanh"] = "none"
    """Activation at the end of the decoder; sigmoid needs --data-range unit, tanh needs symmetric."""
    data_range: Literal["unit", "symmetric", "imagenet"] = "unit"
    """Range of the images in the model: 0..1, -1..1, or standardised by ImageNet's mean and deviation, as torchvision's
    weights expect."""
    latent_channels: Annotated[int | None, Limits(1, 65_536)] = None
    """Channels of the latents, by a 1x1 convolution. Default: the feature maps of the last level are the latents."""

    loss: ErrorKind = "mse"
    """Reconstruction loss in the range of the model: mean squared or mean absolute error."""
    kl_weight: Weight = 0.0
    """Weight of the KL divergence of the latents, in nats per value of the image; above 0 the model is variational."""
    sample_every: Length = 20_000
    """Images seen between two updates of the loss curves and sheets of reconstructions."""


_CPU_RUN: dict[str, Any] = {"max_train_images": 20_000, "train_batch_size": 8, "validation_every": 2_000}
_CPU_DATA = partial(ImageDataConfig, resolution=128)
_CPU_MODEL: dict[str, Any] = {"backbone": "vgg13", "width_factor": 0.25, "sample_every": 4_000}
_GPU_RUN: dict[str, Any] = {"max_train_images": 500_000, "train_batch_size": 32, "lr_warmup_steps": 500}
_GPU_RUN |= {"learning_rate": 3e-4}
PRESETS = {
    "cpu": make_preset(Config, "cpu", _CPU_RUN | {"learning_rate": 3e-3}, _CPU_DATA, **_CPU_MODEL),
    "vgg13": make_preset(Config, "vgg13", _GPU_RUN, ImageDataConfig, backbone="vgg13"),
    "vgg16": make_preset(Config, "vgg16", _GPU_RUN, ImageDataConfig),
}
