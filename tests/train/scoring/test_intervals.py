"""Intervals against closed forms and scipy."""

import numpy as np
import pytest
from scipy import stats

from echoform_train.scoring.intervals import (
    bootstrap_interval,
    bootstrap_sums,
    mean_interval,
    mean_share_interval,
    percentile_ends,
    ratio_interval,
    seeds_interval,
    share_interval,
)


def test_mean_interval_is_scipys_t_interval():
    values = [0.8, 0.85, 0.9, 0.7]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx((np.mean(values), low, high))


def test_the_interval_of_a_mean_of_accuracies_stays_on_the_scale():
    shares = [1.0, 0.98, 0.88]
    low, high = stats.t.interval(0.95, 2, np.mean(shares), stats.sem(shares))
    assert high > 1
    assert mean_share_interval(shares) == pytest.approx((np.mean(shares), low, 1.0))
    below = mean_share_interval([0.0, 0.02, 0.12])
    assert below == pytest.approx((1 - np.mean(shares), 0.0, 1 - low))
    with pytest.raises(ValueError, match=r"shares in 0..1, got \[98.0, 99.0\]"):
        mean_share_interval([98.0, 99.0])


def test_bootstrap_interval_of_hits_is_near_the_exact_binomial_one():
    hits = np.repeat([1.0, 0.0], [80, 20])
    exact = stats.binomtest(80, 100).proportion_ci(method="wilson")
    interval = bootstrap_interval(hits, seed=0)
    assert interval.mean == 0.8
    assert interval.low == pytest.approx(exact.low, abs=0.02)
    assert interval.high == pytest.approx(exact.high, abs=0.02)


def test_groups_are_drawn_whole():
    columns = np.array([[1.0], [1.0], [100.0], [100.0]])
    drawn = bootstrap_sums(columns, np.array([7, 7, 3, 3]), seed=0, resamples=50)
    assert set(drawn[:, 0]) == {4.0, 202.0, 400.0}


def test_the_two_ways_to_resample_agree_on_the_interval_of_a_mean():
    values = np.random.default_rng(1).gamma(4.0, 10.0, 300)
    sums = bootstrap_sums(np.stack([values, np.ones(300)], axis=1), None, seed=0, resamples=4000)
    interval = bootstrap_interval(values, seed=0, resamples=4000)
    assert percentile_ends(sums[:, 0] / sums[:, 1]) == pytest.approx((interval.low, interval.high), rel=0.01)


def test_too_few_values_are_refused():
    with pytest.raises(ValueError, match="at least two"):
        mean_interval([0.5])
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([], seed=0)


def test_equal_seeds_have_no_interval_of_their_own_and_shares_have_that_of_their_images():
    assert seeds_interval([1.5, 1.5]) is None and seeds_interval([1.5]) is None
    assert seeds_interval([1.0, 2.0]) == mean_interval([1.0, 2.0])
    wilson = stats.binomtest(8, 24).proportion_ci(method="wilson")
    assert share_interval([1 / 3, 1 / 3], 24) == pytest.approx((1 / 3, wilson.low, wilson.high))
    for share in (0.0, 1.0):
        found = share_interval([share, share], 24)
        assert found.high - found.low > 0.1


def test_the_interval_of_shares_covers_the_truth_over_other_seeds_and_other_images():
    # Networks of 70 % on average, which differ by 3 points from seed to seed, each tested on the same 100 images.
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        difficulty = rng.random(100)
        skills = np.clip(rng.normal(0.7, 0.03, 3), 0, 1)
        found = share_interval([float((difficulty < skill).mean()) for skill in skills], 100)
        covered.append(found.low <= 0.7 <= found.high)
    assert 0.93 < np.mean(covered) <= 1


def test_the_interval_of_a_ratio_of_shares_is_near_that_of_its_logarithm():
    # Katz et al., Biometrics 34 (1978) 469-474: the logarithm of a ratio of shares is nearly normal.
    found = ratio_interval([0.8], share_interval([0.6], 400), share_interval([0.75], 400))
    deviation = np.sqrt(0.4 / (0.6 * 400) + 0.25 / (0.75 * 400))
    assert found.low == pytest.approx(0.8 * np.exp(-1.96 * deviation), abs=0.01)
    assert found.high == pytest.approx(0.8 * np.exp(1.96 * deviation), abs=0.01)
    nothing = ratio_interval([0.0, 0.0], share_interval([0.0], 30), share_interval([0.5], 30))
    assert nothing.low == 0 < nothing.high < 0.5
