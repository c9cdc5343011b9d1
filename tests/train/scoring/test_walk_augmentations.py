"""Changes that imitate another walk do to an image what physics says they do."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from echoform_train.scoring.walk_augmentations import SHOWN_DB, bursts_and_floor, new_speckle, other_speed


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("change", [new_speckle, other_speed, bursts_and_floor])
def test_every_change_keeps_shape_and_range_and_leaves_its_input_alone(change):
    image = torch.rand(30, 1, 16, 24, generator=generator(9)) * 2 - 1
    before = image.clone()
    changed = change(image, generator())
    assert torch.equal(image, before)
    assert (changed.shape, changed.dtype) == (image.shape, torch.float32)
    assert changed.abs().max() <= 1
    assert not torch.equal(changed, image)
    assert torch.equal(changed, change(image, generator()))


def test_new_speckle_has_exponentially_distributed_power_and_none_on_the_floor():
    image = torch.full((60, 1, 32, 32), -1.0)
    image[:, :, 8:24] = 0.3
    changed = new_speckle(image, generator())
    redrawn = changed[(changed != image).flatten(1).any(1)]
    assert 20 < len(redrawn) < 40
    level_db = SHOWN_DB * (redrawn[:, 0, 10:22] + 1) / 2
    power = 10 ** (level_db / 10) / 10 ** (SHOWN_DB * 1.3 / 2 / 10)
    # Above the floor and below the top of the scale, where it is not cut.
    shown = power[(power > 0.02) & (power < 3)].double()
    expected = stats.truncexpon(b=3 - 0.02, loc=0.02)
    assert stats.kstest(shown[::7].numpy(), expected.cdf).pvalue > 0.01
    assert (redrawn[:, :, :7] == -1).all()


def line_at(changed: Tensor) -> Tensor:
    """Mean row of the light in each image."""
    light = changed[:, 0] + 1
    rows = torch.arange(light.shape[1])[None, :, None]
    return (light * rows).sum((1, 2)) / light.sum((1, 2))


def test_another_speed_scales_doppler_and_time_together():
    image = torch.full((400, 1, 64, 64), -1.0)
    image[:, :, 12:14] = 1.0  # a steady line 19 rows above the middle
    scale = (31.5 - line_at(other_speed(image, generator()))) / (31.5 - 12.5)
    assert scale.min() > 0.94 * 0.96 - 0.01 and scale.max() < 1.06 + 0.01
    assert 0.96 < scale.mean() < 1.0 and scale.std() > 0.02
    # Two pulses in the same images: a faster walk brings them nearer to each other.
    pulses = torch.full((400, 1, 64, 64), -1.0)
    pulses[..., 21:23] = pulses[..., 41:43] = 1.0
    columns = other_speed(pulses, generator())[:, 0, 32] + 1
    positions = torch.arange(64)
    left = (columns[:, :32] * positions[:32]).sum(1) / columns[:, :32].sum(1)
    right = (columns[:, 32:] * positions[32:]).sum(1) / columns[:, 32:].sum(1)
    speed = 20 / (right - left)
    assert speed.min() > 0.93 and speed.max() < 1.07
    assert torch.corrcoef(torch.stack([speed, scale]))[0, 1] > 0.8


def test_a_line_at_zero_doppler_stays_there():
    image = torch.full((50, 1, 32, 32), -1.0)
    image[:, :, 15:17] = 1.0
    assert (line_at(other_speed(image, generator())) - 15.5).abs().max() < 0.01


def test_bursts_lift_whole_columns_and_a_threshold_cuts_what_lies_below():
    image = torch.linspace(-0.9, 0.9, 64)[:, None].expand(300, 1, 64, 64).contiguous()
    changed = bursts_and_floor(image, generator())
    cut = (changed == -1).flatten(1).any(1)
    assert 0.35 < cut.float().mean() < 0.7
    lifted = (changed > image + 1e-6).any(2)[:, 0]  # [B, W]
    assert 0.6 < lifted.any(1).float().mean() < 0.9  # three quarters have one of two bursts
    assert lifted.sum(1).max() <= 2 * 4  # 6 % of 64 columns each
    untouched = changed[~cut & ~lifted.any(1)]
    assert torch.equal(untouched, image[: len(untouched)])
