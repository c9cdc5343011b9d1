import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from scipy.stats import norm

from echoform_train.scoring.strangers import (
    Fold,
    Scale,
    UserFeatures,
    accept_rate,
    folds_of_users,
    rate_on_new_people,
    slope_between,
    threshold_for,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
def test_the_threshold_is_the_quantile_of_a_normal_distribution(rate):
    scores = [torch.randn(50_000, generator=generator(seed)) for seed in range(2)]
    assert threshold_for(scores, rate) == pytest.approx(norm.ppf(1 - rate), abs=0.04)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25, 0.5, 0.99])
def test_at_most_the_rate_is_accepted_and_one_image_more_would_be_too_many(rate):
    scores = [torch.randn(count, generator=generator(count)) for count in (7, 20, 33)]
    threshold = threshold_for(scores, rate)
    assert accept_rate(scores, threshold) <= rate + 1e-9
    assert accept_rate(scores, threshold - 1e-6) > rate


def test_each_person_counts_the_same_however_many_images():
    few, many = torch.tensor([1.0, 0.0]), torch.zeros(998)
    assert accept_rate([few, many], 0.5) == 0.25
    assert threshold_for([few, many], 0.2) > 1 > threshold_for([few, many], 0.25) > 0


def test_the_distance_is_that_of_scipy_from_the_nearest_user():
    centres = torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    users = torch.arange(400) % 2
    features = centres[users] + torch.randn(400, 3, generator=generator()) @ torch.tensor(
        [[1.0, 0.5, 0], [0, 2, 0], [0, 0, 3]]
    )
    fitted = UserFeatures.of(features, users)
    offset = (features.double() - fitted.centres[users]).numpy()
    inverse = np.linalg.inv(offset.T @ offset / 400 + 0.01 * np.eye(3))
    image = torch.tensor([[8.0, 1.0, -2.0]])
    expected = min(mahalanobis(image[0].numpy(), centre.numpy(), inverse) for centre in fitted.centres)
    assert -float(fitted.scores(image)) == pytest.approx(expected, rel=1e-9)


def test_every_user_is_left_out_once_and_two_stay():
    for count in (3, 4, 5, 31):
        groups = folds_of_users(count, 3, generator())
        assert sorted(user for group in groups for user in group) == list(range(count))
        assert all(count - len(group) >= 2 for group in groups)
    with pytest.raises(ValueError, match="at least 3 of them, got 2"):
        folds_of_users(2, 3, generator())


def test_a_scale_has_mean_0_and_deviation_1_and_gives_scores_back():
    scores = 5 + 3 * torch.randn(1000, generator=generator())
    standardised = Scale.of(scores).standardise(scores)
    assert float(standardised.mean()) == pytest.approx(0, abs=1e-6)
    assert float(standardised.std(correction=0)) == pytest.approx(1)
    assert Scale.of(scores).restore(float(standardised[7])) == pytest.approx(float(scores[7]), abs=1e-5)


def test_the_slope_is_that_of_the_log_odds_of_two_normal_distributions():
    known, strangers = (torch.randn(200_000, generator=generator(seed)) for seed in (0, 1))
    # Log-odds of N(0, 2) against N(-3, 2): a line of slope 3 / 4.
    assert slope_between(2 * known, 2 * strangers - 3) == pytest.approx(3 / 4, rel=0.02)


def test_the_rate_on_new_people_uses_the_thresholds_of_the_others():
    def fold(user: int, level: float) -> Fold:
        return Fold((user,), (torch.full((10,), level),), (torch.full((4,), level),), torch.zeros(3))

    # The highest group would never be accepted by its own threshold, and always is by that of the others.
    assert rate_on_new_people([fold(0, 0.0), fold(1, 1.0), fold(2, 2.0)], 0.05) == pytest.approx(1 / 3)
