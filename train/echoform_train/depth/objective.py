"""The training objective of the depth autoencoder: its forward pass, and the weighted parts of its loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from echoform.depth_autoencoder import DepthAutoencoder
from echoform_train.depth.depth_ae_config import Weights
from echoform_train.depth.losses import (
    contrastive_loss,
    covariance_loss,
    gradient_loss,
    huber_loss,
    latent_loss,
    validity_loss,
)
from echoform_train.scoring.perceptual import PerceptualLoss


class TrainingForward(nn.Module):
    """The forward pass of training as one module, because distributed training wraps a single module.

    Args:
        autoencoder: The model to train.
    """

    def __init__(self, autoencoder: DepthAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(
        self, depth: Tensor, valid: Tensor, noise: Tensor | None, num_decoded: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encode all images; add noise to the first `num_decoded` embeddings, and decode these.

        Args:
            depth: float [B, 1, H, W], model range [-1, 1].
            valid: bool [B, 1, H, W].
            noise: [num_decoded, D], relative to the root mean square of each embedding; None: no noise.
            num_decoded: Number of images to decode.

        Returns:
            Depth and validity logits [num_decoded, 1, H, W], embeddings without noise [B, D].
        """
        latents = self.autoencoder.encode(depth, valid)
        decoded_latents = latents[:num_decoded]
        if noise is not None:
            root_mean_square = decoded_latents.detach().square().mean(1, keepdim=True).sqrt()
            decoded_latents = decoded_latents + noise * root_mean_square
        output = self.autoencoder.decode(decoded_latents)
        return output.depth, output.valid_logit, latents


def reconstruction_losses(
    reconstructed: Tensor, valid_logit: Tensor, depth: Tensor, valid: Tensor, weights: Weights
) -> dict[str, Tensor]:
    """Weighted parts of the loss, scalars by name, that compare reconstructions with their images.

    Args:
        reconstructed: float [B, 1, H, W], model range.
        valid_logit: Predicted validity, float [B, 1, H, W].
        depth: The images, float [B, 1, H, W], model range.
        valid: Where they have a reading, bool [B, 1, H, W].
        weights: Weights of the parts.
    """
    return {
        "huber": weights.huber_weight * huber_loss(reconstructed, depth, valid, weights.huber_delta),
        "gradient": weights.gradient_weight * gradient_loss(reconstructed, depth, valid),
        "validity": weights.validity_weight * validity_loss(valid_logit, valid),
    }


def training_losses(
    model: nn.Module,
    views: list[tuple[Tensor, Tensor]],
    noise: Tensor | None,
    weights: Weights,
    perceptual: PerceptualLoss | None,
) -> dict[str, Tensor]:
    """All weighted parts of the loss of one forward pass, scalars by name.

    Args:
        model: A `TrainingForward`, possibly wrapped for distributed training.
        views: Depth and validity [B, 1, H, W] of one or two augmented views of the images; only the first view is
            reconstructed.
        noise: Noise on the embeddings of the first view, see `TrainingForward`.
        weights: Weights of the parts.
        perceptual: LPIPS; None if its weight is 0.
    """
    # One forward pass encodes all views together, which is faster than one per view.
    batch_size = len(views[0][0])
    depth_of_views, valid_of_views = (torch.cat(columns) for columns in zip(*views, strict=True))
    reconstructed, valid_logit, latents = model(depth_of_views, valid_of_views, noise, batch_size)
    depth, valid = views[0]
    losses = reconstruction_losses(reconstructed, valid_logit, depth, valid, weights)
    if perceptual is not None:
        # LPIPS has no mask, so pixels without a reading get the same value as in `depth`.
        distance = perceptual(torch.where(valid, reconstructed.float(), 0.0), depth)
        losses["lpips"] = weights.lpips_weight * distance
    if weights.latent_weight:
        losses["latent"] = weights.latent_weight * latent_loss(latents)
    if weights.covariance_weight:
        losses["covariance"] = weights.covariance_weight * covariance_loss(latents[:batch_size])
    if weights.contrastive_weight:
        contrast = contrastive_loss(latents[:batch_size], latents[batch_size:], weights.contrastive_temperature)
        losses["contrastive"] = weights.contrastive_weight * contrast
    return losses
