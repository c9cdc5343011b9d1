"""Settings of the synthetic rooms: number of rooms and images, and the simulated depth sensor."""

from __future__ import annotations

from dataclasses import dataclass

from echoform_train.engine.errors import UserError

ROOMS = "rooms"
"""Value of --data that makes synthetic rooms instead of reading images."""

# Depth noise of a structured-light sensor whose disparity is wrong by half a pixel: a standard deviation of
# 2.85e-5 * 0.5 * z^2, all in centimetres, which is 36 mm at 5 m (Khoshelham and Elberink 2012, Sensors 12(2), eq. 13).
NOISE_PER_M2_M = 1.425e-3


@dataclass(frozen=True, kw_only=True)
class RoomsConfig:
    """Number of rooms and images, and the sensor that takes the images."""

    rooms: int = 80
    """Number of rooms. Each room is one recording, so that all its images are on the same side of a split."""
    cameras_per_room: int = 3
    """Camera paths through each room."""
    images_per_camera: int = 8
    """Images along each camera path."""
    resolution: int = 128
    """Height and width of an image, pixels."""
    field_of_view_deg: float = 60.0
    """Angle between the left and the right edge of the image, degrees."""
    min_range_m: float = 0.3
    """Smallest depth that the sensor can measure, metres."""
    max_range_m: float = 5.0
    """Largest depth that the sensor can measure, metres."""
    noise_per_m2_m: float = NOISE_PER_M2_M
    """Standard deviation of the noise at a depth of 1 m, metres; it grows with the square of the depth."""
    dropout: float = 0.0005
    """Share of pixels that lose their reading at random."""

    @property
    def depth_range_mm(self) -> dict[str, float]:
        """Range of the sensor in millimetres, as {"min": ..., "max": ...}."""
        return {"min": 1000 * self.min_range_m, "max": 1000 * self.max_range_m}

    def __post_init__(self) -> None:
        for name in ("rooms", "cameras_per_room", "images_per_camera", "resolution"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.min_range_m < self.max_range_m <= 65.535:
            raise UserError(
                f"ranges must be 0 < min < max <= 65.535 m, got {self.min_range_m:g}..{self.max_range_m:g} m"
            )
        if not 0 < self.field_of_view_deg < 180:
            raise UserError(f"field_of_view_deg must be in (0, 180), got {self.field_of_view_deg:g}")
        if self.noise_per_m2_m < 0 or not 0 <= self.dropout < 1:
            raise UserError(
                f"noise must not be negative and dropout be in [0, 1), got {self.noise_per_m2_m:g} and {self.dropout:g}"
            )
