"""Find the depth images of a source; read class, recording, frame and split from folders, file names or columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from datasets import ClassLabel, Dataset, Features, Value

from echoform_train.data.find import split_folders
from echoform_train.data.hub import find_in_dataset, folder_of_files
from echoform_train.data.image_check import BadFile, read_file
from echoform_train.data.layout import natural_key
from echoform_train.data.walk import find_files
from echoform_train.depth.stored_files import DEPTH_SUFFIXES, IMAGE_SUFFIXES
from echoform_train.engine.errors import UserError
from echoform_train.engine.names import check_name

FOLDERS = ("classes", "recordings")

# The number at the end of a file name, such as depth_0_0001, frame12 or 1311868164.363181.
_NUMBERED_NAME = re.compile(r"(?P<recording>.*?)[-_ .]*(?P<frame>\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class DepthFile:
    """One depth image of a source that is not decoded yet."""

    file: str
    """Unique name: its path inside the source, with forward slashes."""
    data: Path | bytes
    """Path of the encoded image, or the encoded image itself."""
    label: str | None = None
    """Name of its class; None if the source has no classes."""
    recording: str | None = None
    frame: float | None = None
    """Position in the recording: a frame number or a time in seconds."""
    split: str | None = None
    """train, validation or test if the source itself assigns it; else None."""

    def read(self) -> bytes:
        """The encoded image; raises BadFileError if the file cannot be read."""
        return self.data if isinstance(self.data, bytes) else read_file(self.data, self.file)


@dataclass(frozen=True)
class DepthSource:
    """All depth images of a source, not decoded yet."""

    images: list[DepthFile]
    bad_files: list[BadFile]
    """Rows of a data set that hold no image."""
    split_file: Path | None = None
    """Split file of a published data set; None if there is none."""


def find_depth_source(source: str | Path, *, folders: str = "classes", image_column: str | None = None) -> DepthSource:
    """List all depth images of a source in natural order (x2 before x10), with class, recording, frame and split.

    Images of a folder are PNG or TIFF; if there are none, files of the first of DEPTH_SUFFIXES that is there. They lie
    either all directly in it (`x.png`), all in `<class>/x.png` or all in `<class>/<recording>/x.png`; train, validation
    and test may be the top folders. Without folders for recordings, file names give them: the number at the end is the
    frame and the text before it is the recording (`depth_0_0001.png` is frame 1 of recording depth_0). If most
    recordings of a folder would then have a single image, the numbers are not read as frames, and the folder is one
    recording in natural order.

    Args:
        source: Folder of images, local folder in the Hub's parquet format, or `user/name` (or `user/name@revision`) on
            the Hub. A data set has an image column and optionally `label` (or `user`), `recording`, `file` and `frame`.
        folders: "classes", or "recordings" if the upper (or only) folder is a recording: `<recording>/x.png` or
            `<recording>/<class>/x.png`.
        image_column: Column of a data set that holds the depth images; None: its only image column.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If it holds no depth images, or its folders fit none of these layouts.
    """
    if folders not in FOLDERS:
        raise UserError(f"folders must be among {', '.join(FOLDERS)}, got {folders!r}")
    folder = folder_of_files(source)
    if folder is not None:
        if image_column is not None:
            raise UserError(f"--image-column is for data sets, {source} is a folder of files")
        return DepthSource(_name_recordings(_find_in_folder(folder, folders)), [])
    return _find_in_dataset(source, image_column)


def split_table(images: Sequence[DepthFile]) -> Dataset:
    """Table of the images with the columns that `make_split` reads.

    The column `user` holds the class, so that `make_split` puts images of every class on every side. If there are at
    least three recordings and some hold several classes (such as one person who shows all letters), all images get the
    same `user` instead, so that whole recordings are held out. `start_s` holds the frame in any unit, because
    `make_split` only compares the distance of two images with the usual distance of neighbours.
    """
    # More pairs of recording and class than recordings: some recordings hold several classes.
    pairs = {(image.recording, image.label) for image in images}
    recordings = {recording for recording, _ in pairs}
    mixed = None not in recordings and 3 <= len(recordings) < len(pairs)
    users = ["all" if mixed else image.label or "all" for image in images]
    return Dataset.from_dict(
        {
            "file": [image.file for image in images],
            "user": users,
            "recording": [image.recording for image in images],
            "start_s": [image.frame for image in images],
            "split": [image.split for image in images],
        },
        features=Features(
            {
                "file": Value("string"),
                "user": ClassLabel(names=sorted(set(users), key=natural_key)),
                "recording": Value("string"),
                "start_s": Value("float64"),
                "split": Value("string"),
            }
        ),
    )


def _find_in_folder(folder: Path, folders: str) -> list[DepthFile]:
    # Arrays beside images are calibrations and the like, so the first kind that is there counts.
    kinds = (IMAGE_SUFFIXES, *((suffix,) for suffix in DEPTH_SUFFIXES if suffix not in IMAGE_SUFFIXES))
    paths = next(filter(None, (find_files(folder, kind) for kind in kinds)), {})
    if not paths:
        images, arrays = ", ".join(IMAGE_SUFFIXES), ", ".join(DEPTH_SUFFIXES[len(IMAGE_SUFFIXES) :])
        raise UserError(
            f"a source must hold depth images ({images}) or arrays of depth ({arrays}), {folder} holds none"
        )
    splits = split_folders(folder, list(paths))
    images = []
    example_of_depth: dict[int, str] = {}  # key: number of folders above the image; for the error message
    for name, path in paths.items():
        above = list(PurePosixPath(name).parts[:-1])
        split = splits[above.pop(0)] if splits else None
        example_of_depth.setdefault(len(above), name)
        above = [check_name(part, "folder", folder) for part in above]
        upper, lower = [*above, None, None][:2]
        label, recording = (upper, lower) if folders == "classes" else (lower, upper)
        images.append(DepthFile(file=name, data=path, label=label, recording=recording, split=split))
    if len(example_of_depth) > 1 or max(example_of_depth) > 2:
        raise UserError(
            f"depth images must lie all directly in the source, all in <class>/ or all in <class>/<recording>/; "
            f"{folder} holds {' and '.join(example_of_depth.values())}"
        )
    return images


def _find_in_dataset(source: str | Path, image_column: str | None) -> DepthSource:
    found = find_in_dataset(source, need_users=False, image_column=image_column, one_image_column=True)
    images = [
        DepthFile(
            file=image.file,
            data=image.data,
            label=image.user or None,
            recording=image.recording,
            frame=image.start_s,
            split=image.split,
        )
        for image in found.images
    ]
    return DepthSource(_name_recordings(images), list(found.bad_files), found.split_file)


def _name_recordings(images: Sequence[DepthFile]) -> list[DepthFile]:
    """Fill in missing recordings and frames from the file names."""
    matches = [_NUMBERED_NAME.fullmatch(PurePosixPath(image.file).stem) for image in images]
    parents = [PurePosixPath(image.file).parent.as_posix() for image in images]
    # Per folder: how many recordings would have one image, and how many would have several?
    sizes: Counter[tuple[str, str]] = Counter()
    for parent, match in zip(parents, matches, strict=True):
        if match is not None:
            sizes[parent, match["recording"]] += 1
    single = Counter(parent for (parent, _), size in sizes.items() if size == 1)
    several = Counter(parent for (parent, _), size in sizes.items() if size > 1)

    named = []
    for image, parent, match in zip(images, parents, matches, strict=True):
        recording, frame = image.recording, image.frame
        if frame is None and match is not None:
            frame = float(match["frame"])
        if recording is None and match is not None and several[parent] >= single[parent]:
            recording = match["recording"] or parent
        elif recording is None:
            # No number, or a number that is not a frame: only the order of the files in the folder is known.
            frame = None
        named.append(replace(image, recording=recording, frame=frame))
    return named
