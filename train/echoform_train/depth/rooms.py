"""Synthetic rooms seen by a depth camera: exact geometry by ray casting, then the errors of a sensor."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from echoform_train.depth.sources import DepthFile

ROOMS = "rooms"
"""What a source is called that is made here."""

# Disparity of half a pixel of a structured-light sensor (Khoshelham and Elberink 2012, Sensors 12(2), eq. 13 and
# section 4): 2.85e-5 * 0.5 * z^2 with z in centimetres, which is 36 mm at 5 m.
NOISE_PER_M2_M = 1.425e-3

_FAR_M = 1e9
_GRAZING_COSINE = 0.1  # 84 degrees: too little light comes back
_SHADOW = 0.1
_CLEAR_M = 0.5


@dataclass(frozen=True, kw_only=True)
class RoomsConfig:
    """How many rooms, and what the camera is like."""

    rooms: int = 80
    """Rooms; each is one recording, so that a room is never on two sides of a split."""
    cameras_per_room: int = 3
    """Ways of a camera through a room."""
    images_per_camera: int = 8
    """Images along each way."""
    resolution: int = 128
    """Height and width, pixels."""
    field_of_view_deg: float = 60.0
    """Angle between the left and the right edge of the image, degrees."""
    min_range_m: float = 0.3
    """Nearest depth that the sensor reads, metres."""
    max_range_m: float = 5.0
    """Farthest depth that the sensor reads, metres."""
    noise_per_m2_m: float = NOISE_PER_M2_M
    """Standard deviation of the depth at 1 m, metres; it grows as the square of the depth, its variance as z^4."""
    dropout: float = 0.0005
    """Share of pixels without a reading for no reason that can be seen."""

    @property
    def depth_range_mm(self) -> dict[str, float]:
        """Range of the sensor, as {"min": ..., "max": ...}."""
        return {"min": 1000 * self.min_range_m, "max": 1000 * self.max_range_m}

    def __post_init__(self) -> None:
        for name in ("rooms", "cameras_per_room", "images_per_camera", "resolution"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.min_range_m < self.max_range_m <= 65.535:
            raise ValueError(
                f"ranges must be 0 < min < max <= 65.535 m, got {self.min_range_m:g}..{self.max_range_m:g} m"
            )
        if not 0 < self.field_of_view_deg < 180:
            raise ValueError(f"field_of_view_deg must be in (0, 180), got {self.field_of_view_deg:g}")
        if self.noise_per_m2_m < 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"noise must not be negative and dropout be in [0, 1), got {self.noise_per_m2_m:g} and {self.dropout:g}"
            )


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box that is turned about the vertical; steps are boxes on one another."""

    centre_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    yaw_rad: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Sphere:
    """A ball."""

    centre_m: tuple[float, float, float]
    radius_m: float


@dataclass(frozen=True, kw_only=True)
class Cylinder:
    """An upright cylinder with flat ends."""

    centre_m: tuple[float, float, float]
    radius_m: float
    height_m: float


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A box cut out of a wall, the floor or the ceiling: a niche, a doorway, a pit. It must reach into the room."""

    low_m: tuple[float, float, float]
    high_m: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Room:
    """An empty box from (0, 0, 0) to `size_m` (x, y, and z upwards) with what stands in it and is cut out of it."""

    size_m: tuple[float, float, float]
    objects: tuple[Box | Sphere | Cylinder, ...] = ()
    holes: tuple[Hole, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera without distortion."""

    position_m: tuple[float, float, float]
    yaw_rad: float = 0.0
    """Where it looks: 0 along x, a quarter turn along y."""
    pitch_rad: float = 0.0
    """Upwards is positive."""
    roll_rad: float = 0.0
    field_of_view_deg: float = 60.0


@dataclass(frozen=True)
class View:
    """What a camera would see without any error."""

    depth_m: np.ndarray
    """float64 [H, W], metres along the optical axis (not along the ray)."""
    cosine: np.ndarray = field(repr=False)
    """float64 [H, W], of the angle between the ray and the surface's normal, 0..1."""


def look(room: Room, camera: Camera, resolution: int) -> View:
    """Cast one ray through the centre of each pixel, square images [resolution, resolution]."""
    origin = np.asarray(camera.position_m)
    rays = _rays(camera, resolution)  # [3, P], 1 along the optical axis, so that a distance along them is a depth
    depth, normal = _inside_box(origin, rays, np.zeros(3), np.asarray(room.size_m))
    for hole in room.holes:
        low, high = np.asarray(hole.low_m), np.asarray(hole.high_m)
        at = origin[:, None] + depth * rays
        within = ((at > low[:, None]) & (at < high[:, None])).all(axis=0)
        if within.any():
            depth[within], normal[:, within] = _inside_box(origin, rays[:, within], low, high)
    for thing in room.objects:
        hit, hit_normal = _HITS[type(thing)](thing, origin, rays)
        nearer = hit < depth
        depth[nearer], normal[:, nearer] = hit[nearer], hit_normal[:, nearer]
    cosine = np.abs((rays * normal).sum(axis=0)) / np.sqrt((rays * rays).sum(axis=0))
    return View(depth.reshape(resolution, resolution), cosine.reshape(resolution, resolution))


def sense(view: View, config: RoomsConfig, rng: np.random.Generator) -> np.ndarray:
    """What a sensor makes of a view: noise, and no reading where it cannot have one.

    No reading: out of range by the exact depth (sensors judge by areas, so that noise does not perforate what stands at
    the end of the range; it is cut there), surfaces seen at less than 6 degrees, the pixel left of a surface that is a
    tenth nearer or more (the projector stands to the right and leaves it in the shadow), and a few at random.

    Args:
        view: The exact depth.
        config: Range, noise and dropout of the sensor.
        rng: Draws noise and dropout.

    Returns:
        uint16 [H, W], millimetres; 0 is no reading.
    """
    depth_m = view.depth_m
    noisy_m = depth_m + config.noise_per_m2_m * depth_m**2 * rng.standard_normal(depth_m.shape)
    noisy_m = noisy_m.clip(config.min_range_m, config.max_range_m)
    seen = (depth_m >= config.min_range_m) & (depth_m <= config.max_range_m)
    seen &= (view.cosine >= _GRAZING_COSINE) & (rng.random(depth_m.shape) >= config.dropout)
    seen[:, :-1] &= depth_m[:, 1:] > (1 - _SHADOW) * depth_m[:, :-1]
    return np.where(seen, np.round(1000 * noisy_m), 0).astype(np.uint16)


def render_rooms(config: RoomsConfig, seed: int) -> list[DepthFile]:
    """All images of all rooms as 16-bit PNG, room by room; the same for the same settings and seed.

    Each room has draws of its own, so that more rooms leave the first ones as they were.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        of_rooms = pool.map(lambda number: _render_room(config, seed, number), range(config.rooms))
        return [image for of_room in of_rooms for image in of_room]


def make_room(rng: np.random.Generator) -> Room:
    """Draw a room of 3 to 6.5 m with niches, a doorway, furniture-sized boxes, balls, columns and steps."""
    width, depth, height = rng.uniform(3.0, 6.5), rng.uniform(3.0, 6.5), rng.uniform(2.3, 3.2)
    size = np.array([width, depth, height])
    things: list[Box | Sphere | Cylinder] = []
    for _ in range(rng.integers(2, 6)):
        footprint = rng.uniform(0.2, 1.4, 2)
        tall = float(rng.uniform(0.2, 2.0))
        at = _stand(rng, size, float(footprint.max()) / 2)
        box_size = (float(footprint[0]), float(footprint[1]), tall)
        things.append(Box(centre_m=(*at, tall / 2), size_m=box_size, yaw_rad=float(rng.uniform(0, math.pi))))
    for _ in range(rng.integers(0, 4)):
        radius = float(rng.uniform(0.1, 0.5))
        at = _stand(rng, size, radius)
        things.append(Sphere(centre_m=(*at, float(rng.uniform(radius, 1.8))), radius_m=radius))
    for _ in range(rng.integers(0, 3)):
        radius, tall = float(rng.uniform(0.05, 0.35)), float(rng.uniform(0.3, height))
        things.append(Cylinder(centre_m=(*_stand(rng, size, radius), tall / 2), radius_m=radius, height_m=tall))
    if rng.random() < 0.4:
        things += _steps(rng, size)
    holes = tuple(_hole(rng, size, wall) for wall in range(4) if rng.random() < 0.5)
    if rng.random() < 0.2:
        holes += (_pit(rng, size),)
    return Room(size_m=(float(width), float(depth), float(height)), objects=tuple(things), holes=holes)


def _render_room(config: RoomsConfig, seed: int, number: int) -> list[DepthFile]:
    rng = np.random.default_rng([seed, number])
    room = make_room(rng)
    images = []
    for way in range(config.cameras_per_room):
        for frame, camera in enumerate(_way(rng, room, config)):
            units = sense(look(room, camera, config.resolution), config, rng)
            encoded = io.BytesIO()
            Image.fromarray(units).save(encoded, "PNG", compress_level=1)
            recording = f"room_{number:04d}"
            name = f"{recording}/camera_{way}_{frame:04d}.png"
            images.append(DepthFile(file=name, data=encoded.getvalue(), recording=recording))
    return images


def _way(rng: np.random.Generator, room: Room, config: RoomsConfig) -> list[Camera]:
    """A straight walk that turns as it goes, from one free place to another."""
    ends = np.stack([_free_place(rng, room), _free_place(rng, room)])
    heights = rng.uniform(0.6, 1.9, 2)
    to_centre = np.asarray(room.size_m[:2]) / 2 - ends[0]
    start_yaw, turn = math.atan2(to_centre[1], to_centre[0]) + rng.normal(0, 0.7), rng.uniform(-1.0, 1.0)
    pitches, roll = rng.uniform(-0.6, 0.15, 2), rng.normal(0, 0.03)
    cameras = []
    for share in np.linspace(0, 1, config.images_per_camera):
        place = (1 - share) * ends[0] + share * ends[1]
        if not _is_free(place, room):
            place = ends[round(share)]
        height, pitch = ((1 - share) * pair[0] + share * pair[1] for pair in (heights, pitches))
        cameras.append(
            Camera(
                position_m=(float(place[0]), float(place[1]), float(min(height, room.size_m[2] - 0.2))),
                yaw_rad=float(start_yaw + share * turn),
                pitch_rad=float(pitch),
                roll_rad=float(roll),
                field_of_view_deg=config.field_of_view_deg,
            )
        )
    return cameras


def _free_place(rng: np.random.Generator, room: Room) -> np.ndarray:
    size = np.asarray(room.size_m[:2])
    place = rng.uniform(0.3, size - 0.3)
    while not _is_free(place, room):
        place = rng.uniform(0.3, size - 0.3)
    return place


def _is_free(place: np.ndarray, room: Room) -> bool:
    return all(math.dist(place, thing.centre_m[:2]) > _reach_m(thing) + _CLEAR_M / 2 for thing in room.objects)


def _reach_m(thing: Box | Sphere | Cylinder) -> float:
    return math.hypot(*thing.size_m[:2]) / 2 if isinstance(thing, Box) else thing.radius_m


def _stand(rng: np.random.Generator, size: np.ndarray, reach_m: float) -> tuple[float, float]:
    x, y = rng.uniform(reach_m, np.maximum(size[:2] - reach_m, reach_m + 0.01))
    return float(x), float(y)


def _steps(rng: np.random.Generator, size: np.ndarray) -> list[Box]:
    """A stair that rises along x from a wall of the room."""
    count, rise, run = int(rng.integers(2, 6)), float(rng.uniform(0.12, 0.22)), float(rng.uniform(0.2, 0.35))
    wide = float(rng.uniform(0.6, 1.2))
    y = float(rng.uniform(wide / 2, size[1] - wide / 2))
    boxes = []
    for step in range(count):
        tall, x = (step + 1) * rise, (count - step - 0.5) * run
        boxes.append(Box(centre_m=(x, y, tall / 2), size_m=(run, wide, tall)))
    return boxes


def _hole(rng: np.random.Generator, size: np.ndarray, wall: int) -> Hole:
    """A niche or a doorway in one of four walls."""
    along = wall % 2  # the axis that the wall stands across
    other = 1 - along
    wide = float(rng.uniform(0.5, 1.2))
    left = float(rng.uniform(0.1, size[other] - wide - 0.1))
    doorway = rng.random() < 0.5
    bottom = 1e-3 if doorway else float(rng.uniform(0.3, 1.0))
    top = float(rng.uniform(1.9, 2.1)) if doorway else bottom + float(rng.uniform(0.4, 1.0))
    deep = float(rng.uniform(0.8, 3.0)) if doorway else float(rng.uniform(0.1, 0.5))
    low, high = np.zeros(3), np.zeros(3)
    low[other], high[other], low[2], high[2] = left, left + wide, bottom, top
    low[along], high[along] = (size[along] - 0.01, size[along] + deep) if wall < 2 else (-deep, 0.01)
    return Hole(low_m=_triple(low), high_m=_triple(high))


def _pit(rng: np.random.Generator, size: np.ndarray) -> Hole:
    sides = rng.uniform(0.4, 1.2, 2)
    corner = rng.uniform(0.1, size[:2] - sides - 0.1)
    low, high = np.append(corner, -rng.uniform(0.1, 0.8)), np.append(corner + sides, 0.01)
    return Hole(low_m=_triple(low), high_m=_triple(high))


def _triple(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _rays(camera: Camera, resolution: int) -> np.ndarray:
    """Directions [3, P], row by row; the part along the optical axis is 1."""
    half = math.tan(math.radians(camera.field_of_view_deg) / 2)
    offsets = ((np.arange(resolution) + 0.5) / resolution * 2 - 1) * half
    right, down = np.meshgrid(offsets, offsets)
    cos_roll, sin_roll = math.cos(camera.roll_rad), math.sin(camera.roll_rad)
    right, down = (cos_roll * right - sin_roll * down).ravel(), (sin_roll * right + cos_roll * down).ravel()
    cos_yaw, sin_yaw = math.cos(camera.yaw_rad), math.sin(camera.yaw_rad)
    cos_pitch, sin_pitch = math.cos(camera.pitch_rad), math.sin(camera.pitch_rad)
    axis = np.array([cos_pitch * cos_yaw, cos_pitch * sin_yaw, sin_pitch])
    to_right = np.array([sin_yaw, -cos_yaw, 0.0])
    upwards = np.array([-sin_pitch * cos_yaw, -sin_pitch * sin_yaw, cos_pitch])
    return axis[:, None] + to_right[:, None] * right - upwards[:, None] * down


def _slabs(origin: np.ndarray, rays: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays enter and leave the three pairs of planes of a box, each [3, P] (Kay and Kajiya 1986)."""
    inverse = 1 / np.where(np.abs(rays) < 1e-12, 1e-12, rays)
    first, second = (low - origin)[:, None] * inverse, (high - origin)[:, None] * inverse
    return np.minimum(first, second), np.maximum(first, second)


def _inside_box(
    origin: np.ndarray, rays: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where rays leave a box: depth [P] and the axis of the wall as a normal [3, P]."""
    _, leave = _slabs(origin, rays, low, high)
    return leave.min(axis=0), _axis_normal(leave.argmin(axis=0))


def _axis_normal(axis: np.ndarray) -> np.ndarray:
    return (axis == np.arange(3)[:, None]).astype(np.float64)


def _hit_box(box: Box, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine = math.cos(box.yaw_rad), math.sin(box.yaw_rad)
    into = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    half = np.asarray(box.size_m) / 2
    enter, leave = _slabs(into @ (origin - np.asarray(box.centre_m)), into @ rays, -half, half)
    first, last = enter.max(axis=0), leave.min(axis=0)
    hit = (first < last) & (first > 0)
    normal = np.zeros_like(rays)
    normal[:, hit] = into.T @ _axis_normal(enter[:, hit].argmax(axis=0))
    return np.where(hit, first, _FAR_M), normal


def _hit_sphere(sphere: Sphere, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    offset = origin - np.asarray(sphere.centre_m)
    depth = _first_root(
        (rays * rays).sum(axis=0), offset @ rays, np.full(rays.shape[1], offset @ offset - sphere.radius_m**2)
    )
    return depth, (offset[:, None] + depth * rays) / sphere.radius_m


def _hit_cylinder(cylinder: Cylinder, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    offset = origin - np.asarray(cylinder.centre_m)
    across = rays[:2]
    side = _first_root(
        np.maximum((across * across).sum(axis=0), 1e-12),
        offset[:2] @ across,
        np.full(rays.shape[1], offset[:2] @ offset[:2] - cylinder.radius_m**2),
    )
    side = np.where(np.abs(offset[2] + side * rays[2]) <= cylinder.height_m / 2, side, _FAR_M)
    upright = np.where(np.abs(rays[2]) < 1e-12, 1e-12, rays[2])
    end = (-np.sign(upright) * cylinder.height_m / 2 - offset[2]) / upright
    on_end = np.square(offset[:2, None] + end * across).sum(axis=0) <= cylinder.radius_m**2
    end = np.where(on_end & (end > 0), end, _FAR_M)
    normal = np.concatenate([(offset[:2, None] + side * across) / cylinder.radius_m, np.zeros((1, rays.shape[1]))])
    normal[:, end < side] = np.array([[0.0], [0.0], [1.0]])
    return np.minimum(side, end), normal


def _first_root(a: np.ndarray, half_b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Smaller solution of a t^2 + 2 half_b t + c = 0 where it is positive, far away elsewhere."""
    discriminant = half_b**2 - a * c
    root = (-half_b - np.sqrt(np.maximum(discriminant, 0))) / a
    return np.where((discriminant > 0) & (root > 0), root, _FAR_M)


_HITS = {Box: _hit_box, Sphere: _hit_sphere, Cylinder: _hit_cylinder}
