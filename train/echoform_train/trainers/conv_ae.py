"""`echoform train conv-ae`: pictures to feature maps and back, by VGG and its mirror."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import tyro
from accelerate.utils import broadcast
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from echoform.conv_autoencoder import BACKBONES, ConvAutoencoder
from echoform_train.conv.export import build_pipeline, export_pipeline
from echoform_train.conv.quality import alone, evaluating, passed, to_images
from echoform_train.conv.vgg import load_torchvision_weights
from echoform_train.data.images import ImageData, ImageDataConfig, image_facts, load_image_data
from echoform_train.data.painting import save_sheet
from echoform_train.data.spectrograms import to_pixels
from echoform_train.engine.config import RunConfig, fixed_settings, make_preset
from echoform_train.engine.files import AUTOENCODER, FACTS, PIPELINE, SAMPLES, SPLIT
from echoform_train.engine.processes import summed
from echoform_train.engine.provenance import provenance
from echoform_train.engine.run import Run, read_log
from echoform_train.engine.training_result import TrainingResult
from echoform_train.publishing.push import check_before_training, push_after_training
from echoform_train.report.curves import save_curves

CURVES = "curves.png"
SHEET_IMAGES = 12


@dataclass(frozen=True, kw_only=True)
class Config:
    """Train a convolutional autoencoder and export its pipeline."""

    preset: Literal["cpu", "vgg13", "vgg16"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    data: tyro.conf.OmitArgPrefixes[ImageDataConfig]
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    backbone: Literal["vgg13", "vgg16"] = "vgg16"
    """Layers of the encoder; the decoder mirrors them."""
    width_factor: float = 1.0
    """Share of VGG's channels in every layer."""
    levels: int = 5
    """Levels of VGG to use, each halving the picture."""
    batch_norm: bool = True
    """Batch norm after each convolution but the last."""
    torchvision_weights: bool = False
    """Start the encoder from torchvision's weights; they are downloaded at first use."""
    upsampling: Literal["unpool", "transpose"] = "unpool"
    """unpool by the places of the maxima, which the encoder tells the decoder; transpose from the latents alone."""
    output_activation: Literal["none", "sigmoid", "tanh"] = "none"
    """What ends the decoder; sigmoid needs --data-range unit, tanh needs symmetric."""
    data_range: Literal["unit", "symmetric", "imagenet"] = "unit"
    """0..1, -1..1, or standardised by ImageNet's mean and deviation, as torchvision's weights know it."""
    latent_channels: int | None = None
    """Channels of the latents, by 1x1 convolutions. Default: the feature maps of the last level as they are."""

    loss: Literal["mse", "l1"] = "mse"
    """Mean squared or mean absolute error, in the model's range."""
    kl_weight: float = 0.0
    """Above 0 the model is variational: weight of the divergence of its latents, in nats a value of the picture."""
    sample_every: int = 20_000
    """Images seen between two pictures: curves of the loss and a sheet of inputs and outputs."""


_GPU_RUN: dict[str, Any] = {
    "max_train_images": 500_000,
    "train_batch_size": 32,
    "learning_rate": 3e-4,
    "lr_warmup_steps": 500,
}
PRESETS = {
    "cpu": make_preset(
        Config,
        "cpu",
        {"max_train_images": 20_000, "train_batch_size": 8, "learning_rate": 3e-3, "validation_every": 2_000},
        partial(ImageDataConfig, resolution=128),
        backbone="vgg13",
        width_factor=0.25,
        sample_every=4_000,
    ),
    "vgg13": make_preset(Config, "vgg13", _GPU_RUN, ImageDataConfig, backbone="vgg13"),
    "vgg16": make_preset(Config, "vgg16", _GPU_RUN, ImageDataConfig),
}


class Reconstruction(nn.Module):
    """The forward pass of training, in one module that gives tensors, so that wrappers for many processes see it."""

    def __init__(self, autoencoder: ConvAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, images: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images [B, C, H, W] and noise [B, D, h, w] to images, and mean and log-variance of the latents."""
        output = self.autoencoder(images, noise)
        return output.sample, output.latents, output.log_variance


def main(config: Config) -> TrainingResult:
    """Train, export the pipeline to OUTPUT_DIR/pipeline, and push it where that was asked for."""
    split_file = config.data.split_file or config.run.output_dir / SPLIT
    sees: dict[str, Any] = {"resolution": config.data.resolution, "color": config.data.color}
    data = load_image_data(config.data, split_file, config.run.seed, **sees)
    data.split.save(config.run.output_dir / SPLIT)
    return train(config, data)


def train(config: Config, data: ImageData) -> TrainingResult:
    """Train on `data`, and export the pipeline to OUTPUT_DIR/pipeline.

    Raises:
        ValueError: If there is nothing to validate on, or settings contradict one another.
        FileNotFoundError: If torchvision's weights are asked for and out of reach.
        FloatingPointError: If a loss stops being finite.
        PushError: If the result cannot be pushed where it should be; noticed before the training where possible.
    """
    _check(config, data)
    run = Run(config.run, len(data.train), fixed_settings(config))
    if run.is_main:
        check_before_training(config.run)
    torch.manual_seed(config.run.seed)
    channels, resolution = data.train.pixels.shape[1], data.train.pixels.shape[-1]
    autoencoder = build_model(config, channels, resolution)
    if config.torchvision_weights:
        load_torchvision_weights(autoencoder, config.backbone)
    if config.run.gradient_checkpointing:
        autoencoder.enable_gradient_checkpointing()
    autoencoder.to(run.device, memory_format=run.memory_format)  # pyright: ignore[reportCallIssue]
    latent_shape = "x".join(map(str, autoencoder.latent_shape))
    run.accelerator.print(
        f"convolutional autoencoder of {_count(autoencoder) / 1e6:.1f} M parameters: "
        f"{channels}x{resolution}x{resolution} -> {latent_shape}, {len(data.train)} images"
    )
    raw = Reconstruction(autoencoder)
    model, optimizer = run.accelerator.prepare(raw, run.optimizer(raw))
    resumed = run.resume({"optimizer": optimizer})
    if resumed is not None:
        autoencoder.load_state_dict(resumed["autoencoder"])
    run.accelerator.init_trackers("conv-ae", config={"preset": config.preset, "seed": config.run.seed})

    output_dir = config.run.output_dir
    while not run.done:
        for draw in run.draws():
            images = to_images(autoencoder, data.train.pixels[draw.indices], run.device)
            noise = draw.randn(*autoencoder.latent_shape).to(run.device) if config.kl_weight else None
            with run.accelerator.accumulate(model):
                made, latents, log_variance = model(images.to(memory_format=run.memory_format), noise)
                parts = loss_parts(config, made, images, latents, log_variance)
                loss = torch.stack(list(parts.values())).sum()
                run.collect(loss=loss, **parts)
                run.descend(loss, optimizer, model)
        run.advance()
        if run.due(config.run.logging_every):
            run.log_means()
        if run.due(config.run.validation_every):
            scores = validate(autoencoder, config, data, run)
            run.log({f"validation/{name}": value for name, value in scores.items()})
            if run.judge_best(scores["loss"]) and run.is_main:
                autoencoder.save_pretrained(output_dir / AUTOENCODER)
                facts = _facts(config, run, data, autoencoder) | {"validation": scores, "best_after": run.seen}
                (output_dir / FACTS).write_text(json.dumps(facts, indent=1))
        if run.due(config.sample_every) and run.is_main:
            save_curves(read_log(output_dir), output_dir / CURVES)
            save_sheets(autoencoder, data, run)
        if run.due(config.run.checkpointing_every) or run.done:
            run.save({"optimizer": optimizer}, {"autoencoder": autoencoder.state_dict()})
    return _finish(config, run, data)


def _finish(config: Config, run: Run, data: ImageData) -> TrainingResult:
    """Export the best model, and push it where that was asked for."""
    output_dir = config.run.output_dir
    result = run.finish(output_dir / PIPELINE)
    facts = result.facts
    if run.is_main:
        pipeline = build_pipeline(ConvAutoencoder.from_pretrained(output_dir / AUTOENCODER), data.train)
        export_pipeline(pipeline, facts, output_dir / PIPELINE)
    run.accelerator.print(
        f"best after {facts['best_after']} images: "
        + ", ".join(f"{name} {value:.4g}" for name, value in facts["validation"].items())
        + f"; pipeline in {output_dir / PIPELINE}"
    )
    if run.is_main:
        push_after_training(config.run, output_dir / PIPELINE)
    return result


def build_model(config: Config, channels: int, resolution: int) -> ConvAutoencoder:
    """The autoencoder of the settings for images of `channels` channels and `resolution` pixels a side."""
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


def loss_parts(
    config: Config, made: Tensor, images: Tensor, latents: Tensor, log_variance: Tensor | None
) -> dict[str, Tensor]:
    """Weighted parts of the loss, scalars: the error, and of a variational model the divergence.

    The divergence from the standard normal (Kingma and Welling 2014, appendix B), nats an image, is divided by the
    number of an image's values, as the error is: with an error of mse, a weight of 1 is the evidence bound of a
    decoder with a variance of 1/2.

    Args:
        config: The kind of error and the weight.
        made: float [B, C, H, W].
        images: The same shape and range.
        latents: Means, float [B, D, h, w].
        log_variance: The same shape; None where the model is not variational.
    """
    error = F.mse_loss if config.loss == "mse" else F.l1_loss
    parts = {config.loss: error(made, images)}
    if log_variance is not None:
        nats = DiagonalGaussianDistribution(torch.cat([latents, log_variance], dim=1).float()).kl().mean()
        parts["kl"] = config.kl_weight * nats / images[0].numel()
    return parts


def validate(autoencoder: ConvAutoencoder, config: Config, data: ImageData, run: Run) -> dict[str, float]:
    """Held-out loss and its parts, and the PSNR over all images in decibels, shared among processes.

    The model runs as whoever loads it will run it: in float32, with the statistics that batch norm has gathered.
    """
    if run.accelerator.num_processes > 1:  # each process has gathered its own; those of the main one are saved
        for own in autoencoder.buffers():
            own.copy_(broadcast(own))
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    mine = data.validation.pixels[rank::world]
    totals: dict[str, Tensor] = {}
    with evaluating(autoencoder):
        for each in passed(autoencoder, mine):
            values = loss_parts(config, each.made, each.images, each.latents, each.log_variance)
            made, images = (autoencoder.to_unit(images) for images in (each.made, each.images))
            for name, value in (values | {"squared": F.mse_loss(made, images)}).items():
                totals[name] = totals.get(name, torch.zeros((), device=run.device)) + len(each.images) * value
    means = {name: summed(total, run.accelerator).item() / len(data.validation) for name, total in totals.items()}
    squared = means.pop("squared")
    return {"loss": sum(means.values())} | means | {"psnr_db": -10 * math.log10(max(squared, 1e-12))}


def save_sheets(autoencoder: ConvAutoencoder, data: ImageData, run: Run) -> None:
    """Held-out images above what the model makes of them and, where it unpools, of their latents alone.

    Of a variational model also a sheet of random pictures, which may travel: nobody's data are in it.
    """
    chosen = torch.linspace(0, len(data.validation) - 1, min(SHEET_IMAGES, len(data.validation))).long()
    pixels = data.validation.pixels[chosen]
    name = f"images-{run.seen:09d}.png"
    with evaluating(autoencoder):
        rows = [pixels]
        for each in passed(autoencoder, pixels, batch_size=len(pixels)):
            rows.append(_stored(autoencoder.to_unit(each.made)))
            if autoencoder.config["upsampling"] == "unpool":
                rows.append(_stored(alone(autoencoder, each.latents)))
        save_sheet(torch.cat(rows), len(pixels), None, run.config.output_dir / "reconstructions" / name)
        if autoencoder.config["variational"]:
            shape = (4 * SHEET_IMAGES, *autoencoder.latent_shape)
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(run.config.seed))
            made = _stored(alone(autoencoder, noise.to(run.device)))
            save_sheet(made, SHEET_IMAGES, None, run.config.output_dir / SAMPLES / name)


def _stored(unit: Tensor) -> Tensor:
    return to_pixels(2 * unit - 1).cpu()


def _check(config: Config, data: ImageData) -> None:
    if not len(data.validation):
        raise ValueError(f"a training needs validation images, the split of {data.source} has none")
    if not (math.isfinite(config.kl_weight) and config.kl_weight >= 0):
        raise ValueError(f"--kl-weight must not be negative, got {config.kl_weight}")
    if not config.width_factor > 0:
        raise ValueError(f"--width-factor must be greater than 0, got {config.width_factor}")
    if not 1 <= config.levels <= 5:
        raise ValueError(f"--levels must be in 1..5, as VGG has, got {config.levels}")
    if config.run.gradient_checkpointing and config.batch_norm:
        raise ValueError(
            "--gradient-checkpointing needs --no-batch-norm: what is computed twice would be counted twice in the "
            "statistics of batch norm"
        )


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _facts(config: Config, run: Run, data: ImageData, autoencoder: ConvAutoencoder) -> dict[str, Any]:
    return {
        "kind": "conv-ae",
        "preset": config.preset,
        "backbone": config.backbone,
        "torchvision_weights": config.torchvision_weights,
        "parameters": _count(autoencoder),
        "latent_shape": list(autoencoder.latent_shape),
        "loss": {"error": config.loss, "kl_weight": config.kl_weight},
        "data": image_facts(data),
        "precision": run.accelerator.mixed_precision,
        "images_a_step": run.images_a_step,
        **provenance(),
    }
