"""Every arm is measured once, and an interrupted measurement goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import Tensor

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.accuracy.comparisons import best_classical
from echoform_train.study.accuracy.measurement import Draw, MeasurementSettings, measure
from echoform_train.study.accuracy.rows import BOTH, GENERATED, LONGER, Row, is_tried, tried_arm
from echoform_train.study.accuracy.verdict import verdict
from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL, RECROPPING
from echoform_train.study.images.subsets import choose_per_user

SETTINGS = MeasurementSettings(
    sizes=(2, None), seeds=(3, 4), screening_seeds=1, families=("ResNet",), train_images=64, window_s=3.0
)


@pytest.fixture(scope="module")
def data(walkers: Path) -> SpectrogramData:
    return load_spectrograms(walkers)


@pytest.fixture(scope="module")
def subsets(data: SpectrogramData) -> dict[Draw, Tensor]:
    draws = [(2, 0), (2, 1), (None, 0)]
    return {(size, draw): choose_per_user(data.train, size, seed=draw) for size, draw in draws}


@pytest.fixture(scope="module")
def generated(data: SpectrogramData, subsets: dict[Draw, Tensor]) -> dict[Draw, Sample]:
    return {key: (data.train.pixels[indices], data.train.users[indices]) for key, indices in subsets.items()}


@pytest.fixture(scope="module")
def rows(data: SpectrogramData, subsets: dict[Draw, Tensor], generated: dict[Draw, Sample]) -> list[Row]:
    return measure(data, subsets, generated, SETTINGS)


def test_every_arm_is_measured_and_the_best_classical_one_with_every_seed(rows):
    for n in (2, None):
        best = best_classical(rows, n, "ResNet")
        with_generated = (GENERATED, BOTH, LONGER)
        # One weight is tried at all shares, the other one at the best share.
        (share,) = {one["share"] for one in rows if (one["n"], one["arm"]) == (n, BOTH)}
        tried = {*(tried_arm(each, 1.0) for each in (0.125, 0.25, 0.5))}
        tried |= {one["arm"] for one in rows if one["n"] == n and is_tried(one["arm"]) and one["weight"] == 0.5}
        assert len(tried) == 4 and any(arm.endswith("weight 1/2") for arm in tried) and share in (0.125, 0.25, 0.5)
        expected = {(arm, 3) for arm in (REAL, *CLASSICAL, *with_generated, *tried)}
        expected |= {(arm, 4) for arm in (REAL, best, *with_generated)}
        assert sorted((one["arm"], one["seed"]) for one in rows if one["n"] == n) == sorted(expected)
        assert {one["augmentation"] for one in rows if (one["n"], one["arm"]) == (n, BOTH)} == {best}


def test_every_arm_sees_the_real_images_as_often_and_the_rival_also_the_whole_budget(rows):
    for one in rows:
        assert one["seen"] == (round(64 / (1 - share_of_both(rows, one))) if one["arm"] == LONGER else 64)
        assert (one["share"] > 0) == ("generated" in one["arm"])


def share_of_both(rows: list[Row], row: Row) -> float:
    return next(one["share"] for one in rows if (one["n"], one["seed"], one["arm"]) == (row["n"], row["seed"], BOTH))


def test_the_share_that_is_measured_is_the_best_on_validation_images(rows):
    for n in (2, None):
        first = [one for one in rows if (one["n"], one["seed"]) == (n, 3)]
        tried = {one["arm"]: one for one in first if is_tried(one["arm"])}
        both = next(one for one in first if one["arm"] == BOTH)
        assert both["validation"] == max(one["validation"] for one in tried.values())
        chosen = tried[tried_arm(both["share"], both["weight"])]
        assert both == chosen | {"arm": BOTH}


def test_rows_say_what_was_trained_on_and_are_plain_json(rows, data, subsets):
    assert json.loads(json.dumps(rows)) == rows
    for one in rows:
        assert one["draw"] == (one["seed"] - 3 if one["n"] == 2 else 0)
        assert one["images"] == len(subsets[one["n"], one["draw"]])
        assert sum(one["hits"]) / len(data.test) == pytest.approx(one["accuracy"])
        assert 0 <= one["validation"] <= 1


def test_re_cropping_that_cannot_be_done_is_said_and_equals_no_augmentation(rows):
    for arm, left in ((RECROPPING, REAL), ("time roll and re-cropping", "time roll")):
        one = next(row for row in rows if (row["n"], row["arm"]) == (2, arm))
        other = next(row for row in rows if (row["n"], row["arm"], row["seed"]) == (2, left, one["seed"]))
        assert one["note"] == f"copied from {left}: no two windows overlap"
        assert one["accuracy"] == other["accuracy"]
    assert next(row for row in rows if (row["n"], row["arm"]) == (None, RECROPPING))["note"] is None


def test_an_interrupted_study_goes_on_where_it_stopped(rows, data, subsets, generated):
    saved: list[Row] = []

    def save(so_far: list[Row]) -> None:
        saved[:] = json.loads(json.dumps(so_far))
        if len(saved) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(data, subsets, generated, SETTINGS, save=save)
    calls: list[int] = []
    again = measure(data, subsets, generated, SETTINGS, done=saved, save=lambda so_far: calls.append(len(so_far)))
    assert again == rows
    assert calls == list(range(6, len(rows) + 1))
    assert measure(data, subsets, generated, SETTINGS, done=rows, save=lambda so_far: calls.append(0)) == rows
    assert 0 not in calls


def test_rows_with_what_is_no_longer_the_best_augmentation_are_measured_again(rows, data, subsets, generated):
    best = best_classical(rows, 2, "ResNet")
    other = next(arm for arm in CLASSICAL if arm != best)
    stale = [one | {"augmentation": other} if (one["n"], one["arm"]) == (2, BOTH) else one for one in rows]
    new: list[Row] = []
    again = measure(data, subsets, generated, SETTINGS, done=stale, save=lambda so_far: new.append(so_far[-1]))
    assert [one["arm"] for one in new] == [BOTH, BOTH]
    key = lambda one: (str(one["n"]), one["arm"], one["seed"])  # noqa: E731
    assert sorted(again, key=key) == sorted(rows, key=key)


def test_without_generated_images_the_classical_arms_are_measured_alone(data, subsets):
    settings = MeasurementSettings(sizes=(2,), seeds=(0,), screening_seeds=1, families=("ResNet",), train_images=32)
    found = measure(data, subsets, {}, settings)
    assert [one["arm"] for one in found] == [REAL, *CLASSICAL]
    with pytest.raises(ValueError, match=r"needs rows of the arm 'best classical \+ generated'"):
        verdict(found)


def test_a_size_without_a_draw_and_settings_out_of_range_are_refused(data, subsets):
    with pytest.raises(ValueError, match="there is none for 7"):
        measure(data, subsets, {}, MeasurementSettings(sizes=(2, 7)))
    with pytest.raises(ValueError, match=r"screening_seeds must be in 1\.\.2, got 3"):
        MeasurementSettings(seeds=(0, 1), screening_seeds=3)
    with pytest.raises(ValueError, match="each once"):
        MeasurementSettings(seeds=(0, 0))
    with pytest.raises(ValueError, match="at least one size"):
        MeasurementSettings(sizes=())
