"""Simulated walkers that are the measured ones' kind score as the floor; others are told apart."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from echoform_train.study.similarity import LABELS, WalkerImages, score_similarity


def walkers(people: int, seed: int, *, looks: int = 2, per_person: int = 24) -> WalkerImages:
    """Lines of torso and foot with speckle of a number of looks; people are alike, so that only the kind differs."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(people), per_person)
    level = np.zeros((len(users), 1, 32, 32))
    for index in range(len(users)):
        phase, column = rng.uniform(0, 2 * np.pi), np.arange(32)
        for reach, height in ((1.5, 30.0), (7.0, 20.0)):
            rows = 15.5 - reach * np.abs(np.sin(column / 4 + phase))
            level[index, 0] += height * np.exp(-np.square(np.arange(32)[:, None] - rows) / 2)
    level = gaussian_filter(level, (0, 0, 0.7, 0.7)) + 10 * np.log10(rng.gamma(looks, 1 / looks, level.shape)) + 20
    pixels = torch.from_numpy((5 * level).clip(0, 255).astype(np.uint8))
    return WalkerImages(pixels=pixels, users=torch.from_numpy(users), axes=None)


def scored(simulated: WalkerImages) -> dict:
    return score_similarity(walkers(8, 0), simulated, seeds=(0, 1), train_images=1920, judge_train_images=640)["scores"]


def test_walkers_of_the_same_kind_score_like_other_measured_people():
    scores = scored(walkers(8, 1))
    assert set(scores) == set(LABELS)
    for name in ("mean", "floor"):
        assert 0.3 < scores["two_sample_auc"][name] < 0.7
    assert scores["fine_energy_ratio"]["mean"] == pytest.approx(1, abs=0.15)
    for entry in scores.values():
        assert entry["low"] <= entry["mean"] <= entry["high"]


def test_walkers_without_speckle_are_told_apart_and_lack_fine_detail():
    scores = scored(walkers(8, 1, looks=60))
    assert scores["two_sample_auc"]["mean"] > 0.9
    assert scores["fine_energy_ratio"]["mean"] < 0.7
    assert scores["log_spectral_distance"]["mean"] > 3 * scores["log_spectral_distance"]["floor"]


def test_too_few_people_and_unlike_sizes_are_refused():
    few, enough = walkers(3, 0), walkers(4, 0)
    settings = {"seeds": (0, 1), "train_images": 64, "judge_train_images": 64}
    with pytest.raises(ValueError, match="at least 4 measured and 2 simulated people"):
        score_similarity(few, enough, **settings)
    larger = WalkerImages(pixels=enough.pixels.repeat_interleave(2, dim=2), users=enough.users, axes=None)
    with pytest.raises(ValueError, match="one size"):
        score_similarity(enough, larger, **settings)
