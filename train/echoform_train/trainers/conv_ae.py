"""`echoform train conv-ae`: train a convolutional autoencoder, whose encoder is a VGG, on any images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from echoform.conv_autoencoder import BACKBONES, ConvAutoencoder
from echoform.pipeline_conv_autoencoder import ConvAutoencoderPipeline
from echoform_train.conv.conv_ae_config import PRESETS, Config
from echoform_train.conv.export import build_pipeline
from echoform_train.conv.objective import TrainingForward, training_losses
from echoform_train.conv.reconstruction import to_model_range
from echoform_train.conv.validation import save_random_sheet, save_reconstruction_sheet, validate
from echoform_train.conv.vgg import load_torchvision_weights
from echoform_train.data.images import ImageData, image_facts, load_image_data
from echoform_train.data.split_files import split_to_read
from echoform_train.engine.callbacks import NO_CALLBACKS, Callbacks
from echoform_train.engine.files import AUTOENCODER, RECONSTRUCTIONS, SAMPLES
from echoform_train.engine.learner import Learner
from echoform_train.engine.training_log import read_log
from echoform_train.engine.training_result import TrainingResult
from echoform_train.publishing.export import finish_training, start_training
from echoform_train.report.curves import save_curves

__all__ = ["PRESETS", "Config", "main"]

CURVES = "curves.png"


def main(config: Config, callbacks: Callbacks = NO_CALLBACKS) -> TrainingResult:
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
    return train(config, data, callbacks)


def train(config: Config, data: ImageData, callbacks: Callbacks = NO_CALLBACKS) -> TrainingResult:
    """Train on images that are loaded already; see `main`."""
    run = start_training(config, data, callbacks)
    autoencoder = build_model(config, data.train.pixels.shape[1], data.train.pixels.shape[-1])
    if config.torchvision_weights:
        load_torchvision_weights(autoencoder, config.backbone)
    learner = Learner(run, AUTOENCODER, autoencoder, forward=TrainingForward(autoencoder))
    learner.resume()
    run.accelerator.print(describe(autoencoder, len(data.train)))
    run.start_trackers("conv-ae", config.preset)

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
            for sheet in save_progress(config, autoencoder, data, run.seen):
                run.log_sheet(sheet)
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


def save_progress(config: Config, autoencoder: ConvAutoencoder, data: ImageData, seen: int) -> list[Path]:
    """Write the loss curves, a sheet of reconstructions and, for a variational model, a sheet of random images.

    Returns:
        The sheets.
    """
    output_dir, name = config.run.output_dir, f"images-{seen:09d}.png"
    save_curves(read_log(output_dir), output_dir / CURVES)
    sheets = [output_dir / RECONSTRUCTIONS / name]
    save_reconstruction_sheet(autoencoder, data.validation.pixels, sheets[0])
    if autoencoder.config["variational"]:
        sheets.append(output_dir / SAMPLES / name)
        save_random_sheet(autoencoder, config.run.seed, sheets[1])
    return sheets
