"""The simulated sensor against the noise and the missing readings that it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from echoform_train.depth.rooms.config import NOISE_PER_M2_M, RoomsConfig
from echoform_train.depth.rooms.ray_casting import ExactImage
from echoform_train.depth.rooms.sensor import simulate_sensor


def flat(depth_m: float, cosine: float = 1.0) -> ExactImage:
    return ExactImage(np.full((128, 128), depth_m), np.full((128, 128), cosine))


def test_the_sensor_writes_millimetres():
    config = RoomsConfig(noise_per_m2_m=0.0, dropout=0.0)
    units = simulate_sensor(flat(3.0), config, np.random.default_rng(0))
    assert units.dtype == np.uint16 and (units == 3000).all()


@pytest.mark.parametrize("depth_m", [1.0, 2.0, 4.0])
def test_the_deviation_of_the_noise_grows_as_the_square_of_the_depth(depth_m: float):
    units = simulate_sensor(flat(depth_m), RoomsConfig(dropout=0.0), np.random.default_rng(0)).astype(float)
    expected_mm = math.hypot(1000 * NOISE_PER_M2_M * depth_m**2, math.sqrt(1 / 12))  # and of rounding
    # The deviation of 16384 draws is known to 1 / sqrt(2 * 16384) = 0.55 %.
    assert units.std() == pytest.approx(expected_mm, rel=0.025)
    assert units.mean() == pytest.approx(1000 * depth_m, abs=5 * expected_mm / 128)


def test_no_reading_out_of_range_at_grazing_angles_or_in_the_shadow():
    config, rng = RoomsConfig(noise_per_m2_m=0.0, dropout=0.0), np.random.default_rng(0)
    for view in (flat(0.29), flat(5.01), flat(2.0, cosine=0.09)):
        assert not simulate_sensor(view, config, rng).any()
    step = flat(3.0)
    step.depth_m[:, 64:100] = 2.0
    units = simulate_sensor(step, config, rng)
    assert np.flatnonzero(units[0] == 0).tolist() == [63]  # to the left of what stands before it
    assert simulate_sensor(flat(2.0), RoomsConfig(dropout=0.1), rng).astype(bool).mean() == pytest.approx(0.9, abs=0.01)
