"""A source of depth images as tensors in memory, resized without mixing, parted into train, validation and test."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echoform.pipeline_depth_autoencoder import range_in_units, resize_depth
from echoform_train.data.image_check import BadFile, BadFileError, refuse
from echoform_train.data.layout import SPLITS, natural_key
from echoform_train.data.split import Split, check_split, make_split
from echoform_train.depth.images import decode_depth
from echoform_train.depth.rooms.config import ROOMS, RoomsConfig
from echoform_train.depth.rooms.rendering import render_rooms
from echoform_train.depth.sources import DepthFile, DepthSource, find_depth_source, split_table

logger = logging.getLogger(__name__)

_MARGIN = 0.1
_MAX_UNITS = 65535


@dataclass(frozen=True, kw_only=True)
class DepthImages:
    """Depth images of one size with what is known of each."""

    units: Tensor
    """uint16 [N, 1, H, W], the sensor's units; 0 is no reading, and so is what lay outside the range of depth."""
    labels: Tensor | None
    """int64 [N], keys of `id2label`; None where the source has no classes."""
    files: tuple[str, ...]
    recordings: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.files)

    def select(self, indices: Sequence[int] | Tensor) -> DepthImages:
        """The images at these places, in this order."""
        places = torch.as_tensor(indices, dtype=torch.int64)
        return DepthImages(
            # torch 2.6 cannot index uint16; the bits are the same.
            units=self.units.view(torch.int16)[places].view(torch.uint16),
            labels=None if self.labels is None else self.labels[places],
            files=tuple(self.files[place] for place in places.tolist()),
            recordings=tuple(self.recordings[place] for place in places.tolist()),
        )


@dataclass(frozen=True, kw_only=True)
class DepthData:
    """What the training and the scoring of depth models start from."""

    train: DepthImages
    validation: DepthImages
    test: DepthImages
    left_out: DepthImages
    """Images in the gaps of the split."""
    split: Split
    id2label: dict[int, str]
    """Names of the classes in natural order; empty where the source has none."""
    depth_range_mm: dict[str, float]
    """{"min": ..., "max": ...}, as the pipeline's config has it."""
    units_per_mm: float
    invalid_values: dict[str, str]
    """Units that mean no reading, with their meaning, as the pipeline's config has them."""
    out_of_range: int
    """Readings outside the range in all images, at the size of the files; they count as no reading."""
    source: str
    skipped: tuple[BadFile, ...]
    """Files that were left out because `skip_bad_files` asked for it."""

    @property
    def depth_range(self) -> tuple[int, int]:
        """First and last unit of the range."""
        return range_in_units(self.depth_range_mm, self.units_per_mm)


def load_depth(
    source: str | Path,
    *,
    split_file: Path | None = None,
    resolution: int = 128,
    depth_range_mm: Mapping[str, float] | None = None,
    units_per_mm: float = 1.0,
    invalid_values: Mapping[str, str] | None = None,
    folders: str = "classes",
    validation_share: float = 0.15,
    test_share: float = 0.2,
    gap_images: int = 5,
    rooms: RoomsConfig | None = None,
    skip_bad_files: bool = False,
    seed: int = 0,
) -> DepthData:
    """Read, check, resize and part a source; everything is kept in memory.

    The split is that of `make_split`: as the source gives it; by recording where every class has three; else each
    recording is cut in the order of its frames into train, gap, validation, gap, test. To train on the first half of
    the frames and test on later ones: `validation_share=0.1, test_share=0.4`.

    Args:
        source: Folder or data set of the Hub, see `find_depth_images`; or "rooms" for synthetic ones (a folder of
            that name is "./rooms").
        split_file: Split to use; where it does not exist yet, the one that a published data set brings along, or a
            new one, is written there.
        resolution: Height and width to resize to, pixels; see `resize_depth`.
        depth_range_mm: {"min": ..., "max": ...}; None takes the readings of the training images with a tenth of their
            span more at either end, in whole millimetres (for rooms, the range of their sensor).
        units_per_mm: The sensor's units in a millimetre.
        invalid_values: Units that mean no reading, with their meaning, beside 0.
        folders: Whether the upper folders are "classes" or "recordings".
        validation_share: Share of each class's images for validation.
        test_share: Share of each class's images for the test, the last of each recording.
        gap_images: Images to leave out at each cut through a recording.
        rooms: What rooms to make, where source is "rooms"; None is `RoomsConfig()`.
        skip_bad_files: List and skip files that cannot be used instead of stopping.
        seed: Draws the recordings of each side, and the rooms.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If a file cannot be used, the split does not fit, or an argument is out of range; the message
            names what.
    """
    if resolution < 1:
        raise ValueError(f"resolution must be at least 1 pixel, got {resolution}")
    if depth_range_mm is not None:
        range_in_units(depth_range_mm, units_per_mm)
    invalid = {"0": "no reading", **(invalid_values or {})}
    if str(source) == ROOMS:
        found = DepthSource(_make_rooms(rooms or RoomsConfig(), units_per_mm, seed), [])
        depth_range_mm = depth_range_mm or (rooms or RoomsConfig()).depth_range_mm
    elif rooms is not None:
        raise ValueError(f"rooms are for the source {ROOMS!r}, got the source {source}")
    else:
        found = find_depth_source(source, folders=folders)
    images, bad_files = found.images, found.bad_files

    reader = _Reader(frozenset(map(int, invalid)), resolution)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        read = list(pool.map(reader.read, images))
        bad_files += [one for one in read if isinstance(one, BadFile)]
        if not skip_bad_files:
            refuse(bad_files)
        for bad in bad_files:
            logger.warning("skipped %s", bad)
        images = [image for image, one in zip(images, read, strict=True) if not isinstance(one, BadFile)]
        kept = [one for one in read if not isinstance(one, BadFile)]
        if not images:
            raise ValueError(f"a source must hold depth images, {source} holds none that can be used")
        given = split_file if split_file is not None and split_file.exists() else found.split_file
        split = _part(images, source, given, validation_share, test_share, gap_images, seed)
        if split_file is not None and not split_file.exists():
            split.save(split_file)
        if depth_range_mm is None:
            in_train = set(split.train)
            of_train = [one for image, one in zip(images, kept, strict=True) if image.file in in_train]
            depth_range_mm = _measure_range(of_train, units_per_mm, source)
        low, high = range_in_units(depth_range_mm, units_per_mm)
        outside = [place for place, one in enumerate(kept) if one.low < low or one.high > high]
        clipped = list(pool.map(lambda place: reader.read_within(images[place], low, high), outside))
    for place, (units, _) in zip(outside, clipped, strict=True):
        kept[place].units[:] = units
    out_of_range = sum(count for _, count in clipped)
    if out_of_range:
        logger.warning(
            "depth must be in %g..%g mm, %d readings in %d of %d images are not; they count as no reading",
            depth_range_mm["min"], depth_range_mm["max"], out_of_range, len(outside), len(images),
        )  # fmt: skip

    everything, id2label = _in_memory(images, kept)
    place_of = {file: place for place, file in enumerate(everything.files)}
    sides = {
        side: everything.select([place_of[file] for file in getattr(split, side)]) for side in (*SPLITS, "left_out")
    }
    return DepthData(
        **sides,
        split=split,
        id2label=id2label,
        depth_range_mm={"min": float(depth_range_mm["min"]), "max": float(depth_range_mm["max"])},
        units_per_mm=units_per_mm,
        invalid_values=invalid,
        out_of_range=out_of_range,
        source=str(source),
        skipped=tuple(bad_files),
    )


@dataclass(frozen=True)
class _Read:
    """An image at the size of the data, and the extreme readings of its file; 1 and 0 where it has none."""

    units: np.ndarray
    low: int
    high: int


@dataclass(frozen=True)
class _Reader:
    invalid: frozenset[int]
    resolution: int

    def read(self, image: DepthFile) -> _Read | BadFile:
        try:
            units = self._decode(image)
        except BadFileError as error:
            return error.bad
        readings = units[units != 0]
        if readings.size == 0:
            return _Read(self._resize(units), _MAX_UNITS, 0)
        return _Read(self._resize(units), int(readings.min()), int(readings.max()))

    def read_within(self, image: DepthFile, low: int, high: int) -> tuple[np.ndarray, int]:
        """The image without its readings outside low..high, and how many those are."""
        units = self._decode(image)
        outside = (units != 0) & ((units < low) | (units > high))
        units[outside] = 0
        return self._resize(units), int(outside.sum())

    def _decode(self, image: DepthFile) -> np.ndarray:
        units = decode_depth(image.read(), image.file)
        for value in self.invalid - {0}:
            units[units == value] = 0
        return units

    def _resize(self, units: np.ndarray) -> np.ndarray:
        size = (self.resolution, self.resolution)
        resized = resize_depth(torch.from_numpy(units.astype(np.float32))[None, None], size)
        return resized[0].round().to(torch.int32).numpy().astype(np.uint16)


def _make_rooms(rooms: RoomsConfig, units_per_mm: float, seed: int) -> list[DepthFile]:
    if units_per_mm != 1:
        raise ValueError(f"rooms are made in millimetres, so units_per_mm must be 1, got {units_per_mm:g}")
    return render_rooms(rooms, seed)


def _part(
    images: Sequence[DepthFile],
    source: str | Path,
    given: Path | None,
    validation_share: float,
    test_share: float,
    gap_images: int,
    seed: int,
) -> Split:
    table = split_table(images)
    if given is None:
        shares = {"validation_share": validation_share, "test_share": test_share}
        try:
            return make_split(table, **shares, gap_windows=gap_images, seed=seed)
        except ValueError as error:
            raise ValueError(
                f"{source} cannot be parted with gap_images={gap_images} (users are classes here): {error}"
            ) from error
    split = Split.load(given)
    try:
        check_split(table, split)
    except ValueError as error:
        raise ValueError(f"{given} cannot be used with {source}: {error}") from error
    return split


def _measure_range(images: Sequence[_Read], units_per_mm: float, source: str | Path) -> dict[str, float]:
    low, high = min(image.low for image in images), max(image.high for image in images)
    if high <= low:
        raise ValueError(f"a range of depth needs at least two different readings, {source} holds {high or 'none'}")
    if high == _MAX_UNITS:
        raise ValueError(
            f"depth_range_mm must be given where {_MAX_UNITS} occurs, the end of 16 bits; {source} holds it. If it "
            f"means no reading, name it in invalid_values"
        )
    margin = _MARGIN * (high - low)
    return {
        "min": float(max(0, math.floor((low - margin) / units_per_mm))),
        "max": float(math.floor(min(high + margin, _MAX_UNITS) / units_per_mm)),
    }


def _in_memory(images: Sequence[DepthFile], read: Sequence[_Read]) -> tuple[DepthImages, dict[int, str]]:
    names = sorted({image.label for image in images if image.label is not None}, key=natural_key)
    # One folder is a place, not a class.
    classes = {name: number for number, name in enumerate(names)} if len(names) > 1 else {}
    unknown = [image.file for image in images if image.label is None]
    if classes and unknown:
        raise ValueError(f"all images must have a class or none, {unknown[0]} has none")
    labels = [classes[image.label] for image in images if image.label is not None] if classes else None
    everything = DepthImages(
        units=torch.from_numpy(np.stack([one.units for one in read])),
        labels=None if labels is None else torch.tensor(labels),
        files=tuple(image.file for image in images),
        recordings=tuple(image.recording for image in images),
    )
    return everything, dict(enumerate(names)) if classes else {}
