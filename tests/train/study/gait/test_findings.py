"""Gait of real walks is possible, that of noise is not, and images without a torso say so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.study.gait.findings import UnreadableGait, gait_findings


@pytest.fixture(scope="module")
def data(walkers) -> SpectrogramData:
    return load_spectrograms(walkers)


def test_real_walks_are_possible_and_noise_is_not(data):
    noise = torch.randint(256, (6, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    conditions = [dict.fromkeys(data.condition_labels, 0)] * 6
    of_noise = gait_findings(data, noise, torch.arange(6), conditions, seed=0)
    same = [{name: int(values[k]) for name, values in data.train.conditions.items()} for k in range(len(data.train))]
    of_walks = gait_findings(data, data.train.pixels, torch.tensor([3]), same, seed=0)
    assert not isinstance(of_walks, UnreadableGait) and not isinstance(of_noise, UnreadableGait)
    assert of_walks["generated"] > 0.8 > of_noise["generated"]
    assert of_walks["kept"] == of_walks["possible"]["drawn"][3]
    assert of_walks["possible"]["drawn"] == of_walks["possible"]["train"]
    assert len(of_walks["possible"]["test"]) == len(data.test)
    assert {"torso speed", "cadence"} <= set(of_walks["features"])


def test_images_without_a_torso_are_said_to_be_unreadable(data):
    blank = replace(data.train, pixels=torch.zeros_like(data.train.pixels))
    found = gait_findings(replace(data, train=blank), blank.pixels[:2], torch.arange(2), [{"direction": 0}] * 2, seed=0)
    assert isinstance(found, UnreadableGait)
    assert "torso" in found.reason
