"""Metrics against closed forms and other implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from echoform_train.scoring.metrics import (
    codebook_usage,
    frechet_distance,
    kernel_distance,
    manifold_scores,
    mean_pairwise_distance,
    memorised_share,
)


def _normal(count: int, width: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, width)) @ rng.standard_normal((width, width)) + shift


def test_frechet_distance_is_that_of_scipys_matrix_root():
    a, b = _normal(200, 6, seed=0), _normal(150, 6, seed=1, shift=0.5)
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(np.asarray(linalg.sqrtm(covariances[0] @ covariances[1])))
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_scaled_points_has_its_closed_form():
    a = _normal(100, 3, seed=0)
    a -= a.mean(0)
    spread = a.var(0, ddof=1).sum()
    assert frechet_distance(a, 3 * a + 2.0) == pytest.approx(4 * spread + 3 * 4.0)
    assert frechet_distance(a[:, :1], a[:, :1] + 2.0) == pytest.approx(4.0)


def test_frechet_distance_of_a_set_to_itself_is_zero_even_with_fewer_points_than_features():
    a = _normal(10, 16, seed=0)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_few_features_keep_the_floor_of_two_real_halves_low():
    """The numbers that made us choose 16 features: 52 % of the trace with 512, 2.2 % with 16, at 500 images."""
    for width, share in ((16, 0.022), (512, 0.52)):
        points = np.random.default_rng(0).standard_normal((1000, width))
        assert frechet_distance(points[:500], points[500:]) / width == pytest.approx(share, rel=0.2)


def test_kernel_distance_is_the_unbiased_mmd_of_sklearns_kernel():
    a, b = _normal(40, 5, seed=0), _normal(30, 5, seed=1)
    kernels = [polynomial_kernel(x, y, degree=3, gamma=1 / 5, coef0=1) for x, y in ((a, a), (b, b), (a, b))]
    within = [k[~np.eye(len(k), dtype=bool)].mean() for k in kernels[:2]]
    assert kernel_distance(a, b) == pytest.approx(within[0] + within[1] - 2 * kernels[2].mean())


def test_kernel_distance_of_one_distribution_is_zero_on_average():
    rng = np.random.default_rng(0)
    values = [kernel_distance(rng.standard_normal((20, 4)), rng.standard_normal((30, 4))) for _ in range(400)]
    assert abs(np.mean(values)) < 3 * stats.sem(values)


def test_manifold_scores_agree_with_balls_counted_by_sklearn():
    real, generated, k = _normal(60, 3, seed=0), _normal(50, 3, seed=1), 5

    def radii(points: np.ndarray) -> np.ndarray:
        return (
            NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, -1]
        )  # a point finds itself first

    distance, real_radii, generated_radii = pairwise_distances(real, generated), radii(real), radii(generated)
    inside_real = [[distance[i, j] <= real_radii[i] for j in range(50)] for i in range(60)]
    inside_generated = [[distance[i, j] <= generated_radii[j] for j in range(50)] for i in range(60)]
    scores = manifold_scores(real, generated, neighbours=k)
    assert scores.precision == np.mean([any(inside_real[i][j] for i in range(60)) for j in range(50)])
    assert scores.recall == np.mean([any(inside_generated[i]) for i in range(60)])
    assert scores.density == pytest.approx(np.sum(inside_real) / (k * 50))
    assert scores.coverage == np.mean([any(inside_real[i]) for i in range(60)])


def test_one_mode_of_two_gives_full_precision_and_half_the_recall_and_coverage():
    mode = np.random.default_rng(0).uniform(size=(200, 2))
    scores = manifold_scores(np.concatenate([mode[:100], mode[:100] + 50]), mode[100:])
    assert scores.precision > 0.9
    assert 0.4 < scores.recall <= 0.5
    assert 0.4 < scores.coverage <= 0.5


def test_copies_are_counted_as_memorised_and_new_images_are_not():
    generator = torch.Generator().manual_seed(0)
    training, new = torch.randn(50, 1, 8, 8, generator=generator), torch.randn(30, 1, 8, 8, generator=generator)
    copies = training[:10] + 0.01 * torch.randn(10, 1, 8, 8, generator=generator)
    assert memorised_share(torch.cat([new, copies]), training, chunk=7) == 10 / 40


def test_memorised_means_nearer_than_a_third_of_the_second_nearest():
    training = torch.tensor([[0.0], [4.0]])
    assert memorised_share(torch.tensor([[0.99]]), training) == 1
    assert memorised_share(torch.tensor([[1.01]]), training) == 0


def test_mean_pairwise_distance_of_a_right_triangle():
    assert mean_pairwise_distance(np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])) == pytest.approx((3 + 4 + 5) / 3)


def test_codebook_usage_is_the_exponential_of_scipys_entropy():
    counts = torch.tensor([7, 0, 2, 1, 0])
    use = codebook_usage(counts)
    assert use.share == 3 / 5
    assert use.perplexity == pytest.approx(np.exp(stats.entropy([0.7, 0.2, 0.1])))
    assert codebook_usage(torch.ones(256)).perplexity == pytest.approx(256)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frechet_distance(np.zeros((1, 3)), np.zeros((5, 3))), "at least 2"),
        (lambda: frechet_distance(np.zeros((5, 3)), np.zeros((5, 4))), "same number of features"),
        (lambda: kernel_distance(np.full((5, 3), np.nan), np.zeros((5, 3))), "finite"),
        (lambda: manifold_scores(np.zeros((5, 3)), np.zeros((9, 3))), "at least 6"),
        (lambda: memorised_share(torch.zeros(2, 4), torch.zeros(1, 4)), "two training images"),
        (lambda: codebook_usage(torch.zeros(4)), "not all zero"),
    ],
)
def test_what_has_no_answer_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
