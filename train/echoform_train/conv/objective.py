"""The training objective of the convolutional autoencoder: its forward pass and the parts of its loss."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from echoform.conv_autoencoder import ConvAutoencoder
from echoform_train.conv.conv_ae_config import ErrorKind

"""Mean squared or mean absolute error."""


class TrainingForward(nn.Module):
    """The forward pass of training as one module, because distributed training wraps a single module.

    Args:
        autoencoder: The model to train.
    """

    def __init__(self, autoencoder: ConvAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, images: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Reconstruct images.

        Args:
            images: float [B, C, H, W], in the range of the model.
            noise: Standard normal noise of the latents of a variational model, [B, D, h, w]; None otherwise.

        Returns:
            Reconstruction [B, C, H, W], mean and log-variance of the latents [B, D, h, w]; no log-variance if the model
            is not variational.
        """
        output = self.autoencoder(images, noise)
        return output.sample, output.latents, output.log_variance


def training_losses(
    reconstructed: Tensor,
    images: Tensor,
    latents: Tensor,
    log_variance: Tensor | None,
    error: ErrorKind,
    kl_weight: float,
) -> dict[str, Tensor]:
    """Parts of the loss, scalars by name: the error, and the weighted KL divergence of a variational model.

    The divergence is that from the standard normal distribution (Kingma and Welling 2014, appendix B). It is divided by
    the number of values of an image, because the error is a mean over these values. With `error` "mse", a weight of 1
    gives the evidence lower bound for a decoder of variance 1/2.

    Args:
        reconstructed: float [B, C, H, W].
        images: The same shape and range.
        latents: Means of the latents, float [B, D, h, w].
        log_variance: The same shape; None if the model is not variational.
        error: Kind of error.
        kl_weight: Weight of the divergence.
    """
    distance = F.mse_loss if error == "mse" else F.l1_loss
    losses: dict[str, Tensor] = {error: distance(reconstructed, images)}
    if log_variance is not None:
        nats = DiagonalGaussianDistribution(torch.cat([latents, log_variance], dim=1).float()).kl().mean()
        losses["kl"] = kl_weight * nats / images[0].numel()
    return losses
