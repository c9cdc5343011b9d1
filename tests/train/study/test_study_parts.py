"""Plans, choices and findings of a study against brute force, hand-made rows and pictures whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.scoring.metrics import memorised_share, nearest_two
from echoform_train.study.accuracy.tables import (
    arm_findings,
    condition_findings,
    copied_share,
    gait_findings,
    most_suspicious,
    nearest_training,
    size_findings,
)
from echoform_train.study.classifiers.augmentations import CLASSICAL
from echoform_train.study.generators.training import GeneratorConfig
from echoform_train.study.images.filtering import NO_WALK
from echoform_train.study.images.selection import ROUNDS, Chosen, choose_images, why_not_kept
from echoform_train.study.plan import StudyConfig, images_a_user, parse_sizes, plan_tasks


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
    "settings", [{"seeds": 1}, {"keep_share": 0.0}, {"keep_share": 1.1}, {"draws": 2}, {"across": ("normal:bag",)}]
)
def test_settings_out_of_their_range_are_refused(settings):
    with pytest.raises(ValueError, match="must"):
        StudyConfig(**settings)


def test_a_size_that_nobody_has_more_images_than_is_left_out_and_said(data):
    most = int(torch.bincount(data.train.users).max())
    tasks, notes = plan_tasks(data, StudyConfig(sizes=("3", str(most), "50", "all")), seed=0)
    assert [task.name for task in tasks] == ["3", "all"]
    assert [note.split()[0] for note in notes] == [str(most), "50"]
    assert torch.bincount(tasks[0].images.users).tolist() == [3, 3, 3]
    assert len(tasks[1].places) == len(data.train)


def test_a_user_with_fewer_images_gives_all_and_the_size_says_so(data):
    places = [
        *(data.train.users == 0).nonzero().flatten()[:2].tolist(),
        *(data.train.users > 0).nonzero().flatten().tolist(),
    ]
    tasks, _ = plan_tasks(replace(data, train=data.train.select(places)), StudyConfig(sizes=("4", "all")), seed=0)
    assert images_a_user(tasks[:1]) == "2 to 4"


def test_users_with_one_image_and_sizes_that_leave_nothing_are_refused(data):
    first = [int((data.train.users == user).nonzero()[0]) for user in range(3)]
    few = replace(data, train=data.train.select(first))
    with pytest.raises(ValueError, match="at least 2 training images of each user, ID_1 has 1"):
        plan_tasks(few, StudyConfig(), seed=0)
    with pytest.raises(ValueError, match="nobody has more than 8 for training, got 50"):
        plan_tasks(data, StudyConfig(sizes=("50",)), seed=0)


def test_each_draw_chooses_images_of_its_own(data):
    tasks, _ = plan_tasks(data, StudyConfig(sizes=("3",), seeds=3, draws=3), seed=0)
    assert [task.name for task in tasks] == ["3", "3-draw-1", "3-draw-2"]
    assert len({tuple(task.places.tolist()) for task in tasks}) == 3


def test_a_task_across_conditions_sees_one_condition_only(data):
    tasks, _ = plan_tasks(data, StudyConfig(sizes=("all",), across=("direction:away:towards",)), seed=0)
    labels = data.condition_labels["direction"]
    assert tasks[1].condition == "away -> towards"
    assert {labels[value] for value in tasks[1].images.conditions["direction"].tolist()} == {"away"}
    assert {labels[value] for value in tasks[1].data.test.conditions["direction"].tolist()} == {"towards"}


@pytest.fixture(scope="module")
def chosen(data, second_stage, tmp_path_factory) -> Chosen:
    """Of a generator that was trained for a moment, so that its images are much alike."""
    return choose_images(
        data.train,
        data,
        second_stage / "pipeline",
        GeneratorConfig(num_inference_steps=2),
        {0: 3, 1: 3, 2: 1},
        tmp_path_factory.mktemp("chosen"),
        keep_share=0.5,
        max_duplicate=1.0,
        only_walks=False,
        scorer_train_images=64,
        seed=3,
        device="cpu",
    )


def test_as_many_images_are_kept_as_were_wanted_and_the_rest_has_a_reason(chosen):
    assert torch.bincount(chosen.sample[1]).tolist() == [3, 3, 1]
    assert len(chosen.drawn[1]) == 18 == len(chosen.rows)
    kept = set(chosen.kept.tolist())
    assert [reason == "" for reason in chosen.reasons] == [place in kept for place in range(18)]
    assert sum(why_not_kept(chosen).values()) == 11


def test_what_no_walker_can_have_made_is_kept_only_if_asked_for(chosen, data, second_stage, tmp_path):
    pipeline, sampling = second_stage / "pipeline", GeneratorConfig(num_inference_steps=2)
    settings = {"keep_share": 0.5, "max_duplicate": 1.0, "scorer_train_images": 64, "seed": 3, "device": "cpu"}
    wanted = {0: 3, 1: 3, 2: 1}
    walks = choose_images(data.train, data, pipeline, sampling, wanted, tmp_path, only_walks=True, **settings)
    assert why_not_kept(walks)[NO_WALK] > 0
    assert torch.equal(walks.drawn[0][:18], chosen.drawn[0])
    judged = gait_findings(data, walks.drawn, walks.kept, [row["conditions"] for row in walks.rows], seed=0)
    # The limits are those of the same training images.
    assert [judged["possible"]["drawn"][place] for place in walks.kept.tolist()] == [1] * len(walks.kept)


def test_what_was_chosen_survives_the_disk_bit_by_bit(chosen, tmp_path):
    chosen.save(tmp_path)
    back = Chosen.load(tmp_path)
    assert torch.equal(back.drawn[0], chosen.drawn[0]) and torch.equal(back.kept, chosen.kept)
    assert torch.equal(back.agreement, chosen.agreement)
    assert all(torch.equal(back.real_agreement[split], values) for split, values in chosen.real_agreement.items())
    assert (back.rows, back.reasons) == (chosen.rows, chosen.reasons)


def test_a_generator_that_repeats_itself_is_asked_three_times_and_then_gives_fewer(data, second_stage, tmp_path):
    settings = {
        "keep_share": 1.0,
        "max_duplicate": 0.5,
        "only_walks": False,
        "scorer_train_images": 64,
        "seed": 0,
        "device": "cpu",
    }
    pipeline, sampling = second_stage / "pipeline", GeneratorConfig(num_inference_steps=2)
    few = choose_images(data.train, data, pipeline, sampling, dict.fromkeys(range(3), 2), tmp_path, **settings)
    assert len(few.drawn[1]) == ROUNDS * 3 * 2
    assert len(few.kept) < 6
    assert any("near-duplicate" in reason for reason in why_not_kept(few))
    drawn = {path: path.stat().st_mtime_ns for path in Path(tmp_path).iterdir()}
    again = choose_images(data.train, data, pipeline, sampling, dict.fromkeys(range(3), 2), tmp_path, **settings)
    assert torch.equal(again.kept, few.kept)
    assert {path: path.stat().st_mtime_ns for path in Path(tmp_path).iterdir()} == drawn


def rows_of(accuracies: dict[str, float], **more: Any) -> list[dict[str, Any]]:
    """Two seeds of two families; the second family is 0.1 worse, the second seed 0.02 better."""
    return [
        {
            "n": 10,
            "arm": arm,
            "augmentation": arm,
            "family": family,
            "seed": seed,
            "draw": 0,
            "condition": None,
            "images": 30,
            "validation": accuracy,
            "accuracy": accuracy - 0.1 * number + 0.02 * seed,
            "hits": [],
            "note": None,
            **more,
        }
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
    found = size_findings(rows_of(MEASURED), 10)
    assert found["best_classical"] == {"ResNet": "time roll", "GRU over columns": "time roll"}
    means = {arm: found[arm]["all"]["mean"] for arm in ("real", "classical", "generated", "both")}
    assert means == pytest.approx({"real": 0.26, "classical": 0.66, "generated": 0.46, "both": 0.71})
    assert found["classical"]["GRU over columns"]["mean"] == pytest.approx(0.61)
    difference = found["difference"]["all"]
    assert [difference[end] for end in ("mean", "low", "high")] == pytest.approx([0.05, 0.05, 0.05])


def test_a_size_without_generated_images_has_no_difference():
    there = {arm: value for arm, value in MEASURED.items() if "generated" not in arm}
    found = size_findings(rows_of(there), 10)
    assert (found["generated"], found["both"], found["difference"]) == (None, None, None)
    assert found["classical"]["all"]["mean"] == pytest.approx(0.66)


def test_every_arm_and_every_condition_has_its_row():
    rows = rows_of(MEASURED) + rows_of(MEASURED, n=None, condition="normal -> bag")
    arms = arm_findings(rows, [10])
    assert set(arms) == set(MEASURED)
    assert arms["time roll"]["10"]["mean"] == pytest.approx(0.66)
    (across,) = condition_findings(rows)
    assert across["condition"] == "normal -> bag" and across["both"]["mean"] == pytest.approx(0.71)


def test_nearest_training_images_are_those_of_brute_force(data):
    found = nearest_training(data.test.pixels, data.train.pixels)
    test, train = (part.pixels.double().flatten(1).numpy() / 127.5 for part in (data.test, data.train))
    apart = np.sqrt(((test[:, None] - train[None]) ** 2).mean(2))
    assert np.allclose(np.sort(apart, axis=1)[:, :2], found.distance.numpy(), atol=1e-6)
    assert (apart.argmin(1) == found.place[:, 0].numpy()).all()


def test_a_copy_is_the_most_suspicious_of_all_and_counts_as_copied(data):
    pixels = torch.cat([data.test.pixels[:5], data.train.pixels[7:8]])
    nearest = nearest_training(pixels, data.train.pixels)
    users = torch.cat([data.test.users[:5], data.train.users[7:8]])
    worst = most_suspicious(nearest, users, data.train, data.id2label, count=2)
    assert len(worst) == 2
    assert (worst[0]["place"], worst[0]["nearest"], worst[0]["ratio"]) == (5, 7, 0.0)
    assert worst[0]["nearest_file"] == data.train.files[7]
    small = torch.rand(40, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert copied_share(nearest_two(small[:20] * 0.9, small)) == memorised_share(small[:20] * 0.9, small)


def test_real_walks_are_possible_and_noise_is_not(data):
    noise = torch.randint(256, (6, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    conditions = [dict.fromkeys(data.condition_labels, 0)] * 6
    of_noise = gait_findings(data, (noise, torch.zeros(6, dtype=torch.int64)), torch.arange(6), conditions, seed=0)
    same = [{name: int(values[k]) for name, values in data.train.conditions.items()} for k in range(len(data.train))]
    of_walks = gait_findings(data, (data.train.pixels, data.train.users), torch.tensor([3]), same, seed=0)
    assert of_walks["generated"] > 0.8 > of_noise["generated"]
    assert of_walks["kept"] == of_walks["possible"]["drawn"][3]
    assert of_walks["possible"]["drawn"] == of_walks["possible"]["train"]
    assert len(of_walks["possible"]["test"]) == len(data.test)
    assert {"torso speed", "cadence"} <= set(of_walks["features"])


def test_images_without_a_torso_are_said_to_be_unreadable(data):
    blank = replace(data.train, pixels=torch.zeros_like(data.train.pixels))
    found = gait_findings(
        replace(data, train=blank), (blank.pixels[:2], blank.users[:2]), torch.arange(2), [{"direction": 0}] * 2, seed=0
    )
    assert "torso" in found["why_not"]
