"""`echoform prepare-depth`: show what a folder of depth images holds and how it is split, before anything trains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from echoform_train.data.config import PublishConfig
from echoform_train.data.layout import SIDES
from echoform_train.depth.config import DepthDataConfig, load_depth_data, rooms_of
from echoform_train.depth.rooms.config import ROOMS
from echoform_train.engine.errors import UserError
from echoform_train.engine.output_folders import new_folder, require_empty

if TYPE_CHECKING:
    from echoform_train.depth.dataset import DepthData


@dataclass(frozen=True, kw_only=True)
class PreparedData(DepthDataConfig):
    """Which depth images to use, and the size and range of depth of the model."""

    data: tyro.conf.Positional[str]
    """Folder of depth images (16-bit PNG or TIFF, floating-point TIFF, .npy, .mat, .pgm or .exr), id of a data set on
    the Hub, or "rooms" for synthetic rooms."""
    output_dir: tyro.conf.Positional[Path | None] = None
    """Folder to write synthetic rooms to, one 16-bit PNG per image; new or empty. Only with the data "rooms"."""


@dataclass(frozen=True, kw_only=True)
class Config(PublishConfig):
    """Show what a folder of depth images holds: unit, range, share of readings, classes, skipped files and the split.

    With --push-to-hub the images are pushed to the Hub as a data set. `echoform prepare-depth rooms OUT` writes
    synthetic rooms as files.
    """

    data: tyro.conf.OmitArgPrefixes[PreparedData]
    save_split: Path | None = None
    """File to write the split to, for --split-file of later commands; a file with another split is not overwritten."""
    seed: int = 0
    """Seed of the split."""


def main(config: Config) -> DepthData:
    """Load the images as `train depth-ae` does, print a summary and return them; with --push-to-hub, push them.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If the images cannot be used for training; the message names the file and the rule.
        PushError: If the Hub refuses the push.
    """
    from echoform_train.data.split_files import print_split
    from echoform_train.depth.publish import publish_depth

    if config.data.output_dir is not None and config.data.data != ROOMS:
        raise UserError(
            f"OUT is for {ROOMS}, which are made; {config.data.data} is not copied to {config.data.output_dir}"
        )
    if config.push_to_hub is not None and config.data.data == ROOMS:
        raise UserError(
            f"{ROOMS} are pushed from files: `echoform prepare-depth {ROOMS} OUT` writes them, and "
            f"`echoform prepare-depth OUT --push-to-hub {config.push_to_hub}` pushes them"
        )
    if config.data.output_dir is not None:
        require_empty(config.data.output_dir, "OUT")
    data = load_depth_data(config.data, config.data.split_file, config.seed)
    print("\n".join(describe(data)))
    print_split(data.split, config.data.split_file, config.save_split)
    if config.data.output_dir is not None:
        _write_rooms(config, config.data.output_dir)
    if config.push_to_hub is not None:
        url = publish_depth(
            data,
            config.push_to_hub,
            folders=config.data.folders,
            license=config.license,
            private=config.private,
            revision=config.revision,
        )
        print(f"Pushed to {url}")
    return data


def _write_rooms(config: Config, output_dir: Path) -> None:
    """Write the rooms as files, and tell which flags read them as `rooms` does."""
    from echoform_train.depth.rooms.rendering import write_rooms

    rooms = rooms_of(config.data, config.data.data, config.data.resolution)
    assert rooms is not None
    with new_folder(output_dir, "OUT") as partial:
        count = write_rooms(rooms, config.seed, partial)
    low_mm, high_mm = rooms.depth_range_mm["min"], rooms.depth_range_mm["max"]
    print(
        f"wrote {count} images of {rooms.rooms} rooms to {output_dir}, 16-bit PNG in millimetres; the range of the "
        f"sensor: --depth-min-mm {low_mm:g} --depth-max-mm {high_mm:g}"
    )


def describe(data: DepthData) -> Iterator[str]:
    """Lines of text: range, values without a reading, sides of the split, classes and skipped files."""
    from echoform_train.depth.dataset import depth_lines
    from echoform_train.depth.statistics import sensor_line

    sides = {side: getattr(data, side) for side in SIDES}
    yield f"{data.source}: {sum(map(len, sides.values()))} depth images"
    low_mm, high_mm = data.depth_range_mm["min"], data.depth_range_mm["max"]
    yield f"Range of the model: {low_mm:g}..{high_mm:g} mm, {sensor_line(data.reading)}"
    yield from depth_lines(data)
    yield f"No reading: {', '.join(f'{value} ({meaning})' for value, meaning in data.invalid_values.items())}"
    if data.out_of_range:
        yield f"Readings outside the range, which count as no reading: {data.out_of_range}"
    yield f"Split {data.split.method}: " + ", ".join(
        f"{side.replace('_', ' ')} {len(part)}" for side, part in sides.items()
    )
    if data.id2label:
        counts = Counter(label for part in sides.values() for label in part.labels.tolist())
        yield "Classes: " + ", ".join(f"{label} {counts[index]}" for index, label in data.id2label.items())
    yield from (f"Skipped: {bad}" for bad in data.skipped)
