"""Which depth images to train or to score on, as the flags of the command line say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from echoform_train.depth.dataset import DepthData, load_depth
from echoform_train.depth.rooms.config import ROOMS, RoomsConfig


@dataclass(frozen=True, kw_only=True)
class DepthSourceConfig:
    """Which depth images, and how they are parted."""

    data: Annotated[str, tyro.conf.arg(aliases=["--dataset-name"])]
    """Folder of 16-bit PNG or TIFF, the id of a data set on the Hub, or rooms for synthetic ones."""
    split_file: Path | None = None
    """Split to use, written there when there is none yet. Default: split.json of the training's output folder."""
    folders: Literal["classes", "recordings"] = "classes"
    """What the upper folders are."""
    validation_share: float = 0.15
    """Share of each class's images for validation."""
    test_share: float = 0.2
    """Share of each class's images for the test, the last of each recording."""
    gap_images: int = 5
    """Images left out at each cut through a recording."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""
    rooms: int | None = None
    """How many synthetic rooms, each a recording; only for --data rooms."""
    cameras_per_room: int | None = None
    """Ways of a camera through each room."""
    images_per_camera: int | None = None
    """Images along each way."""


@dataclass(frozen=True, kw_only=True)
class DepthDataConfig(DepthSourceConfig):
    """Which depth images, and how the model sees them."""

    resolution: int = 128
    """Height and width to resize to, pixels."""
    depth_min_mm: float | None = None
    """Nearest depth of the model. Default: measured on the training images, with a margin."""
    depth_max_mm: float | None = None
    """Farthest depth of the model."""
    units_per_mm: float = 1.0
    """The sensor's units in a millimetre: 1 for Kinect and RealSense, 5 for the files of TUM."""
    invalid_values: tuple[int, ...] = ()
    """Units that mean no reading, beside 0; 65535 on some sensors."""


def load_depth_data(config: DepthDataConfig, split_file: Path | None, seed: int) -> DepthData:
    """The depth images that the flags name, in the parts of `split_file`.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If only one end of the range is given, or what `load_depth_source` and `load_depth` refuse.
    """
    if (config.depth_min_mm is None) != (config.depth_max_mm is None):
        raise ValueError(
            "--depth-min-mm and --depth-max-mm must be given together, "
            f"got {config.depth_min_mm} and {config.depth_max_mm}"
        )
    depth_range_mm = None
    if config.depth_min_mm is not None and config.depth_max_mm is not None:
        depth_range_mm = {"min": config.depth_min_mm, "max": config.depth_max_mm}
    return load_depth_source(
        config,
        split_file,
        seed,
        resolution=config.resolution,
        depth_range_mm=depth_range_mm,
        units_per_mm=config.units_per_mm,
        invalid_values={str(value): "no reading" for value in config.invalid_values},
    )


def load_depth_source(
    config: DepthSourceConfig,
    split_file: Path | None,
    seed: int,
    *,
    resolution: int,
    depth_range_mm: Mapping[str, float] | None,
    units_per_mm: float,
    invalid_values: Mapping[str, str],
) -> DepthData:
    """The depth images that the flags name, seen as said; see `load_depth`.

    Raises:
        ValueError: If rooms are asked for of another source.
    """
    asked = {name: getattr(config, name) for name in ("rooms", "cameras_per_room", "images_per_camera")}
    asked = {name: value for name, value in asked.items() if value is not None}
    if asked and config.data != ROOMS:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise ValueError(f"{flags} need --data {ROOMS}, got --data {config.data}")
    return load_depth(
        config.data,
        split_file=split_file,
        resolution=resolution,
        depth_range_mm=depth_range_mm,
        units_per_mm=units_per_mm,
        invalid_values=invalid_values,
        folders=config.folders,
        validation_share=config.validation_share,
        test_share=config.test_share,
        gap_images=config.gap_images,
        rooms=RoomsConfig(resolution=resolution, **asked) if config.data == ROOMS else None,
        skip_bad_files=config.skip_bad_files,
        seed=seed,
    )


def depth_facts(data: DepthData) -> dict[str, Any]:
    """What scoring must share with the training, and what a card tells of the data; JSON-able."""
    readings = float((data.train.units != 0).double().mean())
    return {
        "source": data.source,
        "resolution": data.train.units.shape[-1],
        "depth_range_mm": data.depth_range_mm,
        "units_per_mm": data.units_per_mm,
        "invalid_values": data.invalid_values,
        "classes": [data.id2label[index] for index in sorted(data.id2label)],
        "images": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "share_with_reading": readings,
        "split": data.split.method,
    }
