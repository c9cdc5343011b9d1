"""Intervals against closed forms and scipy."""

import numpy as np
import pytest
from scipy import stats

from echoform_train.scoring.intervals import bootstrap_interval, bootstrap_sums, mean_interval, percentile_ends


def test_mean_interval_is_scipys_t_interval():
    values = [0.8, 0.85, 0.9, 0.7]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx((np.mean(values), low, high))


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
