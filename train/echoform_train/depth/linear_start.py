"""The linear maps of a depth autoencoder as principal components of the training images: where training starts."""

from __future__ import annotations

import torch
from torch import Tensor

from echoform.depth_autoencoder import DepthAutoencoder
from echoform_train.depth.baselines import principal_components

VALIDITY_SCALE = 0.25
"""Weight of validity beside depth in the components."""
LOGIT_SLOPE = 8.0
"""Logit of validity for a change of its linear estimate by 1."""
WHITENING = 0.25
"""Power of the variance that each number is divided by: 0 keeps the distances of the images, 0.5 makes all alike."""


@torch.no_grad()
def start_linear_from_pca(autoencoder: DepthAutoencoder, depth: Tensor, valid: Tensor) -> int:
    """Set `encoder.linear` and `decoder.linear` so that together they are a PCA of depth and validity.

    Pixels without a reading count as the mean depth at their place, which a linear map can do. The embedding is scaled
    to a root mean square of 1.

    Args:
        autoencoder: With `linear_shortcut`; changed in place.
        depth: Training images, float32 [N, 1, H, W], model range [-1, 1].
        valid: Where they have readings, bool [N, 1, H, W].

    Returns:
        How many numbers of the embedding start as components: at most N - 1, the others start at random and unused.

    Raises:
        ValueError: If the model has no linear shortcut, or there are fewer than two images.
    """
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    if decoder.linear is None:
        raise ValueError("only a model with linear_shortcut can start from principal components, this one has none")
    batches = zip(depth.split(64), valid.split(64), strict=True)
    features = torch.cat([encoder.linear_features(one, its.float()) for one, its in batches])
    mean, share = features.chunk(2, dim=1)  # [N, P] each
    usual = (mean * share).sum(0) / share.sum(0).clamp(min=1)
    filled = mean + (1 - share) * usual
    centre, usual_share = filled.mean(0), share.mean(0)
    centred = torch.cat([filled - centre, VALIDITY_SCALE * (share - usual_share)], dim=1)
    components, variances = principal_components(centred, autoencoder.config["latent_dim"])
    count = len(components)

    scale = variances.clamp(min=1e-12) ** -WHITENING
    scale /= (scale.square() * variances).mean().sqrt()
    of_depth, of_share = components.chunk(2, dim=1)  # [D, P] each
    from_share = VALIDITY_SCALE * of_share
    encoder.linear.weight[:count] = scale[:, None] * torch.cat([of_depth, from_share - of_depth * usual], dim=1)
    encoder.linear.bias[:count] = scale * (of_depth @ (usual - centre) - from_share @ usual_share)
    slope = LOGIT_SLOPE / VALIDITY_SCALE
    decoder.linear.weight.zero_()
    decoder.linear.weight[:, :count] = (torch.cat([of_depth, slope * of_share], dim=1) / scale[:, None]).T
    decoder.linear.bias.copy_(torch.cat([centre, LOGIT_SLOPE * (usual_share - 0.5)]))
    return count
