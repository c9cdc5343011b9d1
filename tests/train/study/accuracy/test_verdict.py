"""The verdict says what was found, decided by one number that no size can be picked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from echoform_train.study.accuracy.rows import BOTH, LONGER, Row
from echoform_train.study.accuracy.tables import Point
from echoform_train.study.accuracy.verdict import Verdict, unless_guessing, verdict
from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL
from study_rows import make_row


def rows_with(
    differences: dict[int | None, list[float]], *, draws: bool = True, recommended: Sequence[int | None] = ()
) -> list[Row]:
    """Rows whose best classical arm is "gain" and whose generated arm differs from that by these numbers per seed.

    Each seed has a draw of its own, unless `draws` is off. Validation images recommend generated ones at the sizes of
    `recommended`, by default at all.
    """
    return [
        make_row(
            arm,
            0.5 + 0.03 * seed + (arm == BOTH) * difference,
            seed,
            n=size,
            draw=seed if draws else 0,
            augmentation="gain",
            validation={"gain": 0.8, BOTH: 0.9 if size in (recommended or differences) else 0.7}.get(arm, 0.5),
        )
        for size, values in differences.items()
        for seed, difference in enumerate(values)
        for arm in (REAL, *CLASSICAL, BOTH)
    ]


def test_the_verdict_is_helps_where_the_interval_lies_above_zero():
    found = verdict(rows_with({5: [0.02, 0.03, 0.04], None: [0.03, 0.03, 0.03]}))
    assert found["word"] == "helps"
    assert found["difference"] == pytest.approx(0.03)
    assert found["low"] == pytest.approx(0.03 - 4.303 * 0.005 / 3**0.5, abs=1e-5)  # t of 2 degrees of freedom
    assert (found["n"], found["over"]) == (3, "draws")
    assert [one["images_a_user"] for one in found["sizes"]] == [5, None]
    assert "help: " in found["sentence"]
    assert "3.0 points more" in found["sentence"]
    assert (
        "+1.8 to +4.2; 3 draws, each with images of its own; mean over 5 and all real images per user"
        in (found["sentence"])
    )


def test_seeds_of_one_choice_of_images_make_no_verdict():
    found = verdict(rows_with({5: [0.02, 0.03, 0.04], None: [0.03, 0.03, 0.03]}, draws=False))
    assert (found["word"], found["n"], found["over"]) == ("undecided", 3, "seeds")
    assert "is not decided: " in found["sentence"] and "3.0 points more" in found["sentence"]
    assert "3 seeds, all on the same images" in found["sentence"]


def test_what_validation_images_do_not_recommend_is_not_recommended_whatever_the_test_says():
    found = verdict(rows_with({5: [0.02, 0.03, 0.04], 10: [0.03, 0.03, 0.04]}, recommended=[20]))
    assert found["word"] == "not recommended"
    assert "Added anyway, they let classifiers name 3.2 points more" in found["sentence"]


def test_a_size_without_a_recommendation_counts_with_no_difference():
    found = verdict(rows_with({5: [0.02, 0.03, 0.04], 10: [-0.5, -0.5, -0.6]}, recommended=[5]))
    assert found["word"] == "helps"
    assert found["difference"] == pytest.approx(0.03 / 2)
    assert "where validation images recommend them (at 5) " in found["sentence"]


def test_the_rival_is_the_better_of_a_shorter_and_a_longer_training():
    rows = rows_with({5: [0.02, 0.03, 0.04]})
    longer = [make_row(LONGER, 0.6 + 0.03 * seed, seed, n=5, draw=seed, validation=0.85) for seed in range(3)]
    assert verdict(rows + longer)["difference"] == pytest.approx(0.03 - 0.1)
    worse = [make_row(LONGER, 0.6 + 0.03 * seed, seed, n=5, draw=seed, validation=0.79) for seed in range(3)]
    assert verdict(rows + worse)["difference"] == pytest.approx(0.03)


def test_the_verdict_is_hurts_where_it_lies_below():
    found = verdict(rows_with({5: [-0.02, -0.03, -0.04]}))
    assert found["word"] == "hurts"
    assert "3.0 points fewer" in found["sentence"]
    assert "at 5 real images per user" in found["sentence"]


def test_one_good_size_among_many_does_not_make_the_verdict():
    noise = [0.05, -0.06, 0.04, -0.05, 0.02]
    found = verdict(
        rows_with({5: noise, 10: [0.02, 0.021, 0.019, 0.02, 0.02], 20: noise[::-1], 50: noise, None: noise})
    )
    assert found["sizes"][1]["low"] > 0
    assert found["word"] == "no measurable effect"
    assert "have no measurable effect" in found["sentence"]


def test_a_size_that_gets_worse_is_named_even_where_the_whole_gets_better():
    found = verdict(rows_with({5: [0.08, 0.09, 0.10], 10: [0.05, 0.06, 0.07], None: [-0.02, -0.021, -0.019]}))
    assert found["word"] == "helps"
    assert found["sentence"].endswith("With so many real images per user they make it worse: all (-2.0 points).")


def test_without_an_effect_one_verdict_in_twenty_is_wrong():
    rng = np.random.default_rng(0)
    words = [verdict(rows_with({n: rng.normal(0, 0.03, 5).tolist() for n in (5, 10)}))["word"] for _ in range(400)]
    wrong = sum(word != "no measurable effect" for word in words)
    assert 8 <= wrong <= 34  # 20 are expected, with a deviation of 4.4


def test_conditions_have_no_say_in_the_verdict():
    rows = rows_with({5: [0.02, 0.03, 0.04]})
    others = [make_row(one["arm"], 0.0, one["seed"], n=one["n"], condition="normal -> bag") for one in rows]
    found: Verdict = verdict(rows + others)
    assert found["word"] == "helps"


def test_classifiers_that_only_guess_give_no_verdict():
    decided = verdict(rows_with({5: [0.02, 0.03, 0.04]}))
    guessing: Point = {"mean": 0.13, "low": 0.09, "high": 0.18}
    found = unless_guessing(decided, [guessing, guessing], 8)
    assert found["word"] == "nothing learned"
    assert found["sentence"].startswith("The classifiers have learned nothing: train longer. They name 13.0 %")
    # With generated images they have learned something: that is a result.
    assert unless_guessing(decided, [guessing, {"mean": 0.3, "low": 0.2, "high": 0.4}], 8) == decided


def test_equal_differences_have_the_interval_of_their_test_images():
    rows = rows_with({5: [0.1, 0.1, 0.1]})
    for row in rows:
        row["accuracy"] = 0.6 if row["arm"] == BOTH else 0.5
        row["hits"] = [round(100 * row["accuracy"])]
    found = verdict(rows)
    wilson = stats.binomtest(10, 100).proportion_ci(method="wilson")
    assert found["difference"] == pytest.approx(0.1)
    assert (found["low"], found["high"]) == pytest.approx((wilson.low, wilson.high))
