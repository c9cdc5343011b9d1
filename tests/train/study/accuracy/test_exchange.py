"""What generated images are worth in real ones, against curves whose inverse is known."""

from __future__ import annotations

import math

import pytest

from echoform_train.scoring.intervals import Interval
from echoform_train.study.accuracy.exchange import ExchangePoint, exchange_rates, exchange_sentence


def on_curve(images: float) -> float:
    """A learning curve that is straight over log(1 + images): 10 % by guessing, 90 % at 99 images."""
    return 0.1 + 0.4 * math.log10(1 + images)


def point(images: float, worth: tuple[float, float, float] | None, accuracy: float | None = None) -> ExchangePoint:
    """A point of the curve, with a gain that is worth so many more images on it."""
    base = on_curve(images) if accuracy is None else accuracy
    gain = None if worth is None else Interval(*(on_curve(images + more) - base for more in worth))
    return {"real": images, "accuracy": base, "gain": gain}


def test_a_gain_is_worth_the_images_that_the_curve_needs_for_it():
    first, second = exchange_rates([point(5, (2, -1, 4)), point(20, (-3, -10, 0)), point(99, None)], chance=0.1)
    assert [first[end] for end in ("real", "worth", "low", "high")] == pytest.approx([5, 2, -1, 4])
    assert [second[end] for end in ("real", "worth", "low", "high")] == pytest.approx([20, -3, -10, 0])
    assert not (first["beyond"] or first["high_beyond"])


def test_beyond_the_end_of_the_curve_only_a_bound_is_known():
    found = exchange_rates([point(5, (2, -1, 400)), point(99, (50, -9, 100))], chance=0.1)
    assert [(rate["beyond"], rate["high_beyond"]) for rate in found] == [(False, True), (True, True)]
    assert (found[0]["high"], found[1]["worth"]) == pytest.approx((94, 0))
    sentence = exchange_sentence(found, 100)
    assert sentence is not None and sentence.startswith("100 generated images per user are worth ")
    assert "with 5 real ones +2.0 (-1.0 to beyond the largest size), with 99 real ones at least +0.0" in sentence


def test_images_that_cost_all_accuracy_are_worth_as_much_as_taking_all_real_ones_away():
    all_lost: ExchangePoint = {"real": 5, "accuracy": on_curve(5), "gain": Interval(-0.9, -0.95, -0.85)}
    rate, _ = exchange_rates([all_lost, point(99, (0, 0, 0))], chance=0.1)
    assert rate["worth"] == rate["low"] == -5


def test_a_curve_that_falls_is_levelled():
    points = [point(5, (0, 0, 0), 0.5), point(10, (0, 0, 0), 0.4), point(99, (0, 0, 0), 0.9)]
    for each in points:
        each["gain"] = Interval(0.0, 0.0, 0.0)
    found = exchange_rates(points, chance=0.1)
    # 5 and 10 images both count as 45 %, which the curve reaches first at 5.
    assert [rate["worth"] for rate in found] == pytest.approx([0, -5, 0])


def test_one_size_makes_no_curve():
    assert exchange_rates([point(5, (2, 1, 3))], chance=0.1) == []
    assert exchange_sentence([], 100) is None
