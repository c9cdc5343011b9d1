"""Depth images of a room against closed forms of its geometry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from echoform_train.depth.rooms.ray_casting import ExactImage, cast_rays
from echoform_train.depth.rooms.scene import Box, Camera, Cylinder, Hole, Room, Sphere

HALL = (8.0, 20.0, 20.0)
CENTRE = (5.0, 10.0, 10.0)
"""3 m before the wall at x = 8 m; floor, ceiling and other walls are out of sight."""
SIDE = 65  # odd, so that one ray goes along the axis


def offsets() -> np.ndarray:
    """Tangent of the angle between each pixel and the axis, to the right (or downwards)."""
    return (2 * (np.arange(SIDE) + 0.5) / SIDE - 1) * math.tan(math.radians(30))


def seen(*objects: Any, holes: tuple[Hole, ...] = (), **camera: Any) -> ExactImage:
    camera.setdefault("position_m", CENTRE)
    return cast_rays(Room(size_m=HALL, objects=objects, holes=holes), Camera(**camera), SIDE)


def test_a_wall_seen_frontally_has_one_depth():
    view = seen()
    np.testing.assert_allclose(view.depth_m, 3.0, rtol=1e-12)
    cosine = 1 / np.sqrt(1 + offsets()[:, None] ** 2 + offsets()[None] ** 2)
    np.testing.assert_allclose(view.cosine, cosine, rtol=1e-12)


def test_a_wall_seen_at_an_angle_is_a_plane():
    yaw = 0.3  # to the left: the right edge of the image looks straighter at the wall
    depth = 3 / (math.cos(yaw) + offsets() * math.sin(yaw))
    np.testing.assert_allclose(seen(yaw_rad=yaw).depth_m, np.tile(depth, (SIDE, 1)), rtol=1e-12)


def test_looking_down_brings_the_floor_nearer_at_the_bottom():
    view = seen(position_m=(4.0, 10.0, 1.5), pitch_rad=-0.5)
    depth = 1.5 / (math.sin(0.5) + offsets() * math.cos(0.5))
    floor = (depth > 0) & (depth * (math.cos(0.5) - offsets() * math.sin(0.5)) < 4.0)  # not behind the wall
    assert 20 < floor.sum() < SIDE
    np.testing.assert_allclose(view.depth_m[floor], np.tile(depth[floor, None], (1, SIDE)), rtol=1e-12)


def test_roll_turns_the_picture():
    pitched = seen(position_m=(4.0, 10.0, 1.5), pitch_rad=-0.5).depth_m
    rolled = seen(position_m=(4.0, 10.0, 1.5), pitch_rad=-0.5, roll_rad=math.pi / 2).depth_m
    turned = [np.abs(np.rot90(pitched, turns) - rolled).max() for turns in (1, 3)]
    assert min(turned) < 1e-9


def test_a_sphere_has_the_depth_of_its_equation():
    right, down = np.meshgrid(offsets(), offsets())
    square = 1 + right**2 + down**2
    # |t d - c| = r with the centre 2 m ahead: t^2 |d|^2 - 4 t + 4 - r^2 = 0.
    discriminant = 4 - square * (4 - 0.25)
    expected = np.where(discriminant > 0, (2 - np.sqrt(np.maximum(discriminant, 0))) / square, 3.0)
    view = seen(Sphere(centre_m=(7.0, 10.0, 10.0), radius_m=0.5))
    np.testing.assert_allclose(view.depth_m, expected, rtol=1e-9)
    assert view.depth_m[SIDE // 2, SIDE // 2] == pytest.approx(1.5) and view.cosine[SIDE // 2, SIDE // 2] == 1
    assert view.cosine[discriminant > 0].min() < 0.3


def test_a_turned_box_shows_its_edge():
    view = seen(Box(centre_m=(7.0, 10.0, 10.0), size_m=(1.0, 1.0, 1.0), yaw_rad=math.pi / 4))
    middle = SIDE // 2
    edge = 2 - math.sqrt(0.5)
    assert view.depth_m[middle, middle] == pytest.approx(edge, abs=1e-9)
    # Along the faces depth grows by as much as one goes aside: t = edge + t |x|.
    near = slice(middle - 5, middle + 6)
    np.testing.assert_allclose(view.depth_m[middle, near], edge / (1 - np.abs(offsets()[near])), rtol=1e-9)
    np.testing.assert_allclose(
        view.cosine[middle, near], (1 - np.abs(offsets()[near])) / np.sqrt(2 + 2 * offsets()[near] ** 2), atol=1e-9
    )


def test_a_cylinder_is_round_about_the_vertical_and_flat_on_top():
    column = Cylinder(centre_m=(7.0, 10.0, 10.0), radius_m=0.5, height_m=1.0)
    view = seen(column)
    middle = SIDE // 2
    square = 1 + offsets() ** 2
    discriminant = 4 - square * (4 - 0.25)
    expected = np.where(discriminant > 0, (2 - np.sqrt(np.maximum(discriminant, 0))) / square, 3.0)
    np.testing.assert_allclose(view.depth_m[middle], expected, rtol=1e-9)
    above = seen(column, position_m=(6.9, 10.0, 12.5), pitch_rad=-math.pi / 2)
    assert above.depth_m[middle, middle] == pytest.approx(2.0)
    assert above.cosine[middle, middle] == pytest.approx(1.0)


def test_a_niche_is_deeper_than_its_wall():
    niche = Hole(low_m=(7.9, 9.5, 9.5), high_m=(8.4, 10.5, 10.5))
    depth = seen(holes=(niche,)).depth_m
    inside = np.abs(offsets()) * 3.4 < 0.5  # what reaches the back of the niche
    outside = np.abs(offsets()) * 3.0 > 0.5
    np.testing.assert_allclose(depth[np.ix_(inside, inside)], 3.4)
    np.testing.assert_allclose(depth[outside], 3.0)
    assert ((depth >= 3.0) & (depth <= 3.4 + 1e-9)).all()
