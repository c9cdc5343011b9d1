"""The plan of a study: which real images it uses, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.study.config import GeneratorConfig, StudyConfig, parse_sizes
from echoform_train.study.make_plan import plan_study, plan_subsets
from echoform_train.study.plan import Study, describe_images_per_user


@pytest.fixture(scope="module")
def data(walkers) -> SpectrogramData:
    return load_spectrograms(walkers)


def test_sizes_are_sorted_and_all_comes_last():
    assert parse_sizes(("all", "20", "5", "20")) == [5, 20, None]


@pytest.mark.parametrize("sizes", [("1",), ("ten",), ("-5",), ("2.5",), ()])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises(ValueError, match="--sizes must"):
        StudyConfig(sizes=sizes)


@pytest.mark.parametrize(
    "settings",
    [
        {"seeds": 1},
        {"keep_share": 0.0},
        {"keep_share": 1.1},
        {"draws": 6},
        {"draws": 0},
        {"shares": (0.6,)},
        {"shares": ()},
        {"loss_weights": (0.0,)},
        {"across": ("normal:bag",)},
        {"false_accept_rate": 0.0},
        {"false_accept_rate": 1.0},
    ],
)
def test_settings_out_of_their_range_are_refused(settings):
    with pytest.raises(ValueError, match="must"):
        StudyConfig(**settings)


def test_a_size_that_nobody_has_more_images_than_is_left_out_and_said(data):
    most = int(torch.bincount(data.train.users).max())
    subsets, notes = plan_subsets(data, StudyConfig(sizes=("3", str(most), "50", "all"), draws=1), seed=0)
    assert [subset.name for subset in subsets] == ["3", "all"]
    assert [note.split()[0] for note in notes] == [str(most), "50"]
    assert torch.bincount(subsets[0].images.users).tolist() == [3, 3, 3]
    assert len(subsets[1].indices) == len(data.train)


def test_a_user_with_fewer_images_gives_all_and_the_size_says_so(data):
    indices = [
        *(data.train.users == 0).nonzero().flatten()[:2].tolist(),
        *(data.train.users > 0).nonzero().flatten().tolist(),
    ]
    subsets, _ = plan_subsets(replace(data, train=data.train.select(indices)), StudyConfig(sizes=("4", "all")), seed=0)
    assert describe_images_per_user(subsets[:1]) == "2 to 4"


def test_users_with_one_image_and_sizes_that_leave_nothing_are_refused(data):
    first = [int((data.train.users == user).nonzero()[0]) for user in range(3)]
    few = replace(data, train=data.train.select(first))
    with pytest.raises(ValueError, match="at least 2 training images of each user, ID_1 has 1"):
        plan_subsets(few, StudyConfig(), seed=0)
    with pytest.raises(ValueError, match=r"a number below 8, the largest number of training images of a user, got 50"):
        plan_subsets(data, StudyConfig(sizes=("50",)), seed=0)


def test_each_draw_chooses_images_of_its_own(data):
    subsets, _ = plan_subsets(data, StudyConfig(sizes=("3",), seeds=3, draws=3), seed=0)
    assert [subset.name for subset in subsets] == ["3", "3-draw-1", "3-draw-2"]
    assert len({tuple(subset.indices.tolist()) for subset in subsets}) == 3


def test_there_is_one_choice_of_all_images_and_three_of_fewer_unless_told_otherwise(data):
    subsets, _ = plan_subsets(data, StudyConfig(sizes=("3", "all")), seed=0)
    assert [subset.name for subset in subsets] == ["3", "3-draw-1", "3-draw-2", "all"]
    subsets, _ = plan_subsets(data, StudyConfig(sizes=("3",), seeds=2), seed=0)
    assert len(subsets) == 2


def test_a_subset_across_conditions_sees_one_condition_only(data):
    subsets, _ = plan_subsets(data, StudyConfig(sizes=("all",), across=("direction:away:towards",)), seed=0)
    labels = data.condition_labels["direction"]
    assert subsets[1].condition == "away -> towards"
    assert {labels[value] for value in subsets[1].images.conditions["direction"].tolist()} == {"away"}
    assert {labels[value] for value in subsets[1].data.test.conditions["direction"].tolist()} == {"towards"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id2label": {0: "a", 1: "nobody", 2: "c"}}, 'no user of a classifier may be called "nobody"'),
        ({"reading": "float, decibels"}, "a classifier reads pictures of 8 bits"),
    ],
)
def test_data_that_no_classifier_can_be_handed_over_for_are_studied_all_the_same_and_that_is_said(data, change, reason):
    def plan(data: SpectrogramData) -> Study:
        return plan_study(
            data,
            StudyConfig(sizes=("all",)),
            GeneratorConfig(),
            pipeline=None,
            per_user=8,
            balance_to=None,
            window_s=None,
            device="cpu",
            workers=1,
            seed=0,
        )

    whole, without = plan(data), plan(replace(data, **change))
    assert whole.hands_over and not without.hands_over
    assert without.count_stages() == whole.count_stages() - 1
    assert [note for note in without.notes if reason in note and "No classifier is handed over" in note]
