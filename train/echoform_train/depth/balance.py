"""A linear map that brings the principal components of an embedding nearer to one size, for better distances."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-3
"""Smallest variance that a component is taken to have, as a share of the largest, so that noise is not amplified."""


def balancing_map(latents: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Find the mean and the symmetric matrix of the map (latents - mean) @ matrix, which balances an embedding.

    A principal component of variance v gets the variance v^(1 - power). In the embedding of an autoencoder the largest
    components encode where things are and dominate every distance; smaller components encode what they are. Half-way to
    whitening (power 0.5) both count; complete whitening (power 1) also amplifies noise.

    Args:
        latents: Embeddings of training images, float [N, D].
        power: In 0..1; 0 only subtracts the mean.

    Returns:
        Mean [D] and matrix [D, D], float32.

    Raises:
        ValueError: If the power is outside 0..1.

    Source: Jegou and Chum 2012, "Negative evidences and co-occurences in image retrieval", for whitening; the power is
    ours.
    """
    if not 0 <= power <= 1:
        raise ValueError(f"power must be in 0..1, got {power}")
    latents = latents.double()
    mean = latents.mean(dim=0)
    variance, components = torch.linalg.eigh((latents - mean).T @ (latents - mean) / len(latents))
    scale = (variance.clamp(min=0) + FLOOR * variance[-1]) ** (-power / 2)
    return mean.float(), ((components * scale) @ components.T).float()
