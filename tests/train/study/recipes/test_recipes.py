"""Teachers label what they have not seen, and a recipe is held against its own rivals at equal real exposures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.study.accuracy.measurement import MeasurementSettings
from echoform_train.study.accuracy.rows import RIVAL, Row
from echoform_train.study.classifiers.training import train_classifier
from echoform_train.study.recipes.arms import COPIES, ENSEMBLE, PRETRAINED, TEACHERS, TWICE
from echoform_train.study.recipes.copies import real_copies
from echoform_train.study.recipes.measurement import Lesson, measure_recipes
from echoform_train.study.recipes.table import recipe_accuracies
from echoform_train.study.recipes.taught import TaughtImages
from echoform_train.study.recipes.teachers import Teachers, parts_of

SETTINGS = MeasurementSettings(
    sizes=(None,), seeds=(0, 1), screening_seeds=1, families=("ResNet",), train_images=32, shares=(0.25, 0.5)
)


@pytest.fixture(scope="module")
def data(walkers) -> SpectrogramData:
    return load_spectrograms(walkers)


def shares_of(users: torch.Tensor) -> torch.Tensor:
    return F.one_hot(users, 3).float()


@pytest.fixture(scope="module")
def lesson(data: SpectrogramData) -> Lesson:
    """Teachers that see the next user in generated images, and are always right on real ones."""
    pixels, users = data.train.pixels[:9].flip(3), data.train.users[:9]
    taught = TaughtImages(
        asked=pixels,
        asked_users=users,
        asked_labels=0.8 * shares_of((users + 1) % 3) + 0.1 * shares_of(users) + 0.1 * shares_of((users + 2) % 3),
        between=pixels[:3],
        between_labels=torch.full((3, 3), 1 / 3),
        copies=pixels,
        copies_labels=shares_of(users),
        validation=shares_of(data.validation.users),
        test=shares_of(data.test.users),
    )
    return Lesson(images=data.train, taught=taught)


@pytest.fixture(scope="module")
def rows(data: SpectrogramData, lesson: Lesson) -> list[Row]:
    return measure_recipes(data, None, {0: lesson, 1: lesson}, 2, {"ResNet": "time roll"}, SETTINGS)


def test_parts_are_stretches_of_time_and_no_teacher_lacks_a_user(data):
    parts = parts_of(data.train, 3)
    for user in range(3):
        ours = (data.train.users == user).nonzero()[:, 0].tolist()
        ours.sort(key=lambda index: (data.train.recordings[index], data.train.starts_s[index]))
        of_user = parts[ours].tolist()
        assert of_user == sorted(of_user) and set(of_user) == {0, 1, 2}
    few = data.train.select([*(data.train.users == 0).nonzero()[:2, 0], *(data.train.users == 1).nonzero()[:7, 0]])
    assert sorted(set(parts_of(few, 3).tolist())) == [0, 1]


def test_copies_are_labelled_by_the_teachers_that_did_not_see_their_part():
    class Always(nn.Module):
        def __init__(self, user: int) -> None:
            super().__init__()
            self.user = nn.Parameter(torch.tensor([float(user)]))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return 30 * shares_of(self.user.long()).expand(len(image), -1)

    teachers = Teachers(torch.tensor([0, 1]), [[Always(0), Always(1)], [Always(2), Always(2)]])
    image = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    assert teachers.label_of_part(image, 0)[0].tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-6)
    assert teachers.label_of_part(image, 1)[0].tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    assert teachers.label(image)[0].tolist() == pytest.approx([0.25, 0.25, 0.5], abs=1e-6)


def test_copies_are_rolled_real_images_and_half_of_them_mixed(data):
    copies = real_copies(data.train, 60, None, torch.Generator().manual_seed(0))
    width = data.train.pixels.shape[-1]
    rolls = {
        image.roll(shift, -1).contiguous().numpy().tobytes() for image in data.train.pixels for shift in range(width)
    }
    unmixed = sum(copy.contiguous().numpy().tobytes() in rolls for copy in copies)
    assert copies.dtype == torch.uint8 and copies.shape == (60, *data.train.pixels.shape[1:])
    assert 15 <= unmixed <= 45


def test_every_arm_sees_the_real_images_as_often_with_the_same_seeds_and_draws(rows):
    for row in rows:
        assert row["seen"] == (64 if row["arm"] == TWICE else 32)
        assert row["draw"] == row["seed"] % 2
    for arm in (TEACHERS, COPIES, ENSEMBLE, PRETRAINED, TWICE):
        assert [row["seed"] for row in rows if row["arm"] == arm] == [0, 1]
    # Two shares of three variants, and of the copies, with the first seed; the chosen ones with the second one too.
    assert sum(row["note"] is None and row["share"] > 0 for row in rows) == 6 + 1 + 2 + 1


def test_variant_and_share_are_the_best_on_validation_images(rows):
    tried = {row["arm"]: row["validation"] for row in rows if row["seed"] == 0 and "generated, " in row["arm"]}
    chosen = [row for row in rows if row["arm"] == TEACHERS]
    assert len(tried) == 6
    assert {row["note"] for row in chosen} == {max(tried, key=lambda arm: tried[arm])}


def test_the_teachers_themselves_are_measured_by_their_labels(rows, data):
    for row in rows:
        if row["arm"] == ENSEMBLE:
            assert (row["validation"], row["accuracy"]) == (1.0, 1.0)
            assert row["hits"] == torch.bincount(data.test.users).tolist()


def test_an_interrupted_measurement_goes_on_to_the_same_rows(rows, data, lesson):
    done: list[Row] = rows[:7]
    again = measure_recipes(data, None, {0: lesson, 1: lesson}, 2, {"ResNet": "time roll"}, SETTINGS, done=done)
    assert again == rows


def made_up(arm: str, validation: float, accuracy: tuple[float, ...]) -> list[Row]:
    return [
        {
            "n": 5, "arm": arm, "family": "ResNet", "seed": seed, "draw": seed, "condition": None,
            "augmentation": "time roll", "images": 15, "seen": 32, "share": 0.0, "weight": 1.0, "note": None,
            "validation": validation, "accuracy": value, "hits": [round(100 * value)],
        }
        for seed, value in enumerate(accuracy)
    ]  # fmt: skip


def test_a_recipe_is_held_against_the_rival_that_is_best_on_validation_images_and_never_on_test_images():
    rivals = made_up(RIVAL, 0.7, (0.9, 0.9, 0.9))
    measured = [
        *made_up(TEACHERS, 0.8, (0.8, 0.82, 0.84)),
        *made_up(COPIES, 0.75, (0.7, 0.71, 0.72)),
        *made_up(ENSEMBLE, 0.6, (0.95, 0.95, 0.95)),
    ]
    (found,) = recipe_accuracies(rivals, measured, [5, None])
    assert found["rivals"] == {"ResNet": COPIES}
    assert found["gain"]["mean"] == pytest.approx(0.11) and found["accuracy"]["mean"] == pytest.approx(0.82)
    assert found["classical"]["mean"] == pytest.approx(0.9) and found["size"] == "5"
    assert found["gain"]["low"] is not None and found["gain"]["low"] > 0


@pytest.mark.parametrize(
    "labels", [torch.full((9, 2), 0.5), torch.full((9, 3), 0.5), torch.full((8, 3), 1 / 3)], ids=str
)
def test_labels_that_are_no_shares_of_all_users_are_refused(data, labels):
    settings: dict[str, Any] = {"seed": 0, "generated": (data.train.pixels[:9], labels), "train_images": 16}
    with pytest.raises(ValueError, match="shares of users must be float \\[9, 3\\] and add up to 1"):
        train_classifier("ResNet", (data.train.pixels, data.train.users), 3, **settings)


def test_labels_of_one_user_each_do_what_soft_labels_that_say_the_same_do(data):
    """But for label smoothing, which soft labels go without: a classifier that has them is surer."""
    pixels, users = data.train.pixels, data.train.users
    settings: dict[str, Any] = {"seed": 0, "train_images": 160, "generated_share": 0.5}
    hard = train_classifier("ResNet", (pixels, users), 3, generated=(pixels, users), **settings)
    soft = train_classifier("ResNet", (pixels, users), 3, generated=(pixels, shares_of(users)), **settings)
    image = torch.zeros(1, *pixels.shape[1:])
    with torch.no_grad():
        assert hard(image).shape == soft(image).shape and not torch.equal(hard(image), soft(image))
