"""Conversion between sensor units, the model's range [-1, 1] and millimetres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from echoform.depth_units import decode_units, encode_units


@dataclass(frozen=True)
class Scale:
    """The range of depth of a model and the resolution of its sensor."""

    depth_range_mm: Mapping[str, float]
    """{"min": ..., "max": ...}; these depths become -1 and +1 in model range."""
    units_per_mm: float

    @property
    def peak_mm(self) -> float:
        """Length of the range in millimetres, which is the peak value of PSNR."""
        return self.depth_range_mm["max"] - self.depth_range_mm["min"]

    def to_model(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Sensor units [N, 1, H, W] to depth float32 [N, 1, H, W] in [-1, 1] and validity bool [N, 1, H, W]."""
        return encode_units(units, self.depth_range_mm, self.units_per_mm)

    def to_mm(self, depth: Tensor) -> Tensor:
        """Depth in [-1, 1] to millimetres, rounded to whole sensor units as the pipeline returns it."""
        return decode_units(depth, self.depth_range_mm, self.units_per_mm).round() / self.units_per_mm
