"""Rendered rooms: reproducible, worth looking at, and settings that make sense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from echoform_train.depth.image_files import decode_depth
from echoform_train.depth.rooms.config import RoomsConfig
from echoform_train.depth.rooms.random_rooms import make_room
from echoform_train.depth.rooms.rendering import render_rooms
from echoform_train.depth.rooms.scene import Box, Cylinder, Sphere


def test_rooms_are_the_same_for_the_same_seed_and_more_rooms_change_none():
    few = RoomsConfig(rooms=2, cameras_per_room=2, images_per_camera=3, resolution=32)
    more = RoomsConfig(rooms=3, cameras_per_room=2, images_per_camera=3, resolution=32)
    first, second, other = render_rooms(few, 1), render_rooms(more, 1), render_rooms(few, 2)
    assert len(first) == 12 and [image.data for image in first] == [image.data for image in second[:12]]
    assert all(left.data != right.data for left, right in zip(first, other, strict=True))
    assert first[0].file == "room_0000/camera_0_0000.png" and first[0].recording == "room_0000"


def test_rooms_are_worth_looking_at():
    config = RoomsConfig(rooms=6, cameras_per_room=1, images_per_camera=4, resolution=64)
    images = [decode_depth(image.read(), image.file) for image in render_rooms(config, 0)]
    readings = np.mean([(image > 0).mean() for image in images])
    assert 0.8 < readings < 0.999
    spans_mm = [np.percentile(image[image > 0], 95) - np.percentile(image[image > 0], 5) for image in images]
    assert np.median(spans_mm) > 500
    kinds = {type(thing) for seed in range(10) for thing in make_room(np.random.default_rng(seed)).objects}
    assert kinds == {Box, Sphere, Cylinder}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rooms": 0}, "rooms must be at least 1, got 0"),
        ({"min_range_m": 6.0}, r"0 < min < max <= 65\.535 m, got 6\.\.5 m"),
        ({"field_of_view_deg": 180.0}, r"in \(0, 180\), got 180"),
        ({"dropout": 1.0}, r"dropout be in \[0, 1\), got 0\.001425 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        RoomsConfig(**settings)
