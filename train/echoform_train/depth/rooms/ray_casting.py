"""Exact depth images of a room, by casting one ray per pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from echoform_train.depth.rooms.scene import Box, Camera, Cylinder, Room, Sphere

_MISS_M = 1e9  # the "depth" of an object that a ray does not hit


@dataclass(frozen=True)
class ExactImage:
    """Noise-free measurement of a depth camera."""

    depth_m: np.ndarray
    """float64 [H, W], metres along the optical axis (not along the ray)."""
    cosine: np.ndarray = field(repr=False)
    """float64 [H, W], cosine of the angle between the ray and the surface normal, 0..1."""


def cast_rays(room: Room, camera: Camera, resolution: int) -> ExactImage:
    """Depth and viewing angle at the centre of each pixel of a square image [resolution, resolution].

    The camera must be inside the room and outside its objects.
    """
    origin = np.asarray(camera.position_m)
    rays = _ray_directions(camera, resolution)  # [3, P]
    # Start with the walls, the floor and the ceiling.
    depth, normal = _hit_from_inside(origin, rays, np.zeros(3), np.asarray(room.size_m))
    # A ray that meets a wall inside a hole continues to the walls of that hole.
    for hole in room.holes:
        low, high = np.asarray(hole.low_m), np.asarray(hole.high_m)
        point = origin[:, None] + depth * rays
        in_hole = ((point > low[:, None]) & (point < high[:, None])).all(axis=0)
        if in_hole.any():
            depth[in_hole], normal[:, in_hole] = _hit_from_inside(origin, rays[:, in_hole], low, high)
    # The camera sees the nearest surface along each ray.
    for thing in room.objects:
        object_depth, object_normal = _HIT_FUNCTIONS[type(thing)](thing, origin, rays)
        nearer = object_depth < depth
        depth[nearer], normal[:, nearer] = object_depth[nearer], object_normal[:, nearer]
    cosine = np.abs((rays * normal).sum(axis=0)) / np.sqrt((rays * rays).sum(axis=0))
    return ExactImage(depth.reshape(resolution, resolution), cosine.reshape(resolution, resolution))


def _ray_directions(camera: Camera, resolution: int) -> np.ndarray:
    """Ray directions [3, P] of the pixels, row by row.

    Their component along the optical axis is 1, so that the ray parameter of a hit is its depth.
    """
    # Offsets from the optical axis in the image plane, turned by the roll.
    half = math.tan(math.radians(camera.field_of_view_deg) / 2)
    offsets = ((np.arange(resolution) + 0.5) / resolution * 2 - 1) * half
    right, down = np.meshgrid(offsets, offsets)
    cos_roll, sin_roll = math.cos(camera.roll_rad), math.sin(camera.roll_rad)
    right, down = (cos_roll * right - sin_roll * down).ravel(), (sin_roll * right + cos_roll * down).ravel()
    # The camera's three axes in room coordinates.
    cos_yaw, sin_yaw = math.cos(camera.yaw_rad), math.sin(camera.yaw_rad)
    cos_pitch, sin_pitch = math.cos(camera.pitch_rad), math.sin(camera.pitch_rad)
    forward_axis = np.array([cos_pitch * cos_yaw, cos_pitch * sin_yaw, sin_pitch])
    right_axis = np.array([sin_yaw, -cos_yaw, 0.0])
    up_axis = np.array([-sin_pitch * cos_yaw, -sin_pitch * sin_yaw, cos_pitch])
    return forward_axis[:, None] + right_axis[:, None] * right - up_axis[:, None] * down


# The functions below take the camera position `origin` [3] and ray directions `rays` [3, P]. They return the depth [P]
# at which each ray hits a surface, or _MISS_M if it misses, and the surface normal [3, P] there.


def _hit_from_inside(
    origin: np.ndarray, rays: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Walls of the axis-aligned box from `low` to `high`, seen from inside it."""
    _, leave = _crossings(origin, rays, low, high)
    return leave.min(axis=0), _axis_normal(leave.argmin(axis=0))


def _hit_box(box: Box, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # In the box's own coordinates its sides are parallel to the axes.
    cosine, sine = math.cos(box.yaw_rad), math.sin(box.yaw_rad)
    to_box = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    half = np.asarray(box.size_m) / 2
    enter, leave = _crossings(to_box @ (origin - np.asarray(box.centre_m)), to_box @ rays, -half, half)
    # A ray is inside the box between its last entry and its first exit.
    first, last = enter.max(axis=0), leave.min(axis=0)
    hit = (first < last) & (first > 0)
    normal = np.zeros_like(rays)
    normal[:, hit] = to_box.T @ _axis_normal(enter[:, hit].argmax(axis=0))
    return np.where(hit, first, _MISS_M), normal


def _hit_sphere(sphere: Sphere, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    offset = origin - np.asarray(sphere.centre_m)
    depth = _smaller_root(
        (rays * rays).sum(axis=0), offset @ rays, np.full(rays.shape[1], offset @ offset - sphere.radius_m**2)
    )
    return depth, (offset[:, None] + depth * rays) / sphere.radius_m


def _hit_cylinder(cylinder: Cylinder, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    offset = origin - np.asarray(cylinder.centre_m)
    across = rays[:2]
    # The round side: intersect an infinite cylinder, and keep hits between its two ends.
    side = _smaller_root(
        np.maximum((across * across).sum(axis=0), 1e-12),
        offset[:2] @ across,
        np.full(rays.shape[1], offset[:2] @ offset[:2] - cylinder.radius_m**2),
    )
    side = np.where(np.abs(offset[2] + side * rays[2]) <= cylinder.height_m / 2, side, _MISS_M)
    # The flat end that faces the camera: intersect a horizontal plane, and keep hits inside the disc.
    upright = np.where(np.abs(rays[2]) < 1e-12, 1e-12, rays[2])
    end = (-np.sign(upright) * cylinder.height_m / 2 - offset[2]) / upright
    on_disc = np.square(offset[:2, None] + end * across).sum(axis=0) <= cylinder.radius_m**2
    end = np.where(on_disc & (end > 0), end, _MISS_M)
    normal = np.concatenate([(offset[:2, None] + side * across) / cylinder.radius_m, np.zeros((1, rays.shape[1]))])
    normal[:, end < side] = np.array([[0.0], [0.0], [1.0]])
    return np.minimum(side, end), normal


_HIT_FUNCTIONS = {Box: _hit_box, Sphere: _hit_sphere, Cylinder: _hit_cylinder}


def _crossings(
    origin: np.ndarray, rays: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depths [3, P] at which rays enter and leave the space between each pair of parallel sides of a box.

    Source: the slab method of Kay and Kajiya 1986.
    """
    inverse = 1 / np.where(np.abs(rays) < 1e-12, 1e-12, rays)
    first, second = (low - origin)[:, None] * inverse, (high - origin)[:, None] * inverse
    return np.minimum(first, second), np.maximum(first, second)


def _axis_normal(axis: np.ndarray) -> np.ndarray:
    """Unit vectors [3, P]; column k points along coordinate axis number `axis[k]`, with `axis` [P]."""
    return (axis == np.arange(3)[:, None]).astype(np.float64)


def _smaller_root(a: np.ndarray, half_b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Smaller solution of a t^2 + 2 half_b t + c = 0 if it is positive, else _MISS_M."""
    discriminant = half_b**2 - a * c
    root = (-half_b - np.sqrt(np.maximum(discriminant, 0))) / a
    return np.where((discriminant > 0) & (root > 0), root, _MISS_M)
