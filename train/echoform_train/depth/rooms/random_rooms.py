"""Random rooms with furniture-like objects, and random camera paths through them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from echoform_train.depth.rooms.config import RoomsConfig
from echoform_train.depth.rooms.scene import Box, Camera, Cylinder, Hole, Room, Sphere

_CLEARANCE_M = 0.25  # free space between the camera and an object


def make_room(rng: np.random.Generator) -> Room:
    """Draw a room of 3 to 6.5 m with boxes, balls, columns, stairs, niches, doorways and a pit."""
    width, depth, height = rng.uniform(3.0, 6.5), rng.uniform(3.0, 6.5), rng.uniform(2.3, 3.2)
    size = np.array([width, depth, height])
    objects: list[Box | Sphere | Cylinder] = [_random_box(rng, size) for _ in range(rng.integers(2, 6))]
    objects += [_random_sphere(rng, size) for _ in range(rng.integers(0, 4))]
    objects += [_random_column(rng, size) for _ in range(rng.integers(0, 3))]
    if rng.random() < 0.4:
        objects += _random_stairs(rng, size)
    holes = tuple(_random_opening(rng, size, wall) for wall in range(4) if rng.random() < 0.5)
    if rng.random() < 0.2:
        holes += (_random_pit(rng, size),)
    return Room(size_m=(float(width), float(depth), float(height)), objects=tuple(objects), holes=holes)


def make_camera_path(rng: np.random.Generator, room: Room, config: RoomsConfig) -> list[Camera]:
    """Draw cameras that move along a straight line between two free positions and turn on the way."""
    # Both ends of the path, and the turn between them; the first camera looks roughly at the centre of the room.
    ends = np.stack([_free_position(rng, room), _free_position(rng, room)])
    heights = rng.uniform(0.6, 1.9, 2)
    to_centre = np.asarray(room.size_m[:2]) / 2 - ends[0]
    start_yaw, turn = math.atan2(to_centre[1], to_centre[0]) + rng.normal(0, 0.7), rng.uniform(-1.0, 1.0)
    pitches, roll = rng.uniform(-0.6, 0.15, 2), rng.normal(0, 0.03)
    cameras = []
    for share in np.linspace(0, 1, config.images_per_camera):
        position = (1 - share) * ends[0] + share * ends[1]
        # Where an object blocks the path, stay at the nearer end.
        if not _is_free(position, room):
            position = ends[round(share)]
        height, pitch = ((1 - share) * pair[0] + share * pair[1] for pair in (heights, pitches))
        cameras.append(
            Camera(
                position_m=(float(position[0]), float(position[1]), float(min(height, room.size_m[2] - 0.2))),
                yaw_rad=float(start_yaw + share * turn),
                pitch_rad=float(pitch),
                roll_rad=float(roll),
                field_of_view_deg=config.field_of_view_deg,
            )
        )
    return cameras


def _free_position(rng: np.random.Generator, room: Room) -> np.ndarray:
    """A position [x, y] at least 0.3 m from the walls and at least `_CLEARANCE_M` from every object."""
    size = np.asarray(room.size_m[:2])
    position = rng.uniform(0.3, size - 0.3)
    while not _is_free(position, room):
        position = rng.uniform(0.3, size - 0.3)
    return position


def _is_free(position: np.ndarray, room: Room) -> bool:
    return all(
        math.dist(position, thing.centre_m[:2]) > _outer_radius_m(thing) + _CLEARANCE_M for thing in room.objects
    )


def _outer_radius_m(thing: Box | Sphere | Cylinder) -> float:
    """Radius of the smallest circle around an object, seen from above."""
    return math.hypot(*thing.size_m[:2]) / 2 if isinstance(thing, Box) else thing.radius_m


def _random_position(rng: np.random.Generator, room_size: np.ndarray, radius_m: float) -> tuple[float, float]:
    """Random centre (x, y) for an object of this outer radius, at least the radius away from the walls."""
    x, y = rng.uniform(radius_m, np.maximum(room_size[:2] - radius_m, radius_m + 0.01))
    return float(x), float(y)


def _random_box(rng: np.random.Generator, room_size: np.ndarray) -> Box:
    footprint = rng.uniform(0.2, 1.4, 2)
    height = float(rng.uniform(0.2, 2.0))
    position = _random_position(rng, room_size, float(footprint.max()) / 2)
    size = (float(footprint[0]), float(footprint[1]), height)
    return Box(centre_m=(*position, height / 2), size_m=size, yaw_rad=float(rng.uniform(0, math.pi)))


def _random_sphere(rng: np.random.Generator, room_size: np.ndarray) -> Sphere:
    radius = float(rng.uniform(0.1, 0.5))
    position = _random_position(rng, room_size, radius)
    return Sphere(centre_m=(*position, float(rng.uniform(radius, 1.8))), radius_m=radius)


def _random_column(rng: np.random.Generator, room_size: np.ndarray) -> Cylinder:
    radius, height = float(rng.uniform(0.05, 0.35)), float(rng.uniform(0.3, room_size[2]))
    position = _random_position(rng, room_size, radius)
    return Cylinder(centre_m=(*position, height / 2), radius_m=radius, height_m=height)


def _random_stairs(rng: np.random.Generator, room_size: np.ndarray) -> list[Box]:
    """Stairs that lead down along x from a wall of the room."""
    count, rise, run = int(rng.integers(2, 6)), float(rng.uniform(0.12, 0.22)), float(rng.uniform(0.2, 0.35))
    width = float(rng.uniform(0.6, 1.2))
    y = float(rng.uniform(width / 2, room_size[1] - width / 2))
    boxes = []
    for step in range(count):
        height, x = (step + 1) * rise, (count - step - 0.5) * run
        boxes.append(Box(centre_m=(x, y, height / 2), size_m=(run, width, height)))
    return boxes


def _random_opening(rng: np.random.Generator, room_size: np.ndarray, wall: int) -> Hole:
    """A niche or a doorway in a wall: 0 is the wall at the largest x, 1 at the largest y, 2 at x = 0, 3 at y = 0."""
    across = wall % 2  # the axis perpendicular to the wall
    along = 1 - across
    width = float(rng.uniform(0.5, 1.2))
    left = float(rng.uniform(0.1, room_size[along] - width - 0.1))
    doorway = rng.random() < 0.5
    bottom = 1e-3 if doorway else float(rng.uniform(0.3, 1.0))
    top = float(rng.uniform(1.9, 2.1)) if doorway else bottom + float(rng.uniform(0.4, 1.0))
    depth = float(rng.uniform(0.8, 3.0)) if doorway else float(rng.uniform(0.1, 0.5))
    low, high = np.zeros(3), np.zeros(3)
    low[along], high[along], low[2], high[2] = left, left + width, bottom, top
    # One centimetre of the hole lies inside the room.
    low[across], high[across] = (room_size[across] - 0.01, room_size[across] + depth) if wall < 2 else (-depth, 0.01)
    return Hole(low_m=_as_tuple(low), high_m=_as_tuple(high))


def _random_pit(rng: np.random.Generator, room_size: np.ndarray) -> Hole:
    sides = rng.uniform(0.4, 1.2, 2)
    corner = rng.uniform(0.1, room_size[:2] - sides - 0.1)
    low, high = np.append(corner, -rng.uniform(0.1, 0.8)), np.append(corner + sides, 0.01)
    return Hole(low_m=_as_tuple(low), high_m=_as_tuple(high))


def _as_tuple(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
