"""Model range, units and sizes of depth against brute force, other libraries and every value of 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from echoform.depth_units import decode_units, encode_units, range_in_units, resize_depth

EVERY_VALUE = torch.arange(65536).reshape(1, 1, 256, 256)


def with_holes(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Depth in 1000..1100 with a third of it missing in patches, float32 [1, 1, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    depth = torch.randint(1000, 1101, (1, 1, height, width), generator=generator).float()
    holes = torch.rand(1, 1, -(-height // 3), -(-width // 3), generator=generator) < 0.33
    return depth * ~holes.repeat_interleave(3, 2).repeat_interleave(3, 3)[..., :height, :width]


def brute_force_area(units: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mean over the readings among the finest common pixels; 0 where fewer than half are readings."""
    fine = np.kron(units.astype(np.float64), np.ones((height, width)))  # each old pixel as height x width
    blocks = (
        fine.reshape(height, units.shape[0], width, units.shape[1]).transpose(0, 2, 1, 3).reshape(height, width, -1)
    )
    readings = blocks != 0
    mean = blocks.sum(axis=-1) / np.maximum(readings.sum(axis=-1), 1)
    return np.where(readings.mean(axis=-1) >= 0.5, mean, 0)


@pytest.mark.parametrize(
    ("depth_range_mm", "units_per_mm"),
    [({"min": 0, "max": 65535}, 1.0), ({"min": 0.2, "max": 13107}, 5.0), ({"min": 10, "max": 655350}, 0.1)],
)
def test_every_value_of_16_bits_survives_the_model_range(depth_range_mm: dict[str, float], units_per_mm: float):
    depth, valid = encode_units(EVERY_VALUE, depth_range_mm, units_per_mm)
    assert depth.dtype == torch.float32
    assert torch.equal(valid, EVERY_VALUE > 0)
    assert depth[valid].min() == -1 and depth[valid].max() == pytest.approx(1, abs=1e-6)
    assert (depth[~valid] == 0).all()
    units = decode_units(depth, depth_range_mm, units_per_mm, valid)
    assert (units - EVERY_VALUE).abs().max() < 0.02
    assert torch.equal(units.round().long(), EVERY_VALUE)


def test_readings_outside_the_range_are_none():
    depth, valid = encode_units(torch.tensor([[299, 300, 2650, 5000, 5001]]), {"min": 300, "max": 5000})
    assert valid.tolist() == [[False, True, True, True, False]]
    torch.testing.assert_close(depth, torch.tensor([[0.0, -1.0, 0.0, 1.0, 0.0]]))


def test_what_overshoots_becomes_the_end_of_the_range():
    assert decode_units(torch.tensor([-3.0, 3.0]), {"min": 300, "max": 5000}).tolist() == [300, 5000]
    # 0 stays for "no reading", even where the range begins there.
    assert decode_units(torch.tensor([-3.0]), {"min": 0, "max": 5000}).tolist() == [1]


def test_tenths_of_a_millimetre_are_whole_units():
    assert range_in_units({"min": 0.3, "max": 0.7}, 10) == (3, 7)


@pytest.mark.parametrize("after", [(6, 6), (4, 9), (7, 5), (1, 1)])
def test_shrinking_is_the_mean_over_the_readings_of_the_area(after: tuple[int, int]):
    units = with_holes(12, 20)
    expected = brute_force_area(units[0, 0].numpy(), *after)
    np.testing.assert_allclose(resize_depth(units, after)[0, 0].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("after", [(24, 40), (13, 31)])
def test_growing_without_holes_is_bilinear(after: tuple[int, int]):
    units = with_holes(12, 20).clamp(min=1000)
    expected = F.interpolate(units, after, mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize_depth(units, after), expected)


@pytest.mark.parametrize("after", [(128, 128), (37, 11), (5, 64), (12, 20)])
def test_no_reading_is_mixed_with_no_reading(after: tuple[int, int]):
    units = with_holes(12, 20)
    resized = resize_depth(units, after)
    assert ((resized == 0) | ((resized >= 999.99) & (resized <= 1100.01))).all()
    share = F.interpolate((units != 0).float(), after, mode="bilinear", align_corners=False)
    if min(after) >= 20:
        # Where a pixel grows, it is a reading where readings have most of the weight.
        clear = (share - 0.5).abs() > 1e-3
        assert torch.equal((resized != 0)[clear], (share > 0.5)[clear])


def test_a_constant_stays_what_it_is_and_nothing_stays_nothing():
    for value in (0, 1, 65535):
        resized = resize_depth(torch.full((1, 1, 50, 70), value), (128, 31))
        assert (resized.round() == value).all()


@pytest.mark.parametrize("before", [(1, 1), (5000, 3), (3, 5000)])
def test_extreme_sizes_keep_the_mean_of_a_ramp(before: tuple[int, int]):
    ramp = torch.linspace(1000, 3000, before[0] * before[1]).reshape(1, 1, *before)
    resized = resize_depth(ramp, (128, 128))
    assert resized.shape == (1, 1, 128, 128)
    assert resized.mean().item() == pytest.approx(ramp.mean().item(), rel=1e-3)


def test_the_same_size_comes_back_bit_for_bit():
    assert torch.equal(resize_depth(EVERY_VALUE, (256, 256)).long(), EVERY_VALUE)


@pytest.mark.parametrize(
    ("depth_range_mm", "units_per_mm", "message"),
    [
        (None, 1.0, "must hold min and max, got None"),
        ({"min": 300}, 1.0, "must hold min and max"),
        ({"min": 500, "max": 300}, 1.0, r"0 <= min < max, got 500\.\.300"),
        ({"min": -1, "max": 300}, 1.0, "0 <= min < max, got -1"),
        ({"min": 300, "max": 70000}, 1.0, r"units 1\.\.65535, got 300\.\.70000 mm of 1 units"),
        ({"min": 0, "max": 1}, 1.0, "at least two of the units"),
        ({"min": 300, "max": 5000}, 0.0, "units_per_mm must be greater than 0, got 0"),
    ],
)
def test_a_range_that_does_not_fit_16_bits_is_refused(depth_range_mm: dict | None, units_per_mm: float, message: str):
    with pytest.raises(ValueError, match=message):
        range_in_units(depth_range_mm, units_per_mm)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match="at least 1 pixel, got"):
        resize_depth(torch.zeros(1, 1, 0, 5), (2, 2))
    with pytest.raises(ValueError, match="at least 1 pixel, got"):
        resize_depth(torch.zeros(1, 1, 5, 5), (0, 2))
