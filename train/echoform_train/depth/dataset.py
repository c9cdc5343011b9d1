"""Depth images as tensors in memory: read, checked, resized, and split into train, validation and test."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from echoform.depth_units import range_in_units
from echoform_train.data.image_check import BadFile, check_resolution
from echoform_train.data.layout import SIDES, natural_key
from echoform_train.data.loading import read_files, read_split, refuse_or_skip
from echoform_train.data.split import Split, make_split
from echoform_train.depth.image_files import MAX_UNITS, DepthReader, ReadImage
from echoform_train.depth.rooms.config import ROOMS, RoomsConfig
from echoform_train.depth.rooms.rendering import render_rooms
from echoform_train.depth.scale import Scale
from echoform_train.depth.sensors import Encoding, FloatUnit, Reading, ResizeRule
from echoform_train.depth.sources import DepthFile, DepthSource, find_depth_source, split_table
from echoform_train.depth.statistics import DepthStatistics
from echoform_train.engine.errors import UserError
from echoform_train.engine.shown import ShownAsTable

logger = logging.getLogger(__name__)

_LEAST_KEPT = 0.25
"""Share of the readings in range that images must keep in resizing."""
_LEAST_SHARE = 0.001
"""Share of the pixels that must have a reading."""
_MOST_BLANK = 0.5
"""Share of the images that may have no reading at all."""
_MARGIN = 0.1  # how far a measured range extends beyond the readings, as a share of their span


@dataclass(frozen=True, kw_only=True)
class DepthImages:
    """Depth images of one size, with class, file and recording of each."""

    units: Tensor
    """uint16 [N, 1, H, W], sensor units; 0 where there is no reading or the reading was out of range."""
    labels: Tensor | None
    """int64 [N], keys of `id2label`; None if the source has no classes."""
    files: tuple[str, ...]
    recordings: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.files)

    def select(self, indices: Sequence[int] | Tensor) -> DepthImages:
        """The images with these indices, in this order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return DepthImages(
            # torch 2.6 cannot index uint16; the bits are the same.
            units=self.units.view(torch.int16)[chosen].view(torch.uint16),
            labels=None if self.labels is None else self.labels[chosen],
            files=tuple(self.files[index] for index in chosen.tolist()),
            recordings=tuple(self.recordings[index] for index in chosen.tolist()),
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class DepthData(ShownAsTable):
    """A source of depth images, split, with the scale of its values."""

    train: DepthImages
    validation: DepthImages
    test: DepthImages
    left_out: DepthImages
    """Images in the gaps of the split."""
    split: Split
    split_file: Path | None
    """File that the split was read from; None: that of a published data set, or a new one."""
    images_sha256: str
    """Hash of names and content of all image files."""
    id2label: dict[int, str]
    """Names of the classes in natural order; empty if the source has no classes."""
    depth_range_mm: dict[str, float]
    """{"min": ..., "max": ...}, as in the config of the pipeline."""
    reading: Reading
    """How the numbers of the files become units, and images of the model's size."""
    statistics: DepthStatistics
    """Counts of the readings of all files, before resizing."""
    out_of_range: int
    """Number of readings outside the range, in all files; they count as no reading."""
    source: str
    image_column: str | None
    """Column of the data set that the images come from; None: the only one, or a folder."""
    mat_variable: str | None
    """Variable of `.mat` files that was read; None: the only one."""
    skipped: tuple[BadFile, ...]
    """Files that could not be used; only with `skip_bad_files`."""

    def shown(self) -> Iterator[tuple[str, str]]:
        """Rows of the table that it prints."""
        yield "source", str(self.source)
        yield "classes", str(len(self.id2label))
        for side in SIDES:
            yield side, f"{len(getattr(self, side))} images"
        yield "pixels", f"{self.resolution}x{self.resolution}"
        yield "range", "{min:g}..{max:g} mm".format_map(self.depth_range_mm)
        yield "split", self.split.method

    @property
    def units_per_mm(self) -> float:
        """Sensor units per millimetre."""
        return self.reading.units_per_mm

    @property
    def invalid_values(self) -> dict[str, str]:
        """Sensor values that mean no reading, with their meaning, as in the config of the pipeline."""
        return dict(self.reading.invalid_values)

    @property
    def resolution(self) -> int:
        """Height and width of the images, pixels."""
        return self.train.units.shape[-1]

    @property
    def share_before(self) -> float:
        """Share of the pixels of all files with a reading in range, before resizing, 0..1."""
        return self.statistics.share(*self.depth_range)

    @property
    def share_after(self) -> float:
        """Share of the pixels of all images with a reading, after resizing, 0..1."""
        sides = [getattr(self, side).units.view(torch.int16) for side in SIDES]
        return sum(int((units != 0).sum()) for units in sides) / sum(units.numel() for units in sides)

    @property
    def blank_images(self) -> int:
        """Number of images without any reading after resizing."""
        sides = [getattr(self, side).units.view(torch.int16) for side in SIDES]
        return sum(int((~(units != 0).flatten(1).any(dim=1)).sum()) for units in sides)

    @property
    def depth_range(self) -> tuple[int, int]:
        """Smallest and largest sensor value of the range."""
        return range_in_units(self.depth_range_mm, self.units_per_mm)

    @property
    def scale(self) -> Scale:
        """Conversion of the sensor's units to millimetres and to the model's range."""
        return Scale(self.depth_range_mm, self.units_per_mm)


def load_depth(
    source: str | Path,
    *,
    split_file: Path | None = None,
    resolution: int = 128,
    depth_range_mm: Mapping[str, float] | None = None,
    units_per_mm: float = 1.0,
    invalid_values: Mapping[str, str] | None = None,
    float_unit: FloatUnit | None = None,
    encoding: Encoding = "linear",
    resize_rule: ResizeRule = "half",
    mat_variable: str | None = None,
    image_column: str | None = None,
    folders: str = "classes",
    validation_share: float = 0.15,
    test_share: float = 0.2,
    gap_images: int = 5,
    rooms: RoomsConfig | None = None,
    skip_bad_files: bool = False,
    seed: int = 0,
) -> DepthData:
    """Read, check, resize and split a source of depth images; all of them are kept in memory.

    A split that the source has is used. Otherwise whole recordings are held out if every class has at least three;
    if not, each recording is cut in the order of its frames into train, gap, validation, gap, test (`make_split`).

    Args:
        source: Folder or data set on the Hub (see `find_depth_source`), or "rooms" for synthetic rooms.
        split_file: Existing split to use; None: that of a published data set, or a new one.
        resolution: Height and width to resize to, pixels.
        depth_range_mm: {"min": ..., "max": ...}. None: the range of the readings of the training images, extended by a
            tenth of its length at both ends, in whole millimetres; for synthetic rooms, the range of their sensor.
        units_per_mm: Sensor units per millimetre.
        invalid_values: Sensor values other than 0 that mean no reading, with their meaning.
        float_unit: Unit of floating-point files; None: they are refused.
        encoding: How whole numbers stand for units.
        resize_rule: Which resized pixels have a reading.
        mat_variable: Variable of `.mat` files; None: the only one of an image.
        image_column: Column of a data set that holds the depth images; None: its only image column.
        folders: Whether the upper folders are "classes" or "recordings".
        validation_share: Share of each class's images for validation.
        test_share: Share of each class's images for the test.
        gap_images: Images to leave out at each cut through a recording.
        rooms: Settings of the synthetic rooms; None: the defaults.
        skip_bad_files: Skip files that cannot be used instead of stopping.
        seed: Seed of the split and of the synthetic rooms.

    Raises:
        FileNotFoundError: If there is no such source or split.
        ValueError: If a file cannot be used, the split does not fit, or an argument is out of range.
    """
    check_resolution(resolution)
    _check_units(depth_range_mm, units_per_mm, invalid_values or {})
    if str(source) == ROOMS:
        rooms = rooms or RoomsConfig()
        depth_range_mm = depth_range_mm or rooms.depth_range_mm
    found = _find(source, folders, rooms, units_per_mm, seed, image_column)

    # Every file is decoded and checked once, and kept at the size of the model.
    reading = Reading(
        units_per_mm=units_per_mm,
        invalid_values={"0": "no reading", **(invalid_values or {})},
        float_unit=float_unit,
        encoding=encoding,
        resize_rule=resize_rule,
    )
    reader = DepthReader(reading, resolution, mat_variable)
    files, images, skipped = _read(found, reader, source, skip_bad_files)

    # An existing split is used before a new one is made, so that all commands agree on what is held out.
    table = split_table(files)
    split = read_split(table, source, split_file, found.split_file)
    if split is None:
        split = _make_split(table, source, validation_share, test_share, gap_images, seed)

    # The range is measured on training images only, so that nothing of held-out images leaks into the training.
    if depth_range_mm is None:
        chosen = split.indices([file.file for file in files])["train"]
        depth_range_mm = _measure_range([images[index] for index in chosen], units_per_mm, source)
    out_of_range = _erase_out_of_range(reader, files, images, depth_range_mm, units_per_mm)

    everything, id2label = _stack(files, images)
    sides = {side: everything.select(indices) for side, indices in split.indices(everything.files).items()}
    data = DepthData(
        **sides,
        split=split,
        split_file=split_file,
        images_sha256=reader.hashes.of(files),
        id2label=id2label,
        depth_range_mm={"min": float(depth_range_mm["min"]), "max": float(depth_range_mm["max"])},
        reading=reading,
        statistics=reader.statistics,
        out_of_range=out_of_range,
        source=source if isinstance(source, str) else str(source),
        image_column=image_column,
        mat_variable=mat_variable,
        skipped=tuple(skipped),
    )
    _check_kept(data)
    for side, side_images in sides.items():
        _check_readings(side_images, side, depth_range_mm)
    _check_share(data)
    return data


def depth_lines(data: DepthData) -> Iterator[str]:
    """Lines of text: near, median and far in metres with hints, and the share of readings before and after resizing."""
    yield from data.statistics.describe(data.reading)
    size, rule = f"{data.resolution}x{data.resolution}", data.reading.resize_rule
    yield (
        f"Pixels with a reading in range: {data.share_before:.1%} in the files, {data.share_after:.1%} at {size} "
        f"(resize rule {rule})"
    )
    if data.blank_images:
        yield f"Images without any reading at {size}: {data.blank_images}"


def _check_units(
    depth_range_mm: Mapping[str, float] | None, units_per_mm: float, invalid_values: Mapping[str, str]
) -> None:
    if not 0 < units_per_mm < math.inf:
        raise UserError(f"--units-per-mm (units_per_mm) must be above 0 and finite, got {units_per_mm}")
    for value in invalid_values:
        if not 0 <= int(value) <= MAX_UNITS:
            raise UserError(f"--invalid-values (invalid_values) must be in 0..{MAX_UNITS}, got {value}")
    if depth_range_mm is not None:
        try:
            range_in_units(depth_range_mm, units_per_mm)
        except ValueError as error:
            raise UserError(f"{error} (--depth-min-mm, --depth-max-mm)") from error


def _check_readings(images: DepthImages, side: str, depth_range_mm: Mapping[str, float]) -> None:
    """Refuse a side of the split in which no image has a reading: its loss and its scores would be those of nothing."""
    if len(images) and not images.units.view(torch.int16).any():
        low_mm, high_mm = depth_range_mm["min"], depth_range_mm["max"]
        raise UserError(f"no image for {side} has a reading in the range of {low_mm:g}..{high_mm:g} mm")


def _shares(data: DepthData) -> str:
    before, after = f"{data.share_before:.2%}", f"{data.share_after:.2%}"
    size = f"{data.resolution}x{data.resolution}"
    return f"{before} of the pixels of {data.source} have one in range, {after} after resizing to {size}"


def _check_kept(data: DepthData) -> None:
    """Refuse images that lose most of their readings in resizing."""
    if data.share_after < _LEAST_KEPT * data.share_before:
        raise UserError(
            f"images must keep their readings when they are resized by the rule {data.reading.resize_rule}: "
            f"{_shares(data)}; --resize-rule any keeps sparse readings"
        )


def _check_share(data: DepthData) -> None:
    """Refuse images that have hardly any readings, or of which most have none."""
    images = sum(len(getattr(data, side)) for side in SIDES)
    if data.share_after < _LEAST_SHARE or data.blank_images > _MOST_BLANK * images:
        low_mm, high_mm = data.depth_range_mm["min"], data.depth_range_mm["max"]
        raise UserError(
            f"images must have readings in the range of {low_mm:g}..{high_mm:g} mm: {_shares(data)}, and "
            f"{data.blank_images} of {images} images have none; --units-per-mm, --sensor, --depth-min-mm and "
            f"--depth-max-mm say what is one"
        )


def _find(
    source: str | Path,
    folders: str,
    rooms: RoomsConfig | None,
    units_per_mm: float,
    seed: int,
    image_column: str | None,
) -> DepthSource:
    """List the images of a source; synthetic rooms are rendered."""
    if str(source) != ROOMS:
        if rooms is not None:
            raise UserError(f"rooms are for the source {ROOMS!r}, got the source {source}")
        return find_depth_source(source, folders=folders, image_column=image_column)
    assert rooms is not None
    if units_per_mm != 1:
        raise UserError(f"rooms are made in millimetres, so --units-per-mm must be 1, got {units_per_mm:g}")
    return DepthSource(render_rooms(rooms, seed), [])


def _read(
    found: DepthSource, reader: DepthReader, source: str | Path, skip_bad_files: bool
) -> tuple[list[DepthFile], list[ReadImage], list[BadFile]]:
    """The files that can be used, their images, and the files that are skipped."""
    files, images, bad_files = read_files(found.images, reader.read)
    bad_files = [*found.bad_files, *bad_files]
    refuse_or_skip(bad_files, skip_bad_files=skip_bad_files)
    if not files:
        raise UserError(f"a source must hold depth images, {source} holds none that can be used")
    return files, images, bad_files


def _make_split(
    table: Dataset, source: str | Path, validation_share: float, test_share: float, gap_images: int, seed: int
) -> Split:
    try:
        return make_split(
            table, validation_share=validation_share, test_share=test_share, gap_windows=gap_images, seed=seed
        )
    except UserError as error:
        raise UserError(
            f"{source} cannot be split with --gap-images {gap_images} (users are classes here): {error}"
        ) from error


def _measure_range(images: Sequence[ReadImage], units_per_mm: float, source: str | Path) -> dict[str, float]:
    """Range of all readings with a margin, in whole millimetres."""
    low, high = min(image.low for image in images), max(image.high for image in images)
    if high <= low:
        raise UserError(f"a range of depth needs at least two different readings, {source} holds {high or 'none'}")
    if high == MAX_UNITS:
        raise UserError(
            f"depth_range_mm must be given if readings reach {MAX_UNITS}, the largest 16-bit value, as in {source} "
            f"(--depth-min-mm, --depth-max-mm); if this value means no reading, name it in invalid_values "
            f"(--invalid-values {MAX_UNITS})"
        )
    margin = _MARGIN * (high - low)
    return {
        "min": float(max(0, math.floor((low - margin) / units_per_mm))),
        "max": float(math.floor(min(high + margin, MAX_UNITS) / units_per_mm)),
    }


def _erase_out_of_range(
    reader: DepthReader,
    files: Sequence[DepthFile],
    images: Sequence[ReadImage],
    depth_range_mm: Mapping[str, float],
    units_per_mm: float,
) -> int:
    """Set readings outside the range to 0 in place, log a warning, and return how many there were."""
    erased = reader.erase_out_of_range(files, images, *range_in_units(depth_range_mm, units_per_mm))
    if sum(erased):
        logger.warning(
            "depth must be in %g..%g mm, %d readings in %d of %d images are not; they count as no reading",
            depth_range_mm["min"], depth_range_mm["max"], sum(erased), len(erased), len(images),
        )  # fmt: skip
    return sum(erased)


def _stack(files: Sequence[DepthFile], images: Sequence[ReadImage]) -> tuple[DepthImages, dict[int, str]]:
    """All images as tensors, and the names of their classes by label."""
    names = sorted({file.label for file in files if file.label is not None}, key=natural_key)
    # With a single folder all images would have the same class, so there are no classes.
    class_ids = {name: index for index, name in enumerate(names)} if len(names) > 1 else {}
    unknown = [file.file for file in files if file.label is None]
    if class_ids and unknown:
        raise UserError(f"all images must have a class or none, {unknown[0]} has none")
    labels = [class_ids[file.label] for file in files if file.label is not None] if class_ids else None
    everything = DepthImages(
        units=torch.from_numpy(np.stack([image.units for image in images])),
        labels=None if labels is None else torch.tensor(labels),
        files=tuple(file.file for file in files),
        recordings=tuple(file.recording for file in files),
    )
    return everything, dict(enumerate(names)) if class_ids else {}
