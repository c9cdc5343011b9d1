"""`echoform train conv-ae`: train a convolutional autoencoder, whose encoder is a VGG, on any images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
import tyro

from echoform.conv_autoencoder import BACKBONES, ConvAutoencoder
from echoform.pipeline_conv_autoencoder import ConvAutoencoderPipeline
from echoform_train.conv.export import build_pipeline
from echoform_train.conv.objective import ErrorKind, TrainingForward, training_losses
from echoform_train.conv.reconstruction import to_model_range
from echoform_train.conv.validation import save_random_sheet, save_reconstruction_sheet, validate
from echoform_train.conv.vgg import load_torchvision_weights
from echoform_train.data.images import ImageData, ImageDataConfig, image_facts, load_image_data
from echoform_train.data.split_files import split_to_read
from echoform_train.engine.config import RunConfig
from echoform_train.engine.files import AUTOENCODER, RECONSTRUCTIONS, SAMPLES
from echoform_train.engine.learner import Learner
from echoform_train.engine.limits import Length, LimitedSettings, Limits, Weight
from echoform_train.engine.presets import make_preset
from echoform_train.engine.training_log import read_log
from echoform_train.engine.training_result import TrainingResult
from echoform_train.publishing.export import finish_training, start_training
from echoform_train.report.curves import save_curves

CURVES = "curves.png"


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


def main(config: Config) -> TrainingResult:
    """Load the images, train, export the pipeline to OUTPUT_DIR/pipeline, and push it with --push-to-hub.

    Raises:
        FileNotFoundError: If there is no such source, or torchvision's weights are needed and cannot be loaded.
    """
    data = load_image_data(
        config.data,
        split_to_read(config.data.split_file, config.run.output_dir),
        config.run.seed,
        resolution=config.data.resolution,
        color=config.data.color,
    )
    return train(config, data)


def train(config: Config, data: ImageData) -> TrainingResult:
    """Train on images that are loaded already; see `main`."""
    run = start_training(config, data)
    autoencoder = build_model(config, data.train.pixels.shape[1], data.train.pixels.shape[-1])
    if config.torchvision_weights:
        load_torchvision_weights(autoencoder, config.backbone)
    learner = Learner(run, AUTOENCODER, autoencoder, forward=TrainingForward(autoencoder))
    learner.resume()
    run.accelerator.print(describe(autoencoder, len(data.train)))
    run.accelerator.init_trackers("conv-ae", config={"preset": config.preset, "seed": config.run.seed})

    facts: dict[str, Any] = {
        "kind": "conv-ae",
        "preset": config.preset,
        "backbone": config.backbone,
        "torchvision_weights": config.torchvision_weights,
        "latent_shape": list(autoencoder.latent_shape),
        "loss": {"error": config.loss, "kl_weight": config.kl_weight},
        "data": image_facts(data),
    }
    while not run.done:
        # One optimizer step of one or more forward passes, each of which updates the statistics of batch norm.
        for draw in learner.passes():
            images = to_model_range(autoencoder, data.train.pixels[draw.indices], run.device)
            # Only a variational model adds noise to its latents.
            noise = draw.randn(*autoencoder.latent_shape).to(run.device) if config.kl_weight else None
            reconstructed, latents, log_variance = learner.model(images.to(memory_format=run.memory_format), noise)
            losses = training_losses(reconstructed, images, latents, log_variance, config.loss, config.kl_weight)
            learner.descend(torch.stack(list(losses.values())).sum(), **losses)
        # Validation uses the running statistics of batch norm, because the exported model does.
        if run.due(config.run.validation_every):
            scores = validate(autoencoder, data.validation.pixels, config.loss, config.kl_weight, run.accelerator)
            run.keep_if_best(autoencoder, AUTOENCODER, scores["loss"], scores, facts)
        if run.due(config.sample_every) and run.is_main:
            save_progress(config, autoencoder, data, run.seen)
        learner.save_if_due()

    # The model with the lowest validation loss, with the statistics of its latents.
    def best_pipeline() -> ConvAutoencoderPipeline:
        return build_pipeline(ConvAutoencoder.from_pretrained(config.run.output_dir / AUTOENCODER), data.train)

    return finish_training(run, best_pipeline)


def build_model(config: Config, channels: int, resolution: int) -> ConvAutoencoder:
    """The autoencoder that the settings describe, with random weights.

    Args:
        config: The settings.
        channels: Channels of the images, 1 or 3.
        resolution: Height and width of the images, pixels.
    """
    layers = BACKBONES[config.backbone]
    widths = tuple(max(1, round(config.width_factor * width)) for width in layers["block_out_channels"])
    return ConvAutoencoder(
        sample_size=resolution,
        in_channels=channels,
        block_out_channels=widths[: config.levels],
        layers_per_block=layers["layers_per_block"][: config.levels],
        batch_norm=config.batch_norm,
        upsampling=config.upsampling,
        output_activation=config.output_activation,
        data_range=config.data_range,
        latent_channels=config.latent_channels,
        variational=config.kl_weight > 0,
    )


def describe(autoencoder: ConvAutoencoder, num_images: int) -> str:
    """One line for the terminal: size of the model, shapes of image and latents, number of training images."""
    channels, side = autoencoder.config["in_channels"], autoencoder.config["sample_size"]
    latents = "x".join(map(str, autoencoder.latent_shape))
    return (
        f"convolutional autoencoder of {autoencoder.num_parameters() / 1e6:.1f} M parameters: "
        f"{channels}x{side}x{side} -> {latents}, {num_images} images"
    )


def save_progress(config: Config, autoencoder: ConvAutoencoder, data: ImageData, seen: int) -> None:
    """Write the loss curves, a sheet of reconstructions and, for a variational model, a sheet of random images."""
    output_dir, name = config.run.output_dir, f"images-{seen:09d}.png"
    save_curves(read_log(output_dir), output_dir / CURVES)
    save_reconstruction_sheet(autoencoder, data.validation.pixels, output_dir / RECONSTRUCTIONS / name)
    if autoencoder.config["variational"]:
        save_random_sheet(autoencoder, config.run.seed, output_dir / SAMPLES / name)
