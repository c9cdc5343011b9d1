"""The scorer that selects images is of another kind than the networks that judge them, and recognises people."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.scoring.classifier_training import logits_of
from echoform_train.scoring.judge import Judge
from echoform_train.study.classifiers.networks import FAMILIES
from echoform_train.study.images.scorer import CadenceScorer, train_scorer


@pytest.fixture(scope="module")
def data(walkers) -> SpectrogramData:
    return load_spectrograms(walkers)


@pytest.fixture(scope="module")
def scorer(data) -> CadenceScorer:
    return train_scorer(data.train.pixels, data.train.users, 3, seed=0, train_images=2_000)


def layers(network: nn.Module) -> set[type[nn.Module]]:
    """Kinds of the layers that look at an image: all that hold weights but the last ones, which only classify."""
    weighted = {type(layer) for layer in network.modules() if next(layer.parameters(recurse=False), None) is not None}
    return weighted - {nn.Linear, nn.BatchNorm1d}


def test_the_scorer_shares_no_kind_of_layer_with_judges_and_classifiers(scorer):
    judging = [Judge(1, 3), *(family.build(1, 32, 3) for family in FAMILIES.values())]
    assert all(layers(network) for network in judging)
    assert not isinstance(scorer, tuple(type(network) for network in judging))
    for network in judging:
        assert not layers(scorer) & layers(network)
    assert not layers(scorer)  # only the spectrum looks at the image


def swinging(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A line that swings 2, 3 or 5 times per image, which is the user's cadence, from any start and with noise."""
    generator = torch.Generator().manual_seed(seed)
    users = torch.arange(count) % 3
    cycles = torch.tensor([2.0, 3.0, 5.0])[users, None]
    angle = 2 * torch.pi * (cycles * torch.arange(32) / 32 + torch.rand(count, 1, generator=generator))
    distance = torch.arange(32)[None, :, None] - 16 - 6 * angle.sin()[:, None, :]  # [N, H, W]
    level = (-((distance / 2) ** 2)).exp() + 0.1 * torch.rand(count, 32, 32, generator=generator)
    return (200 * level).clamp(0, 255).to(torch.uint8)[:, None], users


def test_it_tells_cadences_apart_whatever_the_start():
    pixels, users = swinging(90, seed=0)
    scorer = train_scorer(pixels, users, 3, seed=0, train_images=1_000)
    others, truth = swinging(90, seed=1)
    assert (logits_of(scorer, others).argmax(1) == truth).float().mean() > 0.95


def test_the_same_seed_gives_the_same_scorer(scorer, data):
    again = train_scorer(data.train.pixels, data.train.users, 3, seed=0, train_images=2_000)
    assert torch.equal(logits_of(again, data.test.pixels), logits_of(scorer, data.test.pixels))


def test_its_answer_does_not_depend_on_where_the_walk_begins(scorer, data):
    images = data.test.pixels
    rolled = logits_of(scorer, images.roll(7, dims=3))
    assert torch.allclose(rolled, logits_of(scorer, images), atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 48, 80), (1, 128, 128), (1, 16, 16)])
def test_images_of_any_size_and_number_of_channels_are_scored(shape):
    pixels = torch.randint(256, (6, *shape), dtype=torch.uint8)
    scorer = train_scorer(pixels, torch.arange(6) % 2, 2, seed=0, train_images=32)
    assert logits_of(scorer, pixels).shape == (6, 2)
