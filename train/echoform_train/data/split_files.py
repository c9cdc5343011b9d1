"""Split files: which one a command reads, where it writes its own, and whether a split is that of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from echoform_train.data.layout import SIDES, SPLITS
from echoform_train.data.split import Split
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import SPLIT


class SplitImages(Protocol):
    """Images of one source that are split, such as `SpectrogramData`, `DepthData` or `ImageData`."""

    @property
    def split(self) -> Split:
        """Names of the images of each side."""
        ...

    @property
    def split_file(self) -> Path | None:
        """File that the split was read from; None: that of a published data set, or a new one."""
        ...

    @property
    def images_sha256(self) -> str:
        """Hash of names and content of all image files."""
        ...

    @property
    def source(self) -> str:
        """Folder or Hub id."""
        ...


def split_to_read(split_file: Path | None, output_dir: Path) -> Path | None:
    """The file of --split-file, else split.json of an output folder that is continued; None if there is neither."""
    own = output_dir / SPLIT
    return own if split_file is None and own.exists() else split_file


def write_split(split: Split, path: Path) -> None:
    """Write a split to a file that does not exist yet, or holds the same split.

    Raises:
        ValueError: If the file holds another split, or anything else.
    """
    if path.exists() and Split.load(path).sha256 == split.sha256:
        return
    check_writable(split, path)
    split.save(path)


def check_writable(split: Split, path: Path) -> None:
    """Refuse a file that holds another split.

    Raises:
        ValueError: If the file exists and holds another split, or anything else.
    """
    if path.exists() and (changed := difference(Split.load(path), split)):
        raise UserError(
            f"{path} holds another split and is not overwritten: {changed}; give the split of that file as "
            f"--split-file, or choose another folder or file"
        )


def print_split(split: Split, split_file: Path | None, save_split: Path | None) -> None:
    """Print where a split was read, and write it to the file of --save-split.

    Raises:
        ValueError: If that file holds another split, or anything else.
    """
    if split_file is not None:
        print(f"Split read from {split_file}")
    if save_split is not None:
        write_split(split, save_split)
        print(f"Split written to {save_split}")


def difference(earlier: Split, now: Split) -> str:
    """How two splits differ, in numbers of images; "" if they hold out the same images."""
    first, second = _side_of_file(earlier), _side_of_file(now)
    moved = [file for file in first if file in second and first[file] != second[file]]
    missing, new = len(first.keys() - second.keys()), len(second.keys() - first.keys())
    parts = [f"{len(moved)} of {len(first)} images on another side, such as {moved[0]}"] if moved else []
    parts += [f"{missing} of {len(first)} images missing"] if missing else []
    parts += [f"{new} images more"] if new else []
    return ", ".join(parts)


def check_split_of_model(
    data: SplitImages,
    trained_on: Mapping[str, Any] | None,
    model: str,
    folder: Path,
    *,
    other_data: bool = False,
) -> None:
    """Refuse data whose images or split are not those that a model was trained with.

    Without hashes in the facts, the split.json of the folder, or else the numbers of images must be equal.

    Args:
        data: The images, with their split.
        trained_on: The entry "data" of the model's facts.json; None if there are no facts.
        model: What the message calls the model, with its folder.
        folder: Output folder of its training, where its split.json may lie.
        other_data: Whether the images are said to be others than those of the training, so that the split is their own.

    Raises:
        ValueError: If the split is another one, or images of the source were changed, added or removed since.
    """
    trained_on = trained_on or {}
    content = trained_on.get("images_sha256")
    if other_data:
        if content == data.images_sha256:
            raise UserError(f"--other-data needs other images than those of the training, {model} was trained on these")
        return
    own_file = folder / SPLIT
    own = Split.load(own_file) if own_file.exists() else None
    if changed := _changed_since(trained_on, own, data.split):
        name = f"the split {data.split_file}" if data.split_file else f"the split of {data.source}"
        hint = "" if own is None else f", {own_file}"
        raise UserError(
            f"{model} was trained with another split than {name}: {changed}; --split-file must name the split of "
            f"that training{hint}"
        )
    if content not in (None, data.images_sha256):
        raise UserError(
            f"{model} was trained on other images than those of {data.source}: the names are equal, but at least one "
            f"of the {len(_side_of_file(data.split))} files has other content now"
        )


def check_reading(reading: str, trained_on: Mapping[str, Any], model: str) -> None:
    """Refuse data whose files were read in another way than those that a model was trained on.

    Raises:
        ValueError: If the box of the data or the scale of numbers is another one.
    """
    theirs = trained_on.get("reading", "")
    if theirs != reading:
        raise UserError(
            f"{model} was trained on images that were read with {theirs or 'no crop'}, these are read with "
            f"{reading or 'no crop'}; --crop and the other flags of reading must be those of that training"
        )


def _changed_since(trained_on: Mapping[str, Any], own: Split | None, split: Split) -> str:
    """How a split differs from that of a training; "" if it is the same."""
    recorded = trained_on.get("split_sha256")
    # Two lists of names tell more than a hash, if they are those of the training.
    if own is not None and recorded in (None, own.sha256):
        return difference(own, split)
    theirs, ours = trained_on.get("images"), {side: len(getattr(split, side)) for side in SPLITS}
    if recorded == split.sha256 or (recorded is None and theirs in (None, ours)):
        return ""
    counted = ", ".join(f"{count} {side}" for side, count in ours.items())
    if not isinstance(theirs, dict):
        return f"this one has {counted} images, of which other ones are held out"
    of_training = ", ".join(f"{count} {side}" for side, count in theirs.items())
    return f"that one had {of_training} images, this one has {counted}"


def _side_of_file(split: Split) -> dict[str, str]:
    return {file: side for side in SIDES for file in getattr(split, side)}
