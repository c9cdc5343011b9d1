"""What the numbers of an embedding are like: how many of them say something, and how long the vectors are."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.manifold import TSNE

DEAD = 0.01
"""A dimension is dead where its deviation is less than this share of the median one."""
MAP_POINTS = 2000


def analyse_latents(latents: np.ndarray) -> dict[str, Any]:
    """Facts of embeddings float [N, D], N of at least 2; JSON-able.

    Returns:
        `dead_dimensions`, how many; `deviation_median`; `spectrum`, shares of the variance that principal components
        explain, the largest first, at most 64; `components_for_90`, `_99`: how many explain so many percent;
        `effective_dimensions`, the exponential of the entropy of the whole spectrum (Roy and Vetterli, EUSIPCO 2007);
        `norm_mean`, `norm_deviation`, `norm_min` and `norm_max` of the vectors.

    Raises:
        ValueError: If there are fewer than two embeddings, or all are the same.
    """
    latents = np.asarray(latents, dtype=np.float64)
    if latents.ndim != 2 or len(latents) < 2:
        raise ValueError(f"embeddings must be [N, D] with N of at least 2, got {list(latents.shape)}")
    deviation = latents.std(0)
    centred = latents - latents.mean(0)
    small = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    variances = np.clip(np.linalg.eigvalsh(small)[::-1], 0, None)
    if variances[0] == 0:
        raise ValueError("embeddings must differ to be analysed, all are the same")
    shares = variances / variances.sum()
    explained, known = np.cumsum(shares), shares[shares > 0]
    norms = np.linalg.norm(latents, axis=1)
    return {
        "dead_dimensions": int((deviation < DEAD * np.median(deviation)).sum()),
        "deviation_median": float(np.median(deviation)),
        "spectrum": shares[:64].tolist(),
        "components_for_90": int(np.searchsorted(explained, 0.90) + 1),
        "components_for_99": int(np.searchsorted(explained, 0.99) + 1),
        "effective_dimensions": float(np.exp(-(known * np.log(known)).sum())),
        "norm_mean": float(norms.mean()),
        "norm_deviation": float(norms.std()),
        "norm_min": float(norms.min()),
        "norm_max": float(norms.max()),
    }


def flat_map(latents: np.ndarray, seed: int = 0) -> np.ndarray:
    """Places float32 [N, 2] of embeddings float [N, D] on a plane that keeps neighbours together (t-SNE).

    Source: van der Maaten and Hinton, JMLR 2008, from principal components, perplexity 30 or a third of the points.

    Raises:
        ValueError: If there are fewer than four embeddings.
    """
    if len(latents) < 4:
        raise ValueError(f"a map needs at least 4 embeddings, got {len(latents)}")
    perplexity = min(30.0, (len(latents) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(np.asarray(latents, np.float32))
