"""The judge learns what it should, sees what it should, and is the same for the same seed."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
from torch import Tensor

from echoform_train.data.spectrograms import to_model, to_pixels
from echoform_train.scoring.judge import (
    Judge,
    accuracy,
    accuracy_by_user,
    augment,
    confusion,
    extract_features,
    predict,
    train_judge,
)


def lines(count: int, seed: int, size: int = 32, num_users: int = 3) -> tuple[Tensor, Tensor]:
    """One bright line an image: the row tells the person, the column where it pulses is chance."""
    generator = torch.Generator().manual_seed(seed)
    users = torch.arange(count) % num_users
    image = -0.8 + 0.1 * torch.randn(count, 1, size, size, generator=generator)
    columns = torch.arange(size)
    for index, user in enumerate(users.tolist()):
        phase = 2 * math.pi * torch.rand((), generator=generator)
        row = size // 8 + user * size // 4
        image[index, 0, row : row + 2] += 1 + 0.5 * torch.sin(2 * math.pi * 2 * columns / size + phase)
    return to_pixels(image), users


@pytest.fixture(scope="module")
def judge() -> Judge:
    return train_judge(*lines(48, seed=0), 3, seed=0, train_images=768, batch_size=16, mixed_precision="no")


def test_judge_tells_people_apart_by_doppler_on_images_that_it_never_saw(judge):
    assert accuracy(judge, *lines(60, seed=1)) > 0.95


def test_a_person_moved_to_the_doppler_of_another_is_taken_for_the_other(judge):
    pixels, users = lines(60, seed=1)
    moved = pixels[users == 0].roll(32 // 4, dims=2)
    assert (predict(judge, moved) == 1).double().mean() > 0.9


def test_a_person_moved_in_time_stays_the_same_person(judge):
    pixels, users = lines(60, seed=1)
    assert accuracy(judge, pixels.roll(13, dims=3), users) > 0.95


def test_labels_without_a_reason_cannot_be_told_on_new_images():
    pixels, _ = lines(48, seed=0, num_users=1)
    users = torch.arange(48) % 4
    judge = train_judge(pixels, users, 4, seed=0, train_images=256, batch_size=16)
    new, _ = lines(200, seed=1, num_users=1)
    assert accuracy(judge, new, torch.arange(200) % 4) < 0.4  # chance is 0.25, with a deviation of 0.03


def test_the_same_seed_gives_the_same_judge_and_leaves_the_callers_randomness_alone():
    pixels, users = lines(12, seed=0, size=16)

    def weights(seed: int) -> Tensor:
        judge = train_judge(pixels, users, 3, seed=seed, train_images=32, batch_size=8, mixed_precision="no")
        return torch.cat([value.flatten().double() for value in judge.state_dict().values()])

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = weights(1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))


def test_every_parameter_gets_a_gradient():
    judge = Judge(3, 5)
    judge(torch.randn(4, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judge.parameters())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (16, 16), (40, 100), (256, 256), (33, 47)])
def test_pictures_of_any_size_get_sixteen_features_and_a_logit_for_each_user(height, width):
    judge = Judge(1, 7).eval()
    image = torch.randn(2, 1, height, width).clamp(-1, 1)
    assert judge.features(image).shape == (2, 16)
    assert judge(image).shape == (2, 7)


def test_large_pictures_are_judged_by_their_average_at_64_pixels():
    judge = Judge(1, 4).eval()
    large = torch.randn(2, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    small = large.view(2, 1, 64, 4, 64, 4).mean((3, 5))
    torch.testing.assert_close(judge(large), judge(small))


def test_augmentation_rolls_in_time_and_never_along_frequency():
    image = torch.full((64, 1, 16, 16), -1.0)
    image[:, :, 5, 3] = 1.0
    brightest = augment(image, torch.Generator().manual_seed(0)).flatten(1).argmax(1)
    assert set((brightest // 16).tolist()) == {5}
    assert len(set((brightest % 16).tolist())) > 8


def test_augmentation_changes_gain_and_floor_and_stays_in_range():
    generator = torch.Generator().manual_seed(0)
    flat = augment(torch.zeros(400, 1, 16, 16), generator).mean((1, 2, 3))  # gain, and floor 1 above the bottom
    assert flat.mean().abs() < 0.02
    assert flat.std() == pytest.approx(math.hypot(0.1, 0.05), rel=0.15)
    noisy = augment(torch.rand(20, 1, 16, 16, generator=generator) * 2 - 1, generator)
    assert noisy.min() >= -1
    assert noisy.max() <= 1


def test_predictions_do_not_depend_on_the_batch(judge):
    pixels, _ = lines(10, seed=2)
    torch.testing.assert_close(extract_features(judge, pixels, batch_size=3), extract_features(judge, pixels))
    assert torch.equal(predict(judge, pixels, batch_size=3), judge(to_model(pixels)).argmax(1))


def test_accuracy_and_confusion_are_those_of_sklearn(judge):
    pixels, users = lines(40, seed=3)
    users = users.roll(7)  # wrong on purpose
    named = predict(judge, pixels)
    assert accuracy(judge, pixels, users) == accuracy_score(users, named)
    table = confusion(judge, pixels, users)
    assert table.tolist() == confusion_matrix(users, named, labels=[0, 1, 2]).tolist()
    recalls = [recall_score(users == user, named == user) for user in range(3)]
    assert accuracy_by_user(table).tolist() == pytest.approx(recalls)


def test_a_user_without_images_has_no_accuracy(judge):
    pixels, users = lines(12, seed=3)
    some = users != 1
    assert accuracy_by_user(confusion(judge, pixels[some], users[some])).isnan().tolist() == [False, True, False]


def test_bf16_learns_as_well():
    trained = train_judge(*lines(48, seed=0), 3, seed=0, train_images=768, batch_size=16, mixed_precision="bf16")
    assert accuracy(trained, *lines(60, seed=1)) > 0.95


@pytest.mark.parametrize(
    ("pixels", "users", "settings", "message"),
    [
        (torch.zeros(4, 1, 16, 16), torch.zeros(4, dtype=torch.int64), {}, "pixels must be uint8"),
        (torch.zeros(4, 1, 16, 16, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), {}, r"int64 \[4\]"),
        (torch.zeros(4, 1, 16, 16, dtype=torch.uint8), torch.full((4,), 3), {}, r"in 0\.\.2, got 3\.\.3"),
        (torch.zeros(4, 1, 8, 16, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), {}, "at least 16 pixels"),
        (torch.zeros(4, 1, 16, 16, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), {"batch_size": 1}, "got 1"),
    ],
)
def test_what_cannot_be_judged_is_refused(pixels, users, settings, message):
    with pytest.raises(ValueError, match=message):
        train_judge(pixels, users, 3, seed=0, train_images=64, **settings)
