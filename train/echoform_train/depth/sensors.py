"""How the numbers that depth sensors and data sets store become units: scale, encoding, markers, and resizing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FloatUnit = Literal["m", "cm", "mm"]
Encoding = Literal["linear", "rotated", "disparity"]
ResizeRule = Literal["half", "any", "nearest"]
SensorName = Literal["d400", "l515", "d405", "kinect", "kinect-raw", "tum", "sunrgbd", "kitti", "nyu", "scannet"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How stored numbers become units, and images of the model's size; its fields are those of a pipeline's config."""

    units_per_mm: float = 1.0
    invalid_values: Mapping[str, str] = field(default_factory=lambda: {"0": "no reading"})
    """Units that mean no reading, with their meaning."""
    float_unit: FloatUnit | None = None
    """Unit of floating-point files; None: they are refused."""
    encoding: Encoding = "linear"
    """How whole numbers stand for units, see `decoded_units`."""
    resize_rule: ResizeRule = "half"
    """Which resized pixels have a reading, see `resize_depth`."""

    @staticmethod
    def of(config: Mapping[str, Any]) -> Reading:
        """The reading that the config of a pipeline, or the facts of a training, describe."""
        known = {name: config[name] for name in Reading.__dataclass_fields__ if name in config}
        return Reading(**known)

    def facts(self) -> dict[str, Any]:
        """The same as arguments of `DepthAutoencoderPipeline`."""
        return asdict(self) | {"invalid_values": dict(self.invalid_values)}


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """What the files of a sensor or of a data set hold."""

    about: str
    units_per_mm: float = 1.0
    float_unit: FloatUnit | None = None
    encoding: Encoding = "linear"
    resize_rule: ResizeRule = "half"


SENSORS: dict[SensorName, Sensor] = {
    "d400": Sensor(about="RealSense D400: millimetres"),
    "l515": Sensor(about="RealSense L515: 0.25 mm", units_per_mm=4.0),
    "d405": Sensor(about="RealSense D405: 0.1 mm", units_per_mm=10.0),
    "kinect": Sensor(about="Kinect, Azure Kinect: millimetres"),
    "kinect-raw": Sensor(about="Kinect v1, raw 11-bit disparity: 2047 is no reading", encoding="disparity"),
    "tum": Sensor(about="TUM RGB-D: 1/5000 m", units_per_mm=5.0),
    "sunrgbd": Sensor(about="SUN RGB-D: millimetres with bits rotated by 3", encoding="rotated"),
    "kitti": Sensor(about="KITTI: 1/256 m, sparse", units_per_mm=0.256, resize_rule="any"),
    "nyu": Sensor(about="NYU Depth v2: millimetres, or metres in floating point", float_unit="m"),
    "scannet": Sensor(about="ScanNet: millimetres"),
}
"""Presets of --sensor. Sources: the documentation of each; for raw disparity see `decoded_units`."""
