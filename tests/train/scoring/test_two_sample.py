"""A network cannot tell two sets of one kind apart, and tells a difference of texture alone without mistakes."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from echoform_train.scoring.two_sample import halves_in_time, two_sample_auc


def speckled(count: int, seed: int, looks: int) -> torch.Tensor:
    """Bright bands whose speckle has a number of looks: one set differs from another by its texture alone."""
    rng = np.random.default_rng(seed)
    level = gaussian_filter(rng.standard_normal((count, 1, 32, 32)), (0, 0, 4, 8))
    level = 10 * level / level.std() + 10 * np.log10(rng.gamma(looks, 1 / looks, level.shape))
    return torch.from_numpy((128 + 5 * level).clip(0, 255).astype(np.uint8))


def test_two_sets_of_one_kind_cannot_be_told_apart():
    sets = [speckled(120, seed, looks=2) for seed in range(4)]
    auc = two_sample_auc((sets[0], sets[1]), (sets[2], sets[3]), seed=0, train_images=960)
    # With 120 images on each side, chance has a standard deviation of 0.037.
    assert 0.35 < auc < 0.65


def test_another_number_of_looks_is_told_apart():
    train = speckled(200, 0, looks=1), speckled(200, 1, looks=8)
    test = speckled(100, 2, looks=1), speckled(100, 3, looks=8)
    assert two_sample_auc(train, test, seed=0, train_images=1920) > 0.95


def test_the_same_seed_gives_the_same_number():
    sets = [speckled(40, seed, looks=1 + seed % 2) for seed in range(4)]
    numbers = {two_sample_auc((sets[0], sets[1]), (sets[2], sets[3]), seed=3, train_images=320) for _ in range(2)}
    assert len(numbers) == 1


def test_halves_are_spans_of_time_of_every_user_and_share_nothing():
    users = np.repeat([0, 1, 2], [8, 6, 5])
    first, second = halves_in_time(users, np.random.default_rng(0))
    assert sorted([*first, *second]) == list(range(len(users)))
    for user in range(3):
        span = sorted(first[users[first] == user])
        steps = np.diff(span)
        # One gap at most, where the span wraps around the end.
        assert (steps > 1).sum() <= 1
        assert len(span) == (users == user).sum() // 2


def test_an_empty_set_is_refused():
    images = speckled(4, 0, looks=1)
    with pytest.raises(ValueError, match="N > 0"):
        two_sample_auc((images, images[:0]), (images, images), seed=0)
