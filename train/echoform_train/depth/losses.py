"""Reconstruction losses of depth images, in which pixels without a reading have no say.

Sums over valid pixels are divided by all pixels, so that a pixel weighs the same in every image and batch, an image
without a reading costs nothing, and accumulated small batches give the gradient of a large one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def huber_loss(predicted: Tensor, target: Tensor, valid: Tensor, delta: float) -> Tensor:
    """Huber's loss over `delta`: error^2 / (2 delta) up to `delta`, then |error| - delta / 2.

    Args:
        predicted: float [B, C, H, W], model range [-1, 1].
        target: The same shape and range.
        valid: bool or 0/1 [B, 1, H, W].
        delta: Where squares become absolute values, in model range; large ones make it a squared error.

    Returns:
        Scalar.

    Raises:
        ValueError: If `delta` is not positive.
    """
    if delta <= 0:
        raise ValueError(f"the Huber loss needs a positive delta, got {delta}")
    error = F.huber_loss(predicted.float(), target.float(), reduction="none", delta=delta) / delta
    return (error * valid).mean()


def gradient_loss(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error of the differences of neighbours, right and below, both of them valid; keeps edges sharp.

    The single-scale form of the gradient matching term of Li and Snavely, MegaDepth, CVPR 2018, on linear depth.

    Args:
        predicted: float [B, C, H, W], model range [-1, 1].
        target: The same shape and range.
        valid: bool or 0/1 [B, 1, H, W].

    Returns:
        Scalar.
    """
    error = predicted.float() - target.float()
    valid = valid.to(error.dtype)
    right = (error[..., 1:] - error[..., :-1]).abs() * valid[..., 1:] * valid[..., :-1]
    below = (error[..., 1:, :] - error[..., :-1, :]).abs() * valid[..., 1:, :] * valid[..., :-1, :]
    return (right.sum() + below.sum()) / error.numel()


def validity_loss(valid_logit: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy of validity logits float [B, 1, H, W] against bool or 0/1 of that shape."""
    return F.binary_cross_entropy_with_logits(valid_logit.float(), valid.float())


def latent_loss(latents: Tensor) -> Tensor:
    """Mean square of latents [B, D]: keeps their scale from drifting."""
    return latents.float().square().mean()


def covariance_loss(latents: Tensor) -> Tensor:
    """Mean squared correlation of two different dimensions over the batch: 0 where they all say something else.

    The covariance term of VICReg (Bardes et al., ICLR 2022) on standardised dimensions, so that scale has no say. It is
    the only loss here that depends on which images share a batch.

    Args:
        latents: float [B, D], B and D of at least 2.

    Returns:
        Scalar in 0..1.

    Raises:
        ValueError: If there are fewer than two images or dimensions.
    """
    count, dim = latents.shape
    if count < 2 or dim < 2:
        raise ValueError(f"correlations need at least 2 images and 2 dimensions, got {list(latents.shape)}")
    centred = latents.float() - latents.float().mean(0)
    standardised = centred / centred.square().mean(0).add(1e-8).sqrt()
    squared = (standardised.T @ standardised / count).square()
    return (squared.sum() - squared.diagonal().sum()) / (dim * (dim - 1))


def contrastive_loss(latents: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding, among all others, the second view of the same image (NT-Xent; Chen et al., ICML 2020).

    Views of one image that augmentation made are pulled together and those of different images apart, which helps
    search and recognition without labels.

    Args:
        latents: First views, float [B, D], B of at least 2.
        others: Second views in the same order, float [B, D].
        temperature: Of the cosine similarities, above 0.

    Returns:
        Scalar; log(2 B - 1) where all latents are alike.

    Raises:
        ValueError: If there are fewer than two images, the shapes differ or the temperature is not positive.
    """
    if latents.shape != others.shape or len(latents) < 2:
        raise ValueError(
            f"two views of at least 2 images are needed, got {list(latents.shape)} and {list(others.shape)}"
        )
    if temperature <= 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    both = F.normalize(torch.cat([latents, others]).float(), dim=1)
    similarity = both @ both.T / temperature
    itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
    similarity = similarity.masked_fill(itself, -torch.inf)
    count = len(latents)
    partner = torch.arange(2 * count, device=both.device).roll(count)
    return F.cross_entropy(similarity, partner)
