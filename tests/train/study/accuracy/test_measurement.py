"""The study measures every arm once, goes on where it stopped, and says what it found without dressing it up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, load_spectrograms
from echoform_train.data.split import Split
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.accuracy.comparisons import BOTH, GENERATED, Row, best_classical
from echoform_train.study.accuracy.measurement import GainSettings, Verdict, across, measure, verdict
from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL, RECROPPING
from echoform_train.study.images.subsets import choose

SETTINGS = GainSettings(
    sizes=(2, None), seeds=(3, 4), screening_seeds=1, families=("ResNet",), train_images=64, window_s=3.0
)
Key = tuple[int | None, int]


@pytest.fixture(scope="module")
def data(walkers: Path) -> SpectrogramData:
    return load_spectrograms(walkers)


@pytest.fixture(scope="module")
def subsets(data: SpectrogramData) -> dict[Key, Tensor]:
    return {(n, draw): choose(data.train, n, seed=draw) for n, draws in ((2, 2), (None, 1)) for draw in range(draws)}


@pytest.fixture(scope="module")
def generated(data: SpectrogramData, subsets: dict[Key, Tensor]) -> dict[Key, Sample]:
    return {key: (data.train.pixels[places], data.train.users[places]) for key, places in subsets.items()}


@pytest.fixture(scope="module")
def rows(data: SpectrogramData, subsets: dict[Key, Tensor], generated: dict[Key, Sample]) -> list[Row]:
    return measure(data, subsets, generated, SETTINGS)


def test_every_arm_is_measured_and_the_best_classical_one_with_every_seed(rows):
    for n in (2, None):
        best = best_classical(rows, n, "ResNet")
        expected = {(arm, 3) for arm in (REAL, *CLASSICAL, GENERATED, BOTH)}
        expected |= {(arm, 4) for arm in (REAL, best, GENERATED, BOTH)}
        assert sorted((one["arm"], one["seed"]) for one in rows if one["n"] == n) == sorted(expected)
        assert {one["augmentation"] for one in rows if (one["n"], one["arm"]) == (n, BOTH)} == {best}


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
        assert one["note"] == f"as {left}: no two windows overlap"
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
    settings = GainSettings(sizes=(2,), seeds=(0,), screening_seeds=1, families=("ResNet",), train_images=32)
    found = measure(data, subsets, {}, settings)
    assert [one["arm"] for one in found] == [REAL, *CLASSICAL]
    with pytest.raises(ValueError, match=r"needs rows of the arm 'best classical \+ generated'"):
        verdict(found)


def test_a_size_without_a_draw_and_settings_out_of_range_are_refused(data, subsets):
    with pytest.raises(ValueError, match="there is none for 7"):
        measure(data, subsets, {}, GainSettings(sizes=(2, 7)))
    with pytest.raises(ValueError, match=r"screening_seeds must be in 1\.\.2, got 3"):
        GainSettings(seeds=(0, 1), screening_seeds=3)
    with pytest.raises(ValueError, match="each once"):
        GainSettings(seeds=(0, 0))
    with pytest.raises(ValueError, match="at least one size"):
        GainSettings(sizes=())


def part(side: str, conditions: list[int]) -> Spectrograms:
    count = len(conditions)
    return Spectrograms(
        pixels=torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 16, 16),
        users=torch.zeros(count, dtype=torch.int64),
        conditions={"condition": torch.tensor(conditions)},
        files=tuple(f"{side}{number}" for number in range(count)),
        recordings=(None,) * count,
        starts_s=(None,) * count,
    )


def test_a_test_across_conditions_never_trains_on_or_chooses_by_the_other_one():
    parts = {"train": part("a", [0, 1, 0]), "validation": part("b", [1, 0]), "test": part("c", [1, 0, 1])}
    names = {side: images.files for side, images in parts.items()}
    data = SpectrogramData(
        **parts,
        left_out=part("d", []),
        split=Split(**names, left_out=(), method="by recording", gap_windows=2, seed=0),
        id2label={0: "a"},
        condition_labels={"condition": {0: "normal", 1: "backpack"}},
        colormap="jet",
        colormap_residual=0.0,
        axes=None,
        native_size=(16, 16),
        source="s",
        skipped=(),
        other_files=(),
    )
    found = across(data, "condition", "normal", "backpack")
    assert (found.train.files, found.validation.files, found.test.files) == (("a0", "a2"), ("b1",), ("c0", "c2"))
    with pytest.raises(ValueError, match="must be one of normal, backpack, got bag"):
        across(data, "condition", "normal", "bag")
    with pytest.raises(ValueError, match="column must be one of condition, got direction"):
        across(data, "direction", "normal", "backpack")


def rows_with(differences: dict[int | None, list[float]], families: tuple[str, ...] = ("ResNet",)) -> list[Row]:
    """Rows whose best classical arm is "gain" and whose generated arm differs from that by these numbers a seed."""
    known = {"condition": None, "note": None, "hits": [], "images": 30, "augmentation": "gain", "draw": 0}
    made = []
    for n, values in differences.items():
        for family in families:
            for seed, difference in enumerate(values):
                base = 0.5 + 0.03 * seed
                made += [
                    known
                    | {
                        "n": n,
                        "family": family,
                        "seed": seed,
                        "arm": arm,
                        "accuracy": base + (arm == BOTH) * difference,
                    }
                    | {"validation": 0.9 if arm == "gain" else 0.5}
                    for arm in (REAL, *CLASSICAL, BOTH)
                ]
    return made


def test_the_verdict_is_helps_where_the_interval_lies_above_zero():
    found = verdict(rows_with({5: [0.02, 0.03, 0.04], None: [0.03, 0.03, 0.03]}))
    assert found["word"] == "helps"
    assert found["difference"] == pytest.approx(0.03)
    assert found["low"] == pytest.approx(0.03 - 4.303 * 0.005 / 3**0.5, abs=1e-5)  # t of 2 degrees of freedom
    assert (found["n"], found["over"]) == (3, "seeds")
    assert [one["images_a_user"] for one in found["sizes"]] == [5, None]
    assert "help: " in found["sentence"]
    assert "3.0 points more" in found["sentence"]
    assert "+1.8 to +4.2; 3 seeds, all on the same images; mean over 5 and all real images a user" in found["sentence"]


def test_the_verdict_is_hurts_where_it_lies_below():
    found = verdict(rows_with({5: [-0.02, -0.03, -0.04]}))
    assert found["word"] == "hurts"
    assert "3.0 points fewer" in found["sentence"]
    assert "at 5 real images a user" in found["sentence"]


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
    assert found["sentence"].endswith("With so many real images a user they make it worse: all (-2.0 points).")


def test_without_an_effect_one_verdict_in_twenty_is_wrong():
    rng = np.random.default_rng(0)
    words = [verdict(rows_with({n: rng.normal(0, 0.03, 5).tolist() for n in (5, 10)}))["word"] for _ in range(400)]
    wrong = sum(word != "no measurable effect" for word in words)
    assert 8 <= wrong <= 34  # 20 are expected, with a deviation of 4.4


def test_conditions_have_no_say_in_the_verdict():
    rows = rows_with({5: [0.02, 0.03, 0.04]})
    others = [one | {"condition": "normal -> bag", "accuracy": 0.0} for one in rows]
    found: Verdict = verdict(rows + others)
    assert found["word"] == "helps"
