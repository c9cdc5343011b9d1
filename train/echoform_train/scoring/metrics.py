"""Numbers that compare sets of images, each a pure function of arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import linalg, stats
from torch import Tensor


class Interval(NamedTuple):
    """A mean and its 95 % interval, in the unit of the values."""

    mean: float
    low: float
    high: float


class CodebookUse(NamedTuple):
    """How much of a codebook is in use."""

    share: float
    """Codes used at least once, as a share of all, 0..1."""
    perplexity: float
    """Exponential of the entropy of the codes: 1 where all latents share one, the size where all are used alike."""


class Manifold(NamedTuple):
    """How two sets of points cover each other; each is 1 for sets of one distribution, but density has no upper end."""

    precision: float
    """Share of generated points inside the neighbourhood of any real one, 0..1."""
    recall: float
    """Share of real points inside the neighbourhood of any generated one, 0..1."""
    density: float
    """Mean number of neighbourhoods of real points that hold a generated point, over `neighbours`, 0..N/neighbours."""
    coverage: float
    """Share of real points whose neighbourhood holds any generated one, 0..1."""


class Nearest(NamedTuple):
    """Two neighbours of each image, the nearer one first."""

    distance: Tensor
    """Euclidean, float64 [N, 2], in the unit of the images."""
    place: Tensor
    """Among the training images, int64 [N, 2]."""


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet distance of the normal distributions fitted to two sets of features.

    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)); Heusel et al., NeurIPS 2017. It falls with the number of
    points: compare only numbers from sets of one size.

    Args:
        a: float [N, D], N >= 2.
        b: float [M, D], M >= 2.

    Returns:
        0 for equal means and covariances; the unit of the features, squared.
    """
    a, b = _points(a, 2), _points(b, 2)
    _same_width(a, b)
    # S_a^(1/2) S_b S_a^(1/2) has the eigenvalues of S_a S_b, but is symmetric, so that none comes out complex.
    root = _symmetric_root(np.atleast_2d(np.cov(a, rowvar=False)))
    cross = np.linalg.eigvalsh(root @ np.atleast_2d(np.cov(b, rowvar=False)) @ root)
    spread = a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum() - 2 * np.sqrt(np.maximum(cross, 0)).sum()
    # Rounding leaves about -1e-15 of the spread where the sets are equal.
    return float(np.square(a.mean(0) - b.mean(0)).sum() + max(spread, 0.0))


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the cubic kernel (x.y / D + 1)^3, unbiased.

    KID of Binkowski et al., ICLR 2018, over the whole sets. Around 0 (also below) for sets of one distribution,
    whatever their sizes.

    Args:
        a: float [N, D], N >= 2.
        b: float [M, D], M >= 2.
    """
    a, b = _points(a, 2), _points(b, 2)
    _same_width(a, b)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / a.shape[1] + 1) ** 3

    def off_diagonal_mean(gram: np.ndarray) -> float:
        return (gram.sum() - np.trace(gram)) / (len(gram) * (len(gram) - 1))

    return float(off_diagonal_mean(kernel(a, a)) + off_diagonal_mean(kernel(b, b)) - 2 * kernel(a, b).mean())


def manifold_scores(real: np.ndarray, generated: np.ndarray, neighbours: int = 5) -> Manifold:
    """Precision and recall (Kynkäänniemi et al., NeurIPS 2019), density and coverage (Naeem et al., ICML 2020).

    The neighbourhood of a point is the ball that reaches to its k-th nearest other point of its own set.

    Args:
        real: float [N, D], N > neighbours.
        generated: float [M, D], M > neighbours.
        neighbours: k.
    """
    real, generated = _points(real, neighbours + 1), _points(generated, neighbours + 1)
    _same_width(real, generated)
    distance = _distances(real, generated)  # [N, M]
    within_real = distance <= _kth_distance(real, neighbours)[:, None]
    within_generated = distance <= _kth_distance(generated, neighbours)[None, :]
    return Manifold(
        precision=float(within_real.any(0).mean()),
        recall=float(within_generated.any(1).mean()),
        density=float(within_real.sum(0).mean() / neighbours),
        coverage=float(within_real.any(1).mean()),
    )


def memorised_share(images: Tensor, training: Tensor, ratio: float = 1 / 3, chunk: int = 256) -> float:
    """Share of images that look like copies: nearest training image nearer than `ratio` of the second nearest.

    Args:
        images: float [N, ...].
        training: float [M, ...] of the same shape an item, M >= 2. Images that repeat in it hide their own copies.
        ratio: A third after Carlini et al., USENIX Security 2023.
        chunk: Images compared at a time.

    Returns:
        0..1.
    """
    distance = nearest_two(images, training, chunk).distance
    return int((distance[:, 0] < ratio * distance[:, 1]).sum()) / len(images)


def nearest_two(images: Tensor, training: Tensor, chunk: int = 256) -> Nearest:
    """The two training images that each image is nearest to; arguments and errors as of `memorised_share`."""
    if images.shape[1:] != training.shape[1:] or len(images) == 0 or len(training) < 2:
        raise ValueError(
            "images and at least two training images of one shape are needed, "
            f"got {list(images.shape)} and {list(training.shape)}"
        )
    known = training.flatten(1).double()
    found = [
        torch.cdist(part, known, compute_mode="donot_use_mm_for_euclid_dist").topk(2, largest=False)
        for part in images.flatten(1).double().split(chunk)
    ]
    return Nearest(torch.cat([each.values for each in found]), torch.cat([each.indices for each in found]))


def mean_pairwise_distance(points: np.ndarray) -> float:
    """Mean Euclidean distance of two different points of float [N, D], N >= 2."""
    points = _points(points, 2)
    return float(_distances(points, points).sum() / (len(points) * (len(points) - 1)))


def psnr(reconstruction: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio over all images together, dB; infinite where they are equal.

    Args:
        reconstruction: float, any shape, in [-1, 1].
        target: The same shape and range, so that the peak is 2.
    """
    if reconstruction.shape != target.shape:
        raise ValueError(f"shapes must be equal, got {list(reconstruction.shape)} and {list(target.shape)}")
    error = (reconstruction.double() - target.double()).square().mean().item()
    return math.inf if error == 0 else 10 * math.log10(4 / error)


def codebook_usage(counts: Tensor) -> CodebookUse:
    """Share of the codes in use and their perplexity, over as many latents as were counted.

    Args:
        counts: How often each code was chosen, [K], not negative and not all zero.
    """
    if counts.ndim != 1 or counts.min() < 0 or counts.sum() <= 0:
        raise ValueError(f"counts must be [K], none negative and not all zero, got {counts}")
    shares = counts.double() / counts.sum()
    used = shares[shares > 0]
    return CodebookUse(len(used) / len(shares), torch.exp(-(used * used.log()).sum()).item())


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval by Student's t of independent values, such as one a seed; at least two."""
    if len(values) < 2:
        raise ValueError(f"an interval needs at least two values, got {len(values)}")
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def bootstrap_interval(values: Sequence[float] | np.ndarray, seed: int, resamples: int = 2000) -> Interval:
    """Mean and 95 % percentile bootstrap interval (Efron, 1979), for shares of images: 1 for a hit, 0 for a miss."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"values must be a list of at least one number, got shape {list(values.shape)}")
    chosen = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[chosen].mean(1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def _points(points: np.ndarray, least: int) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or len(points) < least:
        raise ValueError(f"a set must be [N, D] with N of at least {least}, got {list(points.shape)}")
    if not np.isfinite(points).all():
        raise ValueError("all points must be finite, some are not")
    return points


def _same_width(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both sets must have the same number of features, got {a.shape[1]} and {b.shape[1]}")


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Differences, not the faster |a|^2 + |b|^2 - 2 a.b, whose rounding takes equal points apart.
    return torch.cdist(torch.from_numpy(a), torch.from_numpy(b), compute_mode="donot_use_mm_for_euclid_dist").numpy()


def _kth_distance(points: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance of each point to its k-th nearest other point, [N]."""
    return np.partition(_distances(points, points), neighbours, axis=1)[:, neighbours]
