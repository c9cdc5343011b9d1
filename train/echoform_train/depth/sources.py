"""Which depth images a source holds, and what folders, file names and columns say of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from datasets import ClassLabel, Dataset, Features, Value

from echoform_train.data.hub import find_in_dataset, is_dataset_folder, is_hub_id
from echoform_train.data.image_check import BadFile
from echoform_train.data.layout import natural_key, split_name

DEPTH_SUFFIXES = (".png", ".tif", ".tiff")
FOLDERS = ("classes", "recordings")

# depth_0_0001, frame12, 1311868164.363181
_NUMBERED_NAME = re.compile(r"(?P<recording>.*?)[-_ .]*(?P<frame>\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class DepthFile:
    """One depth image of a source, not decoded yet."""

    file: str
    """Unique name: its path inside the source, with forward slashes."""
    data: Path | bytes
    """Where its encoded bytes are, or they themselves."""
    label: str | None = None
    """Its class."""
    recording: str | None = None
    frame: float | None = None
    """Its place in the recording: a frame number, or seconds."""
    split: str | None = None
    """train, validation or test where the source itself says so."""

    def read(self) -> bytes:
        """The encoded image."""
        return self.data if isinstance(self.data, bytes) else self.data.read_bytes()


@dataclass(frozen=True)
class DepthSource:
    """What a source holds before anything is decoded."""

    images: list[DepthFile]
    bad_files: list[BadFile]
    """Rows of a data set that hold no image."""
    split_file: Path | None = None
    """The split that a published data set brings along."""


def find_depth_images(source: str | Path, *, folders: str = "classes") -> tuple[list[DepthFile], list[BadFile]]:
    """Every depth image of a source, and the rows of a data set that hold none; see `find_depth_source`."""
    found = find_depth_source(source, folders=folders)
    return found.images, found.bad_files


def find_depth_source(source: str | Path, *, folders: str = "classes") -> DepthSource:
    """Every depth image of a source, in natural order.

    Folders, with train, validation and test above them or not: none (`x.png`), `<class>/x.png` or
    `<class>/<recording>/x.png`. Without folders of recordings, a number at the end of the file name is the frame and
    what stands before it the recording (`depth_0_0001.png`: frame 1 of depth_0), unless most recordings of a folder
    would then have one image; such a folder is one recording in natural order.

    Args:
        source: Folder, local folder in the Hub's parquet format, or `user/name` (or `user/name@revision`) on the Hub
            with an image column and, where known, `label` (or `user`), `recording`, `file` and `frame` of each image.
        folders: "recordings" where the upper (or only) folder is a recording: `<recording>/x.png` or
            `<recording>/<class>/x.png`.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If it holds no depth images, or images stand where no layout explains them.
    """
    if folders not in FOLDERS:
        raise ValueError(f"folders must be among {', '.join(FOLDERS)}, got {folders!r}")
    folder = Path(source)
    if folder.is_dir() and not is_dataset_folder(folder):
        return DepthSource(_name_recordings(_find_in_folder(folder, folders)), [])
    if folder.is_file():
        raise ValueError(f"a source must be a folder or a data set of the Hub, {source} is a file")
    if not folder.is_dir() and not is_hub_id(str(source)):
        raise FileNotFoundError(f"there is no folder {source}")
    return _find_in_hub(str(source))


def split_table(images: Sequence[DepthFile]) -> Dataset:
    """What `make_split` needs to know: `user` is the class, so that every class stands on every side.

    Where a recording holds several classes (a person who shows all letters) and there are at least three recordings,
    `user` is the same for all, so that a whole recording is held out with all its classes.

    `start_s` is the number of the frame: a split asks no more of it than how far apart two images are in hops.
    """
    pairs = {(image.recording, image.label) for image in images}
    recordings = {recording for recording, _ in pairs}
    shared = None not in recordings and 3 <= len(recordings) < len(pairs)
    users = ["all" if shared else image.label or "all" for image in images]
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
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if _is_depth(path, folder)}
    if not paths:
        raise ValueError(f"a source must hold depth images ({', '.join(DEPTH_SUFFIXES)}), {folder} holds none")
    names = sorted(paths, key=natural_key)
    splits = _split_folders(folder, names)
    levels: dict[int, str] = {}
    images = []
    for name in names:
        above = list(PurePosixPath(name).parts[:-1])
        split = splits[above.pop(0)] if splits else None
        levels.setdefault(len(above), name)
        upper, lower = [*above, None, None][:2]
        label, recording = (upper, lower) if folders == "classes" else (lower, upper)
        images.append(DepthFile(file=name, data=paths[name], label=label, recording=recording, split=split))
    if len(levels) > 1 or max(levels) > 2:
        raise ValueError(
            f"depth images must all stand in no folder, all in <class>/ or all in <class>/<recording>/; "
            f"{folder} holds {' and '.join(levels.values())}"
        )
    return images


def _is_depth(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
    return path.suffix.lower() in DEPTH_SUFFIXES and not hidden and path.is_file()


def _split_folders(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Folder name -> split, empty where the source has no split folders."""
    tops = dict.fromkeys(PurePosixPath(name).parts[0] if "/" in name else "" for name in names)
    splits = {top: split for top in tops if (split := split_name(top))}
    if splits and (len(splits) < len(tops) or len(set(splits.values())) < len(splits)):
        others = ", ".join(top or "images at the top" for top in tops)
        raise ValueError(f"split folders must be one of each and stand alone, {folder} holds {others}")
    if splits and "train" not in splits.values():
        raise ValueError(f"a source with split folders must hold train, {folder} holds only {', '.join(splits)}")
    return splits


def _find_in_hub(source: str) -> DepthSource:
    found = find_in_dataset(source, need_users=False)
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
    """Recordings and frames from the names of the files, where nothing else tells them."""
    matches = [_NUMBERED_NAME.fullmatch(PurePosixPath(image.file).stem) for image in images]
    homes = [PurePosixPath(image.file).parent.as_posix() for image in images]
    sizes: Counter[tuple[str, str]] = Counter()
    for home, match in zip(homes, matches, strict=True):
        if match is not None:
            sizes[home, match["recording"]] += 1
    alone = Counter(home for (home, _), size in sizes.items() if size == 1)
    together = Counter(home for (home, _), size in sizes.items() if size > 1)

    named = []
    for image, home, match in zip(images, homes, matches, strict=True):
        recording, frame = image.recording, image.frame
        if frame is None and match is not None:
            frame = float(match["frame"])
        if recording is None and match is not None and together[home] >= alone[home]:
            recording = match["recording"] or home
        elif recording is None:
            # The numbers of such names are no frames, or there are none: the folder's order is all that is known.
            frame = None
        named.append(replace(image, recording=recording, frame=frame))
    return named
