"""Simulated errors of a depth sensor: noise, and pixels without a reading."""

from __future__ import annotations

import numpy as np

from echoform_train.depth.rooms.config import RoomsConfig
from echoform_train.depth.rooms.ray_casting import ExactImage

_MIN_COSINE = 0.1  # surfaces seen at less than 6 degrees send too little light back
_SHADOW_STEP = 0.1


def simulate_sensor(exact: ExactImage, config: RoomsConfig, rng: np.random.Generator) -> np.ndarray:
    """Turn an exact depth image into what a structured-light sensor would measure.

    A pixel has no reading in four cases: its exact depth is out of range; the surface is seen at less than 6 degrees;
    its right neighbour is nearer by a tenth or more, and so shades it from the projector on the right; or at random,
    with probability `config.dropout`. Noisy depths are clipped to the range, so that noise alone makes no pixel
    invalid: readings of real sensors do not flicker at the end of the range.

    Args:
        exact: Exact depth and viewing angle of each pixel.
        config: Range, noise and dropout of the sensor.
        rng: Source of the noise and the dropout.

    Returns:
        uint16 [H, W], millimetres; 0 means no reading.
    """
    depth_m = exact.depth_m
    noisy_m = depth_m + config.noise_per_m2_m * depth_m**2 * rng.standard_normal(depth_m.shape)
    noisy_m = noisy_m.clip(config.min_range_m, config.max_range_m)
    has_reading = (depth_m >= config.min_range_m) & (depth_m <= config.max_range_m)
    has_reading &= (exact.cosine >= _MIN_COSINE) & (rng.random(depth_m.shape) >= config.dropout)
    has_reading[:, :-1] &= depth_m[:, 1:] > (1 - _SHADOW_STEP) * depth_m[:, :-1]
    return np.where(has_reading, np.round(1000 * noisy_m), 0).astype(np.uint16)
