"""Any source of spectrograms as one data set: file, image, user, recording, start and conditions of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, Image, Value

from echoform_train.data.find import find_in_folder, separate_incomplete
from echoform_train.data.hub import find_in_dataset, folder_of_files
from echoform_train.data.image_check import BadFile, refuse
from echoform_train.data.layout import ARRAYS, IMAGES, FileKind, ImageFile, natural_key
from echoform_train.data.loading import refuse_or_skip
from echoform_train.data.name_pattern import NamePattern
from echoform_train.data.pixels import Pixels, read_pixels
from echoform_train.data.reading import ReadingConfig
from echoform_train.data.walk import walk
from echoform_train.engine.errors import UserError
from echoform_train.engine.names import check_name
from echoform_train.engine.resolution import Halving

_MAX_CATEGORIES = 64


@dataclass(frozen=True)
class SourceImages:
    """A source that was read: its data set, and the pixels of its rows."""

    source: str
    dataset: Dataset
    pixels: Pixels
    skipped: tuple[BadFile, ...]
    """Files that could not be used and were skipped."""
    other_files: tuple[str, ...]
    """Files that are neither images nor metadata."""
    axes: dict[str, float] | None
    """Content of axes.json, if there is one."""
    split_file: Path | None
    """The split.json of a published data set, if there is one."""


def load_images(source: str | Path, *, skip_bad_files: bool = False) -> Dataset:
    """Load the images of a folder or of a data set on the Hub; each is decoded once to check it.

    Args:
        source: Folder in any layout of `find_in_folder`, local folder in the Hub's parquet format, `user/name` or
            `user/name@revision`.
        skip_bad_files: Leave out files that cannot be used and log each as a warning, instead of stopping.

    Returns:
        Columns `file` (unique), `image`, `user` (ClassLabel in natural order: ID_2 before ID_10), `recording` and
        `start_s` (None if unknown), each categorical column as ClassLabel, numbers as float64, and `split` if the
        source has train, validation and test folders.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If a file cannot be used (the message names it), there are no images or fewer than two users, or
            the names of two users differ only in case.
    """
    return read_source(source, skip_bad_files=skip_bad_files).dataset


def read_source(
    source: str | Path,
    *,
    skip_bad_files: bool = False,
    colormap: str = "auto",
    resolution: int | str | None = None,
    halving: Halving | None = None,
    native: bool = False,
    name_pattern: str | None = None,
    reading: ReadingConfig | None = None,
) -> SourceImages:
    """Load the data set that `load_images` returns, and the pixels of its images.

    Args:
        source: See `load_images`.
        skip_bad_files: See `load_images`.
        colormap: See `read_pixels`.
        resolution: See `read_pixels`.
        halving: See `read_pixels`.
        native: See `read_pixels`.
        name_pattern: What the names of the files of a folder tell, see `NamePattern`.
        reading: How files are read.

    Raises:
        FileNotFoundError: See `load_images`.
        ValueError: See `load_images` and `read_pixels`.
    """
    folder = folder_of_files(source)
    if reading is not None:
        reading.check()
    pattern = None if name_pattern is None else NamePattern(name_pattern)
    if folder is None:
        if pattern is not None:
            raise UserError(f"--name-pattern is for folders of files, {source} is a data set")
        found = find_in_dataset(source, need_users=True)
    else:
        found = find_in_folder(folder, kind_of_files(folder, reading), pattern=pattern)
    images, incomplete = separate_incomplete(found.images)
    bad_files = [*found.bad_files, *incomplete]
    # Refuse bad names and folders early, because decoding every file takes long.
    if not skip_bad_files:
        refuse(bad_files)
    _check_users(source, images)
    # Decoding finds the files whose content cannot be used.
    pixels = read_pixels(
        images,
        colormap=colormap,
        resolution=resolution,
        halving=halving,
        native=native,
        reading=reading,
        axes=found.axes,
    )
    bad_files += pixels.bad_files
    refuse_or_skip(bad_files, skip_bad_files=skip_bad_files)
    _check_users(source, pixels.images)
    return SourceImages(
        source=str(source),
        dataset=build_dataset(pixels.images),
        pixels=pixels,
        skipped=tuple(bad_files),
        other_files=found.other_files,
        axes=pixels.axes,
        split_file=found.split_file,
    )


def kind_of_files(folder: Path, reading: ReadingConfig | None) -> FileKind:
    """Pictures, or arrays where a folder holds no pictures or the flags say so."""
    choice = "auto" if reading is None else reading.read
    if choice != "auto":
        return ARRAYS if choice == "arrays" else IMAGES
    suffixes = {path.suffix.lower() for path in walk(folder)}
    return ARRAYS if suffixes.isdisjoint(IMAGES.suffixes) and not suffixes.isdisjoint(ARRAYS.suffixes) else IMAGES


def build_dataset(images: Sequence[ImageFile]) -> Dataset:
    """The data set that `load_images` returns, with one row per file in the given order."""
    # Class ids follow the natural order of the labels, whatever the order of the files.
    users = sorted({image.user for image in images}, key=natural_key)
    columns: dict[str, list[Any]] = {
        "file": [image.file for image in images],
        "image": [_encoded(image) for image in images],
        "user": [image.user for image in images],
        "recording": [image.recording for image in images],
        "start_s": [image.start_s for image in images],
    }
    features: dict[str, Any] = {
        "file": Value("string"),
        "image": Image(),
        "user": ClassLabel(names=users),
        "recording": Value("string"),
        "start_s": Value("float64"),
    }
    # Conditions become categories, numbers stay numbers; columns of any other type are left out.
    for name in dict.fromkeys(name for image in images for name in image.columns):
        values = [image.columns.get(name) for image in images]
        feature = _feature_of(name, values)
        if isinstance(feature, ClassLabel):
            _check_condition(name, feature, images)
        if feature is not None:
            features[name] = feature
            columns[name] = [str(value) for value in values] if isinstance(feature, ClassLabel) else values
    if any(image.split for image in images):
        columns["split"] = [image.split for image in images]
        features["split"] = Value("string")
    return Dataset.from_dict(columns, features=Features(features))


def _check_condition(name: str, feature: ClassLabel, images: Sequence[ImageFile]) -> None:
    """Check a column that becomes a condition: its labels stand in folder names, its name in those of the weights."""
    file_of = {str(image.columns.get(name)): image.file for image in reversed(images)}
    if "." in check_name(name, "column", file_of[feature.names[0]]):
        raise UserError(f"the name of a condition must not hold a dot, {file_of[feature.names[0]]} has {name!r}")
    for label in feature.names:
        check_name(label, name, file_of[label])


def _check_users(source: str | Path, images: Sequence[ImageFile]) -> None:
    users = sorted({image.user for image in images}, key=natural_key)
    spellings: dict[str, str] = {}
    for user in users:
        other = spellings.setdefault(user.casefold(), user)
        if other != user:
            first = {image.user: image.file for image in reversed(images)}
            raise UserError(
                f"users must not differ only in case: {other} ({first[other]}) and {user} ({first[user]}) in {source}"
            )
    if len(users) < 2:
        who = f"only {users[0]} (for example {images[0].file})" if users else "none"
        raise UserError(f"a source must hold images of at least 2 users, {source} holds {who}")


def _encoded(image: ImageFile) -> dict[str, Any]:
    if isinstance(image.data, bytes):
        return {"bytes": image.data, "path": None}
    return {"bytes": None, "path": str(image.data)}


def _feature_of(name: str, values: list[Any]) -> Any:
    """ClassLabel for categories, float64 for numbers, string for free text; None for other types."""
    kinds = {type(value) for value in values if value is not None}
    if str in kinds and len(kinds) > 1:
        other = next(value for value in values if value is not None and not isinstance(value, str))
        raise UserError(f"{name[:100]} must be a text for all images or for none, one is {repr(other)[:40]}")
    if kinds and kinds <= {int, float}:
        return Value("float64")
    if kinds == {str} or (kinds == {bool} and None not in values):
        names = sorted({str(value) for value in values}, key=natural_key)
        few = len(names) <= 2 or len(names) <= min(_MAX_CATEGORIES, len(values) // 2)
        return ClassLabel(names=names) if few else Value("string")
    return None
