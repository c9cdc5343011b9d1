"""Nearest training images against brute force, and copies that are known to be copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.scoring.metrics import memorised_share, nearest_two
from echoform_train.study.images.nearest_training import copied_share, most_suspicious, nearest_training


@pytest.fixture(scope="module")
def data(walkers) -> SpectrogramData:
    return load_spectrograms(walkers)


def test_nearest_training_images_are_those_of_brute_force(data):
    found = nearest_training(data.test.pixels, data.train.pixels)
    test, train = (part.pixels.double().flatten(1).numpy() / 127.5 for part in (data.test, data.train))
    apart = np.sqrt(((test[:, None] - train[None]) ** 2).mean(2))
    assert np.allclose(np.sort(apart, axis=1)[:, :2], found.distance.numpy(), atol=1e-6)
    assert (apart.argmin(1) == found.training_index[:, 0].numpy()).all()


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
