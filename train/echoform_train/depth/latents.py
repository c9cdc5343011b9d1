"""Statistics of embeddings, and their two-dimensional map for figures."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from echoform_train.engine.errors import UserError
from echoform_train.engine.extras import needs_extra

DEAD_SHARE = 0.01
"""A dimension is dead if its deviation is less than this share of the median deviation."""
SPECTRUM_LENGTH = 64
"""Principal components whose shares of the variance are listed."""


class LatentStatistics(TypedDict):
    """Statistics of the embeddings of a set of images."""

    dead_dimensions: int
    """Number of dimensions that hardly vary, see DEAD_SHARE."""
    deviation_median: float
    """Median over the dimensions of their standard deviation."""
    spectrum: list[float]
    """Shares of the variance that principal components explain, largest first, at most 64."""
    components_for_90: int
    """Number of principal components that explain 90 % of the variance."""
    components_for_99: int
    effective_dimensions: float
    """Exponential of the entropy of the whole spectrum (Roy and Vetterli, EUSIPCO 2007)."""
    norm_mean: float
    """Mean length of the vectors."""
    norm_deviation: float
    norm_min: float
    norm_max: float


def latent_statistics(latents: np.ndarray) -> LatentStatistics:
    """Statistics of embeddings float [N, D], N of at least 2.

    Raises:
        ValueError: If there are fewer than two embeddings, or all are equal.
    """
    latents = np.asarray(latents, dtype=np.float64)
    if latents.ndim != 2 or len(latents) < 2:
        raise UserError(f"embeddings must be [N, D] with N of at least 2, got {list(latents.shape)}")
    deviation = latents.std(0)
    # The smaller of the N x N and the D x D product matrix is used; their nonzero eigenvalues are equal.
    centred = latents - latents.mean(0)
    products = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    variances = np.clip(np.linalg.eigvalsh(products)[::-1], 0, None)
    if variances[0] == 0:
        raise UserError("embeddings must differ to be analysed, all are the same")
    shares = variances / variances.sum()
    cumulative, positive = np.cumsum(shares), shares[shares > 0]
    norms = np.linalg.norm(latents, axis=1)
    return {
        "dead_dimensions": int((deviation < DEAD_SHARE * np.median(deviation)).sum()),
        "deviation_median": float(np.median(deviation)),
        "spectrum": shares[:SPECTRUM_LENGTH].tolist(),
        "components_for_90": int(np.searchsorted(cumulative, 0.90) + 1),
        "components_for_99": int(np.searchsorted(cumulative, 0.99) + 1),
        "effective_dimensions": float(np.exp(-(positive * np.log(positive)).sum())),
        "norm_mean": float(norms.mean()),
        "norm_deviation": float(norms.std()),
        "norm_min": float(norms.min()),
        "norm_max": float(norms.max()),
    }


def map_to_plane(latents: np.ndarray, seed: int = 0) -> np.ndarray:
    """Positions float32 [N, 2] of embeddings float [N, D] on a plane, by t-SNE, which keeps neighbours together.

    t-SNE starts from the first two principal components. The perplexity is 30, or N / 3 if that is less.

    Source: van der Maaten and Hinton, JMLR 2008.

    Raises:
        ValueError: If there are fewer than four embeddings.
    """
    if len(latents) < 4:
        raise UserError(f"a map needs at least 4 embeddings, got {len(latents)}")
    with needs_extra("depth", "a map of embeddings"):
        from sklearn.manifold import TSNE
    perplexity = min(30.0, (len(latents) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(np.asarray(latents, np.float32))
