"""What a depth autoencoder is trained to do: the parts of its loss and their weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from echoform.depth_autoencoder import DepthAutoencoder
from echoform_train.depth.losses import (
    contrastive_loss,
    covariance_loss,
    gradient_loss,
    huber_loss,
    latent_loss,
    validity_loss,
)
from echoform_train.scoring.perceptual import PerceptualLoss


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the loss is made of; every weighted part stands in the log."""

    huber_weight: float = 1.0
    """Depth error at pixels with a reading."""
    huber_delta: float = 1.0
    """Where the squared error becomes an absolute one, in model range (which is 2 wide)."""
    gradient_weight: float = 0.02
    """Error of the differences of neighbouring pixels: sharp edges."""
    validity_weight: float = 0.05
    """Cross-entropy of where there are readings."""
    lpips_weight: float = 0.0
    """Perceptual distance; needs torchvision's AlexNet weights."""
    latent_weight: float = 0.0
    """Mean square of the embedding."""
    covariance_weight: float = 0.0
    """Mean squared correlation of two dimensions of the embedding over the images of one forward pass."""
    contrastive_weight: float = 0.0
    """Find the other augmented view of the same image among the images of one forward pass; needs some --augment-..."""
    contrastive_temperature: float = 0.1
    """Of the cosine similarities of views."""


class NoisyAutoencoder(nn.Module):
    """The forward pass of training, in one module so that wrappers for many processes see it."""

    def __init__(self, autoencoder: DepthAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(
        self, depth: Tensor, valid: Tensor, noise: Tensor | None, decoded: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Depth and validity [B, 1, H, W] -> depth and logit of the first `decoded` images, latents [B, D] of all.

        Noise [decoded, D] is in shares of the root mean square of each image's latents.
        """
        latents = self.autoencoder.encode(depth, valid)
        first = latents[:decoded]
        if noise is not None:
            first = first + noise * first.detach().square().mean(1, keepdim=True).sqrt()
        output = self.autoencoder.decode(first)
        return output.depth, output.valid_logit, latents


def reconstruction_parts(
    made: Tensor, logit: Tensor, depth: Tensor, valid: Tensor, weights: Weights
) -> dict[str, Tensor]:
    """The weighted parts that compare a reconstruction with its image; all [B, 1, H, W]."""
    return {
        "huber": weights.huber_weight * huber_loss(made, depth, valid, weights.huber_delta),
        "gradient": weights.gradient_weight * gradient_loss(made, depth, valid),
        "validity": weights.validity_weight * validity_loss(logit, valid),
    }


def weighted_parts(
    model: nn.Module,
    views: list[tuple[Tensor, Tensor]],
    noise: Tensor | None,
    weights: Weights,
    perceptual: PerceptualLoss | None,
) -> dict[str, Tensor]:
    """Every part of the loss of one forward pass, weighted.

    Args:
        model: A `NoisyAutoencoder`, perhaps wrapped.
        views: Depth and validity [B, 1, H, W] of the images; of two views only the first is reconstructed.
        noise: For the latents of the first view, see `NoisyAutoencoder`.
        weights: Of the parts.
        perceptual: For the part lpips; None leaves it out.
    """
    count = len(views[0][0])
    both = (torch.cat(columns) for columns in zip(*views, strict=True))
    made, logit, latents = model(*both, noise, count)
    depth, valid = views[0]
    parts = reconstruction_parts(made, logit, depth, valid, weights)
    if perceptual is not None:
        parts["lpips"] = weights.lpips_weight * perceptual(torch.where(valid, made.float(), 0.0), depth)
    if weights.latent_weight:
        parts["latent"] = weights.latent_weight * latent_loss(latents)
    if weights.covariance_weight:
        parts["covariance"] = weights.covariance_weight * covariance_loss(latents[:count])
    if weights.contrastive_weight:
        pulled = contrastive_loss(latents[:count], latents[count:], weights.contrastive_temperature)
        parts["contrastive"] = weights.contrastive_weight * pulled
    return parts
