"""Tables of accuracies against means of hand-made rows."""

from __future__ import annotations

from typing import Any

import pytest

from echoform_train.study.accuracy.rows import Row
from echoform_train.study.accuracy.tables import arm_accuracies, condition_accuracies, size_accuracies
from echoform_train.study.classifiers.augmentations import CLASSICAL
from study_rows import make_row


def rows_of(accuracies: dict[str, float], **more: Any) -> list[Row]:
    """Two seeds of two families; the second family is 0.1 worse, the second seed 0.02 better."""
    return [
        make_row(
            arm,
            accuracy - 0.1 * number + 0.02 * seed,
            seed,
            family=family,
            augmentation=arm,
            validation=accuracy,
            **more,
        )
        for arm, accuracy in accuracies.items()
        for number, family in enumerate(("ResNet", "GRU over columns"))
        for seed in (0, 1)
    ]


MEASURED = dict.fromkeys(CLASSICAL, 0.6) | {
    "real": 0.3,
    "time roll": 0.7,
    "real + generated": 0.5,
    "best classical + generated": 0.75,
}


def test_the_four_arms_of_a_size_are_means_over_families_and_seeds():
    found: Any = size_accuracies(rows_of(MEASURED), 10)
    assert found["best_classical"] == {"ResNet": "time roll", "GRU over columns": "time roll"}
    means = {arm: found[arm]["all"]["mean"] for arm in ("real", "classical", "generated", "both")}
    assert means == pytest.approx({"real": 0.26, "classical": 0.66, "generated": 0.46, "both": 0.71})
    assert found["classical"]["GRU over columns"]["mean"] == pytest.approx(0.61)
    difference = found["difference"]["all"]
    assert [difference[end] for end in ("mean", "low", "high")] == pytest.approx([0.05, 0.05, 0.05])


def test_a_size_without_generated_images_has_no_difference():
    there = {arm: value for arm, value in MEASURED.items() if "generated" not in arm}
    found: Any = size_accuracies(rows_of(there), 10)
    assert (found["generated"], found["both"], found["difference"]) == (None, None, None)
    assert found["classical"]["all"]["mean"] == pytest.approx(0.66)


def test_every_arm_and_every_condition_has_its_row():
    rows = rows_of(MEASURED) + rows_of(MEASURED, n=None, condition="normal -> bag")
    arms = arm_accuracies(rows, [10])
    assert set(arms) == set(MEASURED)
    assert arms["time roll"]["10"]["mean"] == pytest.approx(0.66)
    (across,) = condition_accuracies(rows)
    assert across["condition"] == "normal -> bag"
    assert across["both"] and across["both"]["mean"] == pytest.approx(0.71)
