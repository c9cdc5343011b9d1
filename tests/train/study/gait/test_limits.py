"""Real walks keep the limits, images that no walker can make do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from echoform_train.radar.gait_features import gait_features, to_level
from echoform_train.study.gait.limits import (
    Limit,
    judge_features,
    learn_headings,
    learn_limits,
    pass_rate,
    possible,
)
from walking import Walks, simulate_walks


@pytest.fixture(scope="module")
def walks() -> Walks:
    return simulate_walks(5, 8, 64)


@pytest.fixture(scope="module")
def level(walks: Walks) -> Tensor:
    return to_level(walks.pixels[64])


@pytest.fixture(scope="module")
def features(walks: Walks, level: Tensor) -> dict[str, np.ndarray]:
    return gait_features(level, walks.axes)


@pytest.fixture(scope="module")
def held_out(walks: Walks) -> np.ndarray:
    return np.array([name.endswith(("r05", "r06", "r07", "r08")) for name in walks.recordings])


@pytest.fixture(scope="module")
def limits(features: dict[str, np.ndarray], held_out: np.ndarray) -> dict[str, Limit]:
    return learn_limits({name: values[~held_out] for name, values in features.items()})


def stretched(level: Tensor, height: float = 1.0, width: float = 1.0) -> Tensor:
    """The middle of images stretched in Doppler and time; what comes from outside is dark."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 64) / height, torch.linspace(-1, 1, 64) / width, indexing="ij")
    grid = torch.stack([columns, rows], dim=-1).expand(len(level), -1, -1, -1)
    return F.grid_sample(level[:, None], grid, align_corners=True)[:, 0].clamp(0, 1)


def test_held_out_recordings_of_the_same_people_pass(features, held_out, limits):
    assert pass_rate({name: values[held_out] for name, values in features.items()}, limits) >= 0.97


def test_walks_rolled_in_time_pass_as_well(walks, level, held_out, limits):
    assert pass_rate(gait_features(level[torch.from_numpy(held_out)].roll(29, dims=2), walks.axes), limits) >= 0.97


@pytest.mark.parametrize(
    "what", ["noise", "still lines", "shuffled columns", "twice the Doppler", "half the Doppler", "half the time"]
)
def test_what_no_walker_can_make_fails(what, walks, level, held_out, limits):
    generator = torch.Generator().manual_seed(0)
    real = level[torch.from_numpy(held_out)]
    images = {
        "noise": torch.rand(real.shape, generator=generator),
        "still lines": real.mean(dim=2, keepdim=True).expand_as(real),
        "shuffled columns": torch.stack([image[:, torch.randperm(64, generator=generator)] for image in real]),
        "twice the Doppler": stretched(real, height=2),
        "half the Doppler": stretched(real, height=0.5),
        "half the time": stretched(real, width=2),
    }[what]
    assert pass_rate(gait_features(images, walks.axes), limits) <= 0.05


def test_a_walk_upside_down_fails_only_where_its_way_is_known(walks, level, features, held_out, limits):
    headings = learn_headings(
        {name: values[~held_out] for name, values in features.items()}, walks.directions[~held_out]
    )
    assert headings == {0: 1.0, 1: -1.0}
    expected = np.array([headings[value] for value in walks.directions[held_out].tolist()])
    real = level[torch.from_numpy(held_out)]
    upside_down = gait_features(real.flip(1), walks.axes)
    assert pass_rate(upside_down, limits) >= 0.97
    assert pass_rate(upside_down, limits, expected) == 0
    assert pass_rate(gait_features(real, walks.axes), limits, expected) >= 0.97
    assert np.isnan(learn_headings(features, torch.zeros(len(level), dtype=torch.int64))[0])


def test_limits_are_no_wider_than_walking(limits):
    assert limits["torso_speed_mps"].high <= 2.1
    assert limits["cadence_hz"].low >= 1.0
    assert limits["cadence_hz"].high <= 2.6


def test_what_real_pictures_cannot_show_is_not_asked_of_others(features, limits):
    dark = dict.fromkeys(features, np.array([np.nan])) | {"rhythm": np.array([0.0])}
    assert judge_features(dark, limits)["torso_speed_mps"].all()  # half of real walks show no clear still line
    assert not judge_features(dark, limits)["cadence_hz"].any()
    assert not possible(dark, limits).any()
    unknown = features | {"torso_speed_mps": np.full_like(features["torso_speed_mps"], np.nan)}
    assert "torso_speed_mps" not in learn_limits(unknown)


def test_what_has_no_answer_is_refused(features, limits):
    with pytest.raises(ValueError, match="at least 5 real images, got 3"):
        learn_limits({name: values[:3] for name, values in features.items()})
    with pytest.raises(ValueError, match="in which a torso can be seen, there are none"):
        learn_limits({name: np.full(9, np.nan) for name in features})
    with pytest.raises(ValueError, match=r"features must hold .*, cadence_hz, walk_ratio_ms are missing"):
        possible({name: values for name, values in features.items() if name != "cadence_hz"}, limits)
