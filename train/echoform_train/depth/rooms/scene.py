"""A room, the objects in it and the camera, as plain geometry in metres and radians."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box that may be turned about the vertical axis."""

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
    """A box-shaped hole in a wall, the floor or the ceiling, such as a niche, a doorway or a pit.

    It must reach a little into the room, so that no wall is left between the room and the hole.
    """

    low_m: tuple[float, float, float]
    """Corner with the smallest coordinates."""
    high_m: tuple[float, float, float]
    """Corner with the largest coordinates."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """A box-shaped room from (0, 0, 0) to `size_m`, with objects in it and holes in its walls."""

    size_m: tuple[float, float, float]
    """Extent along x, y and z; z points upwards."""
    objects: tuple[Box | Sphere | Cylinder, ...] = ()
    holes: tuple[Hole, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera without distortion."""

    position_m: tuple[float, float, float]
    yaw_rad: float = 0.0
    """Horizontal viewing direction: 0 looks along x, pi/2 along y."""
    pitch_rad: float = 0.0
    """Vertical viewing direction: positive looks upwards."""
    roll_rad: float = 0.0
    """Rotation about the optical axis."""
    field_of_view_deg: float = 60.0
    """Angle between the left and the right edge of the image, degrees."""
