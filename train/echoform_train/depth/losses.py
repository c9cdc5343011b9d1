"""Training losses of depth images that ignore pixels without a reading.

Sums over valid pixels are divided by the number of all pixels, so that a pixel has the same weight in every image and
batch, and accumulating several small batches gives the gradient of one large batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from echoform_train.engine.errors import UserError


def huber_loss(predicted: Tensor, target: Tensor, valid: Tensor, delta: float) -> Tensor:
    """Huber loss divided by `delta`: error^2 / (2 delta) up to |error| = delta, beyond it |error| - delta / 2.

    Args:
        predicted: float [B, C, H, W], model range [-1, 1].
        target: The same shape and range.
        valid: Where the target has a reading, bool or 0/1 [B, 1, H, W].
        delta: Error at which the loss turns from quadratic to linear, in model range.

    Returns:
        Scalar.

    Raises:
        ValueError: If `delta` is not positive.
    """
    if delta <= 0:
        raise UserError(f"the Huber loss needs a positive delta, got {delta}")
    error = F.huber_loss(predicted.float(), target.float(), reduction="none", delta=delta) / delta
    return (error * valid).mean()


def gradient_loss(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error of the differences between a pixel and its neighbours to the right and below.

    It keeps edges sharp. A difference counts if both pixels are valid.

    Args:
        predicted: float [B, C, H, W], model range [-1, 1].
        target: The same shape and range.
        valid: Where the target has a reading, bool or 0/1 [B, 1, H, W].

    Returns:
        Scalar.

    Source: the gradient matching term of Li and Snavely, MegaDepth, CVPR 2018, at one scale and on linear depth.
    """
    error = predicted.float() - target.float()
    valid = valid.to(error.dtype)
    right = (error[..., 1:] - error[..., :-1]).abs() * valid[..., 1:] * valid[..., :-1]
    below = (error[..., 1:, :] - error[..., :-1, :]).abs() * valid[..., 1:, :] * valid[..., :-1, :]
    return (right.sum() + below.sum()) / error.numel()


def validity_loss(valid_logit: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy of predicted validity.

    Args:
        valid_logit: float [B, 1, H, W].
        valid: Where the target has a reading, bool or 0/1 [B, 1, H, W].
    """
    return F.binary_cross_entropy_with_logits(valid_logit.float(), valid.float())


def latent_loss(latents: Tensor) -> Tensor:
    """Mean square of embeddings [B, D]; keeps their scale from drifting."""
    return latents.float().square().mean()


def covariance_loss(latents: Tensor) -> Tensor:
    """Mean squared correlation between different dimensions over the batch; 0 if all are uncorrelated.

    It depends on which images are in a batch, unlike the losses above.

    Args:
        latents: Embeddings, float [B, D], B and D of at least 2.

    Returns:
        Scalar in 0..1.

    Raises:
        ValueError: If there are fewer than two images or dimensions.

    Source: the covariance term of VICReg (Bardes et al., ICLR 2022), on standardised dimensions, so that the scale of
    the embedding does not matter.
    """
    count, dim = latents.shape
    if count < 2 or dim < 2:
        raise UserError(f"correlations need at least 2 images and 2 dimensions, got {list(latents.shape)}")
    centred = latents.float() - latents.float().mean(0)
    standardised = centred / centred.square().mean(0).add(1e-8).sqrt()
    squared = (standardised.T @ standardised / count).square()
    return (squared.sum() - squared.diagonal().sum()) / (dim * (dim - 1))


def contrastive_loss(latents: Tensor, others: Tensor, temperature: float) -> Tensor:
    """NT-Xent: cross-entropy of finding the other view of the same image among all other views of the batch.

    It pulls the embeddings of two augmented views of one image together and pushes those of different images apart.

    Args:
        latents: Embeddings of the first views, float [B, D], B of at least 2.
        others: Embeddings of the second views in the same order, float [B, D].
        temperature: Divides the cosine similarities; positive.

    Returns:
        Scalar; log(2 B - 1) if all embeddings are equal.

    Raises:
        ValueError: If there are fewer than two images, the shapes differ or the temperature is not positive.

    Source: Chen et al., ICML 2020.
    """
    if latents.shape != others.shape or len(latents) < 2:
        raise UserError(
            f"two views of at least 2 images are needed, got {list(latents.shape)} and {list(others.shape)}"
        )
    if temperature <= 0:
        raise UserError(f"the temperature must be positive, got {temperature}")
    both = F.normalize(torch.cat([latents, others]).float(), dim=1)
    similarity = both @ both.T / temperature
    # A view is not compared with itself.
    itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
    similarity = similarity.masked_fill(itself, -torch.inf)
    # View k and view k + B show the same image.
    count = len(latents)
    partner = torch.arange(2 * count, device=both.device).roll(count)
    return F.cross_entropy(similarity, partner)
