"""Scores that compare a set of generated features with real ones, and the floor: the scores of other real features."""

from __future__ import annotations

import numpy as np

from echoform_train.scoring.metrics import (
    frechet_distance,
    kernel_distance,
    manifold_scores,
    mean_pairwise_distance,
)

HALVINGS = 8
"""Number of random halvings of the real images; scores are means over them."""
NEIGHBOURS = 5
"""k of the neighbourhoods of precision, recall, density and coverage."""


def compare_with_half(
    generated: np.ndarray, generated_users: np.ndarray, real: np.ndarray, real_users: np.ndarray, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Compare generated features with one half of the real ones, and the other real half with that half.

    The held-out images of each user are halved at a random point in time, HALVINGS times.

    Args:
        generated: Features of generated images, float [M, D].
        generated_users: Their users, int [M].
        real: Features of held-out real images in the order of time, float [N, D].
        real_users: Their users, int [N].
        seed: Seed of the halving and of the choice of generated images.

    Returns:
        Two dicts with "frechet", "kid", "precision", "recall", "density" and "coverage": those of the generated images,
        and the floor, which are those of the other real half.
    """
    rng = np.random.default_rng(seed)
    of_generated, of_real = [], []
    for _ in range(HALVINGS):
        reference, other, chosen = [], [], []
        for user in np.unique(real_users):
            # Files are in the order of time. A half is one time span, which may wrap around the end.
            real_of_user = np.roll(np.flatnonzero(real_users == user), rng.integers(1 << 16))
            generated_of_user = rng.permutation(np.flatnonzero(generated_users == user))
            half = len(real_of_user) // 2
            # Scores depend on the size of a set, so both sides get the same number of images of each user.
            count = min(half, len(generated_of_user))
            reference.append(real_of_user[half:])
            other.append(real_of_user[:count])
            chosen.append(generated_of_user[:count])
        base = real[np.concatenate(reference)]
        of_generated.append(_set_scores(base, generated[np.concatenate(chosen)]))
        of_real.append(_set_scores(base, real[np.concatenate(other)]))
    return _means(of_generated), _means(of_real)


def compared_images(generated_users: np.ndarray, real_users: np.ndarray) -> int:
    """Number of images in each of the two sets that `compare_with_half` compares."""
    halves = [int((real_users == user).sum()) // 2 for user in np.unique(real_users)]
    generated = [int((generated_users == user).sum()) for user in np.unique(real_users)]
    return sum(map(min, halves, generated))


def diversity(points: np.ndarray, users: np.ndarray) -> float:
    """Mean distance between two images of one user, averaged over users with at least two images.

    Args:
        points: Features or pixels of each image, float [N, D].
        users: int [N].
    """
    sets = [points[users == user] for user in np.unique(users)]
    return float(np.mean([mean_pairwise_distance(points) for points in sets if len(points) > 1]))


def _set_scores(real: np.ndarray, other: np.ndarray) -> dict[str, float]:
    return {
        "frechet": frechet_distance(real, other),
        "kid": kernel_distance(real, other),
        **manifold_scores(real, other, NEIGHBOURS)._asdict(),
    }


def _means(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([scores[name] for scores in rounds])) for name in rounds[0]}
