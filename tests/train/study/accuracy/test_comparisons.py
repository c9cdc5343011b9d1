"""Differences between arms are those of paired statistics, over what is really independent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from echoform_train.study.accuracy.comparisons import accuracy_interval, best_classical, paired, paired_interval
from echoform_train.study.accuracy.rows import BEST, BOTH, GENERATED, Row
from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL
from study_rows import make_row


def pairs_of(first: np.ndarray, second: np.ndarray, **facts: Any) -> list[Row]:
    return [
        make_row(arm, float(accuracy), seed, **facts)
        for arm, values in ((GENERATED, first), (REAL, second))
        for seed, accuracy in enumerate(values)
    ]


RNG = np.random.default_rng(0)
FIRST, SECOND, THIRD, FOURTH = RNG.uniform(0.4, 0.9, (4, 5))


def test_the_interval_is_that_of_a_paired_t_test():
    found = paired_interval(pairs_of(FIRST, SECOND), GENERATED, REAL, 10)
    expected = stats.ttest_rel(FIRST, SECOND)
    low, high = expected.confidence_interval(0.95)
    assert found.mean == pytest.approx(FIRST.mean() - SECOND.mean())
    assert (found.low, found.high) == pytest.approx((low, high))


def test_families_are_averaged_before_seeds_unless_one_is_named():
    rows = pairs_of(FIRST, SECOND) + pairs_of(THIRD, FOURTH, family="GRU")
    low, high = stats.ttest_rel((FIRST + THIRD) / 2, (SECOND + FOURTH) / 2).confidence_interval(0.95)
    found = paired_interval(rows, GENERATED, REAL, 10)
    assert (found.low, found.high) == pytest.approx((low, high))
    alone = paired_interval(rows, GENERATED, REAL, 10, family="GRU")
    assert alone.mean == pytest.approx((THIRD - FOURTH).mean())


def test_sizes_are_averaged_before_seeds_so_that_nested_images_do_not_count_twice():
    rows = pairs_of(FIRST, SECOND) + pairs_of(THIRD, FOURTH, n=None)
    found = paired(rows, GENERATED, REAL, [10, None])
    low, high = stats.ttest_rel((FIRST + THIRD) / 2, (SECOND + FOURTH) / 2).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert (found["n"], found["over"]) == (5, "seeds")
    assert paired(rows, GENERATED, REAL, [None])["difference"] == pytest.approx((THIRD - FOURTH).mean())


def test_a_draw_of_images_counts_once_however_many_seeds_it_has():
    rows = pairs_of(FIRST, SECOND)
    for one in rows:
        one["draw"] = one["seed"] % 2
    differences = FIRST - SECOND
    by_draw = [differences[::2].mean(), differences[1::2].mean()]
    found = paired(rows, GENERATED, REAL, [10])
    assert (found["n"], found["over"]) == (2, "draws")
    assert found["difference"] == pytest.approx(np.mean(by_draw))
    low, high = stats.t.interval(0.95, 1, loc=np.mean(by_draw), scale=stats.sem(by_draw))
    assert (found["low"], found["high"]) == pytest.approx((low, high))


def test_a_seed_without_its_pair_does_not_count():
    rows = [one for one in pairs_of(FIRST, SECOND) if (one["arm"], one["seed"]) != (REAL, 2)]
    kept = [0, 1, 3, 4]
    found = paired(rows, GENERATED, REAL, [10])
    assert found["n"] == 4
    assert found["difference"] == pytest.approx((FIRST - SECOND)[kept].mean())


def test_other_conditions_are_not_mixed_in():
    rows = pairs_of(FIRST, SECOND) + pairs_of(THIRD, FOURTH, condition="normal -> bag")
    assert paired_interval(rows, GENERATED, REAL, 10).mean == pytest.approx((FIRST - SECOND).mean())
    other = paired_interval(rows, GENERATED, REAL, 10, condition="normal -> bag")
    assert other.mean == pytest.approx((THIRD - FOURTH).mean())


def test_fewer_than_two_pairs_give_no_interval():
    with pytest.raises(ValueError, match="at least two values, got 1"):
        paired_interval(pairs_of(FIRST[:1], SECOND[:1]), GENERATED, REAL, 10)
    with pytest.raises(ValueError, match="at least two values, got 0"):
        paired_interval(pairs_of(FIRST, SECOND), GENERATED, REAL, 20)


def test_the_accuracy_of_an_arm_has_the_interval_of_students_t():
    found = accuracy_interval(pairs_of(FIRST, SECOND), GENERATED, 10)
    low, high = stats.ttest_1samp(FIRST, 0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((FIRST.mean(), low, high))


def classical_rows(validation: dict[str, float], accuracy: dict[str, float], **facts: Any) -> list[Row]:
    return [
        make_row(arm, accuracy.get(arm, 0.5), seed, validation=validation.get(arm, 0.5), **facts)
        for arm in (REAL, *CLASSICAL)
        for seed in range(2)
    ]


def test_the_best_classical_arm_is_chosen_by_validation_images_alone():
    rows = classical_rows({"gain": 0.7, "time roll": 0.6}, {"time roll": 0.9, "gain": 0.1})
    assert best_classical(rows, 10) == "gain"


def test_no_augmentation_is_the_best_where_none_helps():
    assert best_classical(classical_rows({REAL: 0.6}, {}), 10) == REAL
    assert best_classical(classical_rows({}, {}), 10) == REAL


def test_each_family_and_size_has_its_own_best_and_is_compared_with_that():
    rows = [
        *classical_rows({"gain": 0.7}, {"gain": 0.8}),
        *classical_rows({"time roll": 0.9}, {"time roll": 0.6}, family="GRU"),
        *(make_row(BOTH, 0.9, seed, family=family) for seed in range(2) for family in ("ResNet", "GRU")),
    ]
    assert best_classical(rows, 10, "ResNet") == "gain"
    assert best_classical(rows, 10, "GRU") == "time roll"
    assert paired_interval(rows, BOTH, BEST, 10).mean == pytest.approx(((0.9 - 0.8) + (0.9 - 0.6)) / 2)


def test_arms_are_compared_on_the_seeds_that_they_share():
    rows = classical_rows({"gain": 0.7, "time roll": 0.6}, {})
    rows += [make_row("time roll", 0.5, seed, validation=0.99) for seed in (2, 3, 4)]
    assert best_classical(rows, 10) == "gain"
    with pytest.raises(ValueError, match="share a seed at 10 images per user"):
        best_classical([one for one in rows if one["arm"] != "SpecAugment"], 10)
