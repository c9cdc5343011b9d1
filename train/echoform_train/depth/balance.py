"""A linear map that makes the variances of the principal components of an embedding more equal."""

from __future__ import annotations

import torch
from torch import Tensor

from echoform.depth_autoencoder import DepthAutoencoder
from echoform_train.engine.errors import UserError

FLOOR = 1e-3
"""Lower bound on the variance of a component, as a share of the largest variance, so that noise is not amplified."""


def balancing_map(latents: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Find the mean and the symmetric matrix of the map (latents - mean) @ matrix, which balances an embedding.

    A principal component of variance v gets the variance v^(1 - power). In the embedding of an autoencoder the largest
    components encode the positions of objects and dominate all distances; smaller components encode their shapes. With
    power 0.5 both contribute to distances; with power 1 (whitening) noise does too.

    Args:
        latents: Embeddings of training images, float [N, D].
        power: In 0..1; 0 only subtracts the mean.

    Returns:
        Mean [D] and matrix [D, D], float32.

    Raises:
        ValueError: If the power is outside 0..1.

    Source: Jegou and Chum 2012, "Negative evidences and co-occurences in image retrieval", for whitening (power 1);
    other powers are our own extension.
    """
    if not 0 <= power <= 1:
        raise UserError(f"power must be in 0..1, got {power}")
    latents = latents.double()
    mean = latents.mean(dim=0)
    variance, components = torch.linalg.eigh((latents - mean).T @ (latents - mean) / len(latents))
    scale = (variance.clamp(min=0) + FLOOR * variance[-1]) ** (-power / 2)
    return mean.float(), ((components * scale) @ components.T).float()


@torch.no_grad()
def balance(autoencoder: DepthAutoencoder, centre: Tensor, mix: Tensor) -> None:
    """Set the last linear map of an autoencoder, in place.

    Args:
        autoencoder: Numbers z of its encoder become (z - centre) @ mix, which its decoder inverts.
        centre: float [D].
        mix: Invertible matrix, float [D, D].
    """
    autoencoder.encoder.centre.copy_(centre)
    autoencoder.encoder.mix.copy_(mix)
    autoencoder.decoder.centre.copy_(centre)
    autoencoder.decoder.unmix.copy_(torch.linalg.inv(mix.double()))
