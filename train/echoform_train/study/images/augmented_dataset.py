"""The augmented data set on disk: the real images in their splits, and generated images added for training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

import torch
from torch import Tensor
from tqdm.auto import tqdm

from echoform_train.data.layout import SPLITS, split_name
from echoform_train.data.painting import to_pil_images
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import AXES, METADATA
from echoform_train.engine.json_files import write_json, write_json_lines
from echoform_train.engine.output_folders import new_folder
from echoform_train.scoring.generated_images import Sample

Columns = Mapping[str, Any]
"""Additional columns of one image in metadata.jsonl."""

_OWN_COLUMNS = ("file_name", "user", "origin", "recording", "start_s")


class Counts(TypedDict):
    """Number of images in one part of a split."""

    real: int
    generated: int


def images_to_add(users: Tensor, num_users: int, *, per_user: int | None, balance_to: int | None) -> dict[int, int]:
    """Number of generated images to add for each user.

    Args:
        users: Users of the real training images, int64 [N] in 0..num_users-1.
        num_users: Number of users.
        per_user: The same number for each user, at least 1.
        balance_to: Number of images per user to reach, real and generated together, at least 1; a user with more real
            images gets none.

    Raises:
        ValueError: If not exactly one of the two is given, or it is below 1.
    """
    if per_user is not None and balance_to is None:
        if per_user < 1:
            raise UserError(f"per_user must be at least 1, got {per_user}")
        return dict.fromkeys(range(num_users), per_user)
    if balance_to is not None and per_user is None:
        if balance_to < 1:
            raise UserError(f"balance_to must be at least 1, got {balance_to}")
        counts = torch.bincount(users, minlength=num_users)
        return {user: max(0, balance_to - int(counts[user])) for user in range(num_users)}
    raise UserError(f"one of per_user and balance_to must be given, got {per_user} and {balance_to}")


def write_dataset(
    data: SpectrogramData,
    real_columns: Mapping[str, Sequence[Columns]],
    generated: Sample,
    generated_columns: Sequence[Columns],
    folder: Path,
) -> dict[str, Counts]:
    """Write PNGs and one metadata.jsonl per split, which `datasets.load_dataset` and `load_spectrograms` both read.

    Images lie in `<split>/<user>/...`, with the splits train, validation and test of the study; generated images are
    in train only. Images in the gaps of the split, which overlap with two sides, are left out. All images have the
    colour map of the data and the size of the study. Each line of metadata.jsonl holds `file_name`, `user`, `origin`
    ("real" or "generated"), `recording` and `start_s` if known, the conditions, and the additional columns.

    Args:
        data: The real images.
        real_columns: By split, additional columns of each real image, JSON-able, without its conditions.
        generated: Pixels uint8 [N, C, H, W] and users int64 [N], for the training part.
        generated_columns: The same columns for each generated image, and its conditions by name.
        folder: Must be empty or missing; it is written completely or not at all.

    Returns:
        Number of images by split.

    Raises:
        ValueError: If there is not one row of columns per image, names or types of columns differ between images
            (`datasets` infers types per split, and all must agree), or a column has the name of a standard column.
    """
    # Checked before writing, because `datasets` would only fail when reading.
    columns = {split: _with_conditions(data, split, real_columns[split]) for split in SPLITS}
    counts = {split: len(getattr(data, split)) for split in SPLITS}
    _check_columns({"generated": generated_columns, **columns}, {"generated": len(generated[1]), **counts})

    total = sum(counts.values()) + len(generated[1])
    with (
        new_folder(folder, "the folder of the data set") as partial,
        tqdm(total=total, unit="image", desc="data set") as bar,
    ):
        for split in SPLITS:
            images = [*_real_images(data, split, columns[split])]
            if split == "train":
                images += _generated_images(data, generated, generated_columns)
            lines = []
            for name, image, line in images:
                _save(image, data.colormap, partial / split / name)
                lines.append({"file_name": name, **line})
                bar.update()
            write_json_lines(partial / split / METADATA, lines)
        if data.axes is not None:
            write_json(partial / AXES, data.axes)
    return {
        split: {"real": counts[split], "generated": len(generated[1]) if split == "train" else 0} for split in SPLITS
    }


def file_names(images: Spectrograms, id2label: Mapping[int, str]) -> list[str]:
    """A unique name `<user>/...png` for each image, which keeps its original name with recording and start."""
    names: dict[str, int] = {}
    for index, file in enumerate(images.files):
        label = id2label[int(images.users[index])]
        parts = list(PurePosixPath(file).parts)
        # The new folders already name split and user.
        if len(parts) > 1 and split_name(parts[0]):
            parts = parts[1:]
        if len(parts) > 1 and parts[0] == label:
            parts = parts[1:]
        path = PurePosixPath(label, *parts)
        name = path.with_suffix(".png").as_posix()
        names.setdefault(name if name not in names else f"{path.as_posix()}.png", index)
    assert len(names) == len(images), "names of files are unique in a source"
    return list(names)


def _with_conditions(data: SpectrogramData, split: str, columns: Sequence[Columns]) -> list[dict[str, Any]]:
    images: Spectrograms = getattr(data, split)
    return [
        {name: data.condition_labels[name][int(values[index])] for name, values in images.conditions.items()}
        | dict(row)
        for index, row in enumerate(columns)
    ]


def _real_images(
    data: SpectrogramData, split: str, columns: Sequence[Columns]
) -> Iterator[tuple[str, Tensor, dict[str, Any]]]:
    images: Spectrograms = getattr(data, split)
    for index, name in enumerate(file_names(images, data.id2label)):
        line = {
            "user": data.id2label[int(images.users[index])],
            "origin": "real",
            "recording": images.recordings[index],
            "start_s": images.starts_s[index],
        }
        yield name, images.pixels[index], line | dict(columns[index])


def _generated_images(
    data: SpectrogramData, generated: Sample, columns: Sequence[Columns]
) -> Iterator[tuple[str, Tensor, dict[str, Any]]]:
    pixels, users = generated
    for index, row in enumerate(columns):
        label = data.id2label[int(users[index])]
        line = {"user": label, "origin": "generated", "recording": None, "start_s": None}
        yield f"{label}/generated_{index:05d}.png", pixels[index], line | dict(row)


def _save(image: Tensor, colormap: str | None, path: Path) -> None:
    if path.exists():
        raise UserError(f"a generated image must not have the name of a real one, {path.name} exists")
    path.parent.mkdir(parents=True, exist_ok=True)
    to_pil_images(image[None], colormap)[0].save(path, format="png")


def _check_columns(columns: Mapping[str, Sequence[Columns]], counts: Mapping[str, int]) -> None:
    types = {name: type(value) for name, value in next(iter(columns["generated"]), {}).items()}
    if taken := [name for name in _OWN_COLUMNS if name in types]:
        raise UserError(f"additional columns must not be named {', '.join(_OWN_COLUMNS)}, got {', '.join(taken)}")
    for part, rows in columns.items():
        if len(rows) != counts[part]:
            raise UserError(f"each image must have one row, got {len(rows)} rows for {counts[part]} images of {part}")
        for row in rows:
            if types and {name: type(value) for name, value in row.items()} != types:
                raise UserError(f"rows must have the same columns of the same types, {types}; one of {part} is {row}")
