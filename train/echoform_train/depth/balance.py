"""A linear map that brings the dimensions of an embedding nearer to one size, so that distances mean more."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-3
"""Smallest variance that a component is taken to have, as a share of the largest: what is smaller is not blown up."""


def balancing_map(latents: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Mean and symmetric matrix that take `latents` to components of variance v^(1 - power).

    The largest components of an autoencoder's embedding tell where things are, and drown in a distance those that tell
    what they are. Half-way to whitening (power 0.5) both are heard; all the way, noise is too.

    Args:
        latents: float [N, D], of training images.
        power: In 0..1; 0 only centres.

    Returns:
        Mean [D] and matrix [D, D], float32: (latents - mean) @ matrix is the balanced embedding.

    Raises:
        ValueError: If the power lies outside 0..1.

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
