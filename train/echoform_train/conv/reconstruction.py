"""Reconstruct images with a convolutional autoencoder in batches, and measure the statistics of its latents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from echoform.conv_autoencoder import ConvAutoencoder
from echoform_train.data.spectrograms import to_pixels
from echoform_train.engine.evaluation import evaluation_mode


@dataclass(frozen=True)
class ReconstructedBatch:
    """A batch of images and their reconstructions, on the device of the model."""

    images: Tensor
    """float32 [B, C, H, W], in the range of the model."""
    reconstructed: Tensor
    """float32 [B, C, H, W], in the range of the model."""
    latents: Tensor
    """float32 [B, D, h, w]; for a variational model the means, from which `reconstructed` is decoded."""
    log_variance: Tensor | None
    """Log-variance of the latents of a variational model, same shape as `latents`; else None."""


def reconstruct_batches(model: ConvAutoencoder, pixels: Tensor, batch_size: int = 16) -> Iterator[ReconstructedBatch]:
    """Reconstruct images batch by batch; iterate inside `evaluation_mode(model)`.

    Args:
        model: On any device.
        pixels: uint8 [N, C, H, W].
        batch_size: Images per forward pass.
    """
    device = next(model.parameters()).device
    for batch in pixels.split(batch_size):
        images = to_model_range(model, batch, device)
        output = model(images)
        yield ReconstructedBatch(images, output.sample, output.latents, output.log_variance)


def to_model_range(model: ConvAutoencoder, pixels: Tensor, device: torch.device) -> Tensor:
    """Pixels uint8 [B, C, H, W] to the range of the model, float32 on `device`."""
    return model.from_unit(pixels.to(device).float() / 255)


def to_uint8(images: Tensor) -> Tensor:
    """Images float [B, C, H, W] in 0..1 to pixels uint8 on the CPU."""
    return to_pixels(2 * images - 1).cpu()


def decode_latents_alone(model: ConvAutoencoder, latents: Tensor) -> Tensor:
    """Decode latents [B, D, h, w] without the pooling indices of the encoder, to float32 [B, C, H, W] in 0..1."""
    return model.to_unit(model.decode(latents).sample)


def num_pooling_indices(model: ConvAutoencoder) -> int:
    """Number of pooling indices (positions of maxima) per image that the encoder passes to an unpooling decoder."""
    if model.config["upsampling"] != "unpool":
        return 0
    size = model.config["sample_size"]
    return sum(width * (size >> level + 1) ** 2 for level, width in enumerate(model.config["block_out_channels"]))


def latent_mean_and_deviation(model: ConvAutoencoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each latent channel over images, float32 [D] on the CPU.

    Args:
        model: On any device.
        pixels: uint8 [N, C, H, W].
    """
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    with evaluation_mode(model):
        for batch in reconstruct_batches(model, pixels):
            latents = batch.latents.double().cpu()
            total = total + latents.sum(dim=(0, 2, 3))
            squares = squares + latents.square().sum(dim=(0, 2, 3))
            count += latents[:, 0].numel()
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float()
