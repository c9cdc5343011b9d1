"""A convolutional autoencoder on held-out pictures, run as whoever loads it runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from echoform.conv_autoencoder import ConvAutoencoder


@dataclass(frozen=True)
class Passed:
    """Pictures that went through the model, on its device."""

    images: Tensor
    """float32 [B, C, H, W] in the model's range."""
    made: Tensor
    """What the model makes of them, the same range."""
    latents: Tensor
    """float32 [B, D, h, w]; of a variational model the means, which `made` was decoded from."""
    log_variance: Tensor | None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run the block with the model in evaluation mode and without gradients, and leave it as it was."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def passed(model: ConvAutoencoder, pixels: Tensor, batch_size: int = 16) -> Iterator[Passed]:
    """Stored pixels, uint8 [N, C, H, W], through the model in batches; consume it inside `evaluating`."""
    device = next(model.parameters()).device
    for batch in pixels.split(batch_size):
        images = to_images(model, batch, device)
        output = model(images)
        yield Passed(images, output.sample, output.latents, output.log_variance)


def to_images(model: ConvAutoencoder, pixels: Tensor, device: torch.device) -> Tensor:
    """Stored pixels, uint8 [B, C, H, W], in the model's range, float32 on `device`."""
    return model.from_unit(pixels.to(device).float() / 255)


def alone(model: ConvAutoencoder, latents: Tensor) -> Tensor:
    """Pixels in 0..1, float32 [B, C, H, W], of latents without the places of the maxima."""
    return model.to_unit(model.decode(latents).sample)


def latent_statistics(model: ConvAutoencoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each latent channel over pictures, float32 [D] on the CPU.

    Args:
        model: On any device.
        pixels: Stored pixels, uint8 [N, C, H, W].
    """
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    with evaluating(model):
        for each in passed(model, pixels):
            latents = each.latents.double().cpu()
            total = total + latents.sum(dim=(0, 2, 3))
            squares = squares + latents.square().sum(dim=(0, 2, 3))
            count += latents[:, 0].numel()
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float()
