"""Metrics that compare sets of images or of their features, and the use of a codebook; all are pure functions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from echoform_train.engine.errors import UserError


class CodebookUse(NamedTuple):
    """How much of a codebook is in use."""

    share: float
    """Share of the codes that are used at least once, 0..1."""
    perplexity: float
    """Exponential of the entropy of the codes: 1 if all latents share one code, K if all K are used equally often."""


class Manifold(NamedTuple):
    """How two sets of points cover each other; each is near 1 for two sets of one distribution."""

    precision: float
    """Share of generated points inside the neighbourhood of any real one, 0..1."""
    recall: float
    """Share of real points inside the neighbourhood of any generated one, 0..1."""
    density: float
    """Number of real neighbourhoods that a generated point lies in: the mean over generated points, divided by
    `neighbours`; 0..N/neighbours."""
    coverage: float
    """Share of real points whose neighbourhood holds any generated one, 0..1."""


class Nearest(NamedTuple):
    """The two nearest training images of each image, the nearer one first."""

    distance: Tensor
    """Euclidean distance, float64 [N, 2], in the unit of the images."""
    training_index: Tensor
    """Index of the training image, int64 [N, 2]."""


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet distance between normal distributions fitted to two sets of features.

    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)). It gets smaller with more points, so compare only values
    from sets of the same size.

    Source: Heusel et al., NeurIPS 2017.

    Args:
        a: float [N, D], N >= 2.
        b: float [M, D], M >= 2.

    Returns:
        In squared units of the features; 0 for equal means and covariances.

    Raises:
        ValueError: If a set is too small, holds NaN or infinity, or D differs.
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
    """Kernel distance (KID): unbiased squared maximum mean discrepancy with the cubic kernel (x.y / D + 1)^3.

    Source: Binkowski et al., ICLR 2018; here over the whole sets instead of random subsets.

    Args:
        a: float [N, D], N >= 2.
        b: float [M, D], M >= 2.

    Returns:
        Around 0, also below, for sets of one distribution of any size.

    Raises:
        ValueError: If a set is too small, holds NaN or infinity, or D differs.
    """
    a, b = _points(a, 2), _points(b, 2)
    _same_width(a, b)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / a.shape[1] + 1) ** 3

    def off_diagonal_mean(gram: np.ndarray) -> float:
        return (gram.sum() - np.trace(gram)) / (len(gram) * (len(gram) - 1))

    return float(off_diagonal_mean(kernel(a, a)) + off_diagonal_mean(kernel(b, b)) - 2 * kernel(a, b).mean())


def manifold_scores(real: np.ndarray, generated: np.ndarray, neighbours: int = 5) -> Manifold:
    """Precision, recall, density and coverage of generated features.

    The neighbourhood of a point is the ball around it that reaches to its k-th nearest other point of its own set.

    Source: Kynkäänniemi et al., NeurIPS 2019 (precision, recall); Naeem et al., ICML 2020 (density, coverage).

    Args:
        real: float [N, D], N > neighbours.
        generated: float [M, D], M > neighbours.
        neighbours: k.

    Raises:
        ValueError: If a set is too small, holds NaN or infinity, or D differs.
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
    """Share of images that look like copies of a training image, 0..1.

    An image counts as a copy if its distance to the nearest training image is below `ratio` times that to the second
    nearest. A training image that occurs twice therefore hides copies of itself.

    Source: Carlini et al., USENIX Security 2023.

    Args:
        images: float [N, ...].
        training: float [M, ...], M >= 2, of the same shape per image.
        ratio: See above.
        chunk: Images compared at a time.

    Raises:
        ValueError: If shapes differ, there is no image, or there are fewer than two training images.
    """
    distance = nearest_two(images, training, chunk).distance
    return int((distance[:, 0] < ratio * distance[:, 1]).sum()) / len(images)


def nearest_two(images: Tensor, training: Tensor, chunk: int = 256) -> Nearest:
    """The two nearest training images of each image; arguments and errors are those of `memorised_share`."""
    if images.shape[1:] != training.shape[1:] or len(images) == 0 or len(training) < 2:
        raise UserError(
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
    """Mean Euclidean distance over all pairs of different points, float [N, D] with N >= 2."""
    points = _points(points, 2)
    return float(_distances(points, points).sum() / (len(points) * (len(points) - 1)))


def codebook_usage(counts: Tensor) -> CodebookUse:
    """Share of the codes in use, and their perplexity.

    Args:
        counts: How often each of K codes was chosen, [K], not negative and not all zero.

    Raises:
        ValueError: If the counts are not as described above.
    """
    if counts.ndim != 1 or counts.min() < 0 or counts.sum() <= 0:
        raise UserError(f"counts must be [K], none negative and not all zero, got {counts}")
    shares = counts.double() / counts.sum()
    used = shares[shares > 0]
    return CodebookUse(len(used) / len(shares), torch.exp(-(used * used.log()).sum()).item())


def _points(points: np.ndarray, least: int) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or len(points) < least:
        raise UserError(f"a set must be [N, D] with N of at least {least}, got {list(points.shape)}")
    if not np.isfinite(points).all():
        raise UserError("all points must be finite, some are not")
    return points


def _same_width(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape[1] != b.shape[1]:
        raise UserError(f"both sets must have the same number of features, got {a.shape[1]} and {b.shape[1]}")


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Differences, not the faster |a|^2 + |b|^2 - 2 a.b, which by rounding is not 0 for equal points.
    return torch.cdist(torch.from_numpy(a), torch.from_numpy(b), compute_mode="donot_use_mm_for_euclid_dist").numpy()


def _kth_distance(points: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance of each point to its k-th nearest other point, [N]."""
    return np.partition(_distances(points, points), neighbours, axis=1)[:, neighbours]
