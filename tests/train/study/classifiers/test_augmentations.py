"""Classical augmentations change what may differ between two spectrograms of one person, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.scoring.augmentations import AUGMENTATIONS, gain, noise_floor, spec_augment, time_roll
from echoform_train.study.classifiers.augmentations import CLASSICAL, recipe
from echoform_train.study.classifiers.recropping import Strips


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, size: int = 16) -> Tensor:
    return torch.rand(count, 1, size, size, generator=generator(9)) * 2 - 1


@pytest.fixture(scope="module")
def data(walkers: Path) -> SpectrogramData:
    return load_spectrograms(walkers)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_keeps_shape_and_range_and_leaves_its_input_alone(name):
    image = random_images(30)
    before = image.clone()
    changed = AUGMENTATIONS[name](image, generator())
    assert torch.equal(image, before)
    assert changed.shape == image.shape
    assert changed.dtype == torch.float32
    assert changed.abs().max() <= 1
    assert not torch.equal(changed, image)
    assert torch.equal(changed, AUGMENTATIONS[name](image, generator()))


@pytest.mark.parametrize("name", CLASSICAL)
def test_no_augmentation_moves_a_line_to_another_doppler(name, data):
    line = torch.full((200, 1, 16, 16), -1.0)
    line[:, :, 5] = 0.5
    augmentation = recipe(name, Strips(data.train, 3.0)).augmentation or (lambda image, generator: image)
    mean = augmentation(line, generator()).mean(3)[:, 0]  # [B, H]
    masked = mean[:, 5] < 0
    assert (mean[~masked].argmax(1) == 5).all()
    assert masked.double().mean() < 0.2


def test_rolling_keeps_every_column_and_their_order():
    image = random_images(1)
    rolled = time_roll(image.expand(200, -1, -1, -1), generator())
    shifts = {int(torch.nonzero((one == image[0, :, :, :1]).all((0, 1)))[0]) for one in rolled}
    assert shifts == set(range(16))
    assert all(any(torch.equal(one, image[0].roll(shift, dims=2)) for shift in shifts) for one in rolled)


def test_gain_scales_the_height_above_the_floor_by_a_tenth():
    heights = gain(torch.full((4000, 1, 2, 2), -0.5), generator()) + 1
    factor = heights[:, 0, 0, 0] / 0.5
    assert factor.mean().item() == pytest.approx(1, abs=0.01)
    assert factor.std().item() == pytest.approx(0.1, rel=0.05)
    assert torch.equal(gain(torch.full((4, 1, 2, 2), -1.0), generator()), torch.full((4, 1, 2, 2), -1.0))


def test_noise_floor_shifts_each_image_and_adds_white_noise():
    changed = noise_floor(torch.zeros(1000, 1, 16, 16), generator())
    offset = changed.mean((1, 2, 3))
    assert offset.std().item() == pytest.approx(math.hypot(0.05, 0.05 / math.sqrt(3) / 16), rel=0.1)
    spread = changed.std((1, 2, 3))
    assert spread.max() < 0.06
    assert spread.mean().item() == pytest.approx(0.025, rel=0.1)
    flat = (changed - offset[:, None, None, None]).flatten(1)
    neighbours = (flat[:, 1:] * flat[:, :-1]).mean() / flat.square().mean()
    assert neighbours.abs() < 0.02  # white


def test_spec_augment_puts_whole_rows_and_columns_to_the_floor():
    changed = spec_augment(torch.zeros(500, 1, 40, 20), generator())
    assert set(changed.unique().tolist()) == {-1.0, 0.0}
    hidden = changed[:, 0] == -1
    rows, columns = hidden.all(2), hidden.all(1)
    assert torch.equal(hidden, rows[:, :, None] | columns[:, None, :])
    assert rows.sum(1).max() == 6  # 15 % of 40
    assert columns.sum(1).max() == 3
    for mask in (rows, columns):
        edges = mask.int().diff(dim=1).clamp(min=0).sum(1) + mask[:, 0]
        assert edges.max() == 1  # one stretch
        assert mask.any(0).all()  # anywhere


def test_an_unknown_name_is_refused(data):
    with pytest.raises(ValueError, match=r"one of real, time roll, .*, got flip"):
        recipe("flip", Strips(data.train, 3.0))
