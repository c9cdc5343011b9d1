"""Command-line flags that select depth images, and functions that load them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import tyro

from echoform_train.data.facts import DepthFacts
from echoform_train.depth.rooms.config import ROOMS, RoomsConfig
from echoform_train.depth.sensors import SENSORS, FloatUnit, Reading, ResizeRule, Sensor, SensorName
from echoform_train.engine.config import RunConfig
from echoform_train.engine.errors import UserError

if TYPE_CHECKING:
    from echoform_train.depth.dataset import DepthData


@dataclass(frozen=True, kw_only=True)
class DepthSourceConfig:
    """Which depth images to use, and how to split them."""

    data: Annotated[str, tyro.conf.arg(aliases=["--dataset-name"])]
    """Folder of depth images (16-bit PNG or TIFF, floating-point TIFF, .npy, .mat, .pgm or .exr), id of a data set on
    the Hub, or "rooms" for synthetic rooms."""
    image_column: str | None = None
    """Column of a data set that holds the depth images. Default: its only image column."""
    mat_variable: str | None = None
    """Variable of .mat files that holds the depth image. Default: the only array."""
    float_unit: FloatUnit | None = None
    """Unit of floating-point files. Default: that of --sensor or of the pipeline; without any they are refused."""
    split_file: Path | None = None
    """File of an existing split to use. Default: split.json in the output folder of the training, which each training
    writes."""
    folders: Literal["classes", "recordings"] = "classes"
    """Whether the upper folders are classes or recordings."""
    validation_share: float = 0.15
    """Share of each class's images for validation."""
    test_share: float = 0.2
    """Share of each class's images for the test; taken from the end of each recording."""
    gap_images: int = 5
    """Images left out at each cut through a recording."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""
    rooms: int | None = None
    """Number of synthetic rooms, each of them one recording; only with --data rooms."""
    cameras_per_room: int | None = None
    """Camera paths through each synthetic room."""
    images_per_camera: int | None = None
    """Images along each camera path."""


@dataclass(frozen=True, kw_only=True)
class DepthDataConfig(DepthSourceConfig):
    """Which depth images to use, and the size and range of depth of the model."""

    resolution: int = 128
    """Height and width to resize to, pixels."""
    depth_min_mm: float | None = None
    """Smallest depth of the model, millimetres. Default: measured on the training images, with a margin."""
    depth_max_mm: float | None = None
    """Largest depth of the model, millimetres. Default: measured on the training images, with a margin."""
    sensor: SensorName | None = None
    """What the files hold: sets --units-per-mm, --float-unit, the encoding of whole numbers and --resize-rule. d400,
    kinect, scannet: millimetres; l515: 0.25 mm; d405: 0.1 mm; kinect-raw: 11-bit disparity; tum: 1/5000 m; sunrgbd:
    millimetres with rotated bits; kitti: 1/256 m, sparse; nyu: millimetres, or metres in floating point."""
    units_per_mm: float | None = None
    """Units of the files per millimetre: 1 for files in millimetres, 4 for 0.25 mm, 10 for 0.1 mm, 5 for 1/5000 m,
    0.256 for 1/256 m; floating point is rounded to such units. Default: that of --sensor, or 1."""
    invalid_values: tuple[int, ...] = ()
    """Sensor values other than 0 that mean no reading, such as 65535."""
    resize_rule: ResizeRule | None = None
    """Which resized pixels have a reading. half: where readings are at least half of the area; any: where there is
    one, for sparse readings such as those of a lidar; nearest: the pixel at the centre, without averages. Default: that
    of --sensor, or half."""

    def reading(self) -> Reading:
        """How these flags say that files are read; a flag that is given takes precedence over the sensor."""
        sensor = Sensor(about="") if self.sensor is None else SENSORS[self.sensor]
        return Reading(
            units_per_mm=sensor.units_per_mm if self.units_per_mm is None else self.units_per_mm,
            invalid_values={str(value): "no reading" for value in self.invalid_values},
            float_unit=self.float_unit or sensor.float_unit,
            encoding=sensor.encoding,
            resize_rule=self.resize_rule or sensor.resize_rule,
        )


def load_training_data(config: DepthDataConfig, run: RunConfig) -> DepthData:
    """Load the depth images that the flags of a training select; a run that is continued uses its own split.

    Raises the errors of `load_depth_data`.
    """
    from echoform_train.data.split_files import split_to_read

    return load_depth_data(config, split_to_read(config.split_file, run.output_dir), run.seed)


def load_depth_data(config: DepthDataConfig, split_file: Path | None, seed: int) -> DepthData:
    """Load the depth images that flags select.

    Args:
        config: The flags; their `split_file` is not read.
        split_file: Split to use; see `load_depth`.
        seed: Seed of the split and of synthetic rooms.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If only one end of the range is given, or as in `load_depth_source`.
    """
    if (config.depth_min_mm is None) != (config.depth_max_mm is None):
        raise UserError(
            "--depth-min-mm and --depth-max-mm must be given together, "
            f"got {config.depth_min_mm} and {config.depth_max_mm}"
        )
    # None: the range is measured on the training images.
    depth_range_mm = None
    if config.depth_min_mm is not None and config.depth_max_mm is not None:
        depth_range_mm = {"min": config.depth_min_mm, "max": config.depth_max_mm}
    return load_depth_source(
        config,
        split_file,
        seed,
        resolution=config.resolution,
        depth_range_mm=depth_range_mm,
        reading=config.reading(),
    )


def load_depth_source(
    config: DepthSourceConfig,
    split_file: Path | None,
    seed: int,
    *,
    resolution: int,
    depth_range_mm: Mapping[str, float] | None,
    reading: Reading,
) -> DepthData:
    """Load the depth images that flags select, at a given size and range, such as those of a trained model.

    Arguments and errors are those of `load_depth`, with its arguments about files in `reading`; a float unit among the
    flags takes precedence.

    Raises:
        ValueError: Also if flags of synthetic rooms are given with another source.
    """
    from echoform_train.depth.dataset import load_depth  # imports torch, which takes seconds

    return load_depth(
        config.data,
        split_file=split_file,
        resolution=resolution,
        depth_range_mm=depth_range_mm,
        units_per_mm=reading.units_per_mm,
        invalid_values=reading.invalid_values,
        float_unit=config.float_unit or reading.float_unit,
        encoding=reading.encoding,
        resize_rule=reading.resize_rule,
        mat_variable=config.mat_variable,
        image_column=config.image_column,
        folders=config.folders,
        validation_share=config.validation_share,
        test_share=config.test_share,
        gap_images=config.gap_images,
        rooms=rooms_of(config, config.data, resolution),
        skip_bad_files=config.skip_bad_files,
        seed=seed,
    )


class RoomsFlags(Protocol):
    """Settings of a command that can make synthetic rooms."""

    @property
    def rooms(self) -> int | None:
        """Number of rooms."""
        ...

    @property
    def cameras_per_room(self) -> int | None:
        """Camera paths through each room."""
        ...

    @property
    def images_per_camera(self) -> int | None:
        """Images along each camera path."""
        ...


def rooms_of(flags: RoomsFlags, source: str, resolution: int) -> RoomsConfig | None:
    """Settings of the synthetic rooms; flags that are not given take the defaults of `RoomsConfig`.

    Args:
        flags: The flags of the rooms.
        source: What the command reads.
        resolution: Height and width of an image, pixels.

    Returns:
        None if the source is not "rooms".

    Raises:
        UserError: If flags of rooms are given with another source.
    """
    names = ("rooms", "cameras_per_room", "images_per_camera")
    given = {name: value for name in names if (value := getattr(flags, name)) is not None}
    if given and source != ROOMS:
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UserError(f"{shown} need the data {ROOMS}, got {source}")
    return RoomsConfig(resolution=resolution, **given) if source == ROOMS else None


def depth_facts(data: DepthData) -> DepthFacts:
    """Facts about the data that are saved with the model, for scoring and for the model card."""
    return {
        "source": data.source,
        "resolution": data.train.units.shape[-1],
        "depth_range_mm": data.depth_range_mm,
        "units_per_mm": data.units_per_mm,
        "invalid_values": data.invalid_values,
        "float_unit": data.reading.float_unit,
        "encoding": data.reading.encoding,
        "resize_rule": data.reading.resize_rule,
        "classes": [data.id2label[index] for index in sorted(data.id2label)],
        "images": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "share_with_reading": float((data.train.units != 0).double().mean()),
        "split": data.split.method,
        "split_sha256": data.split.sha256,
        "images_sha256": data.images_sha256,
    }
