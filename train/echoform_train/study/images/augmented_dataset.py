"""The augmented data set: real images in the parts of their split, generated ones beside those for training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from echoform_train.data.layout import SPLITS, split_name
from echoform_train.data.painting import to_pictures
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.files import AXES, METADATA
from echoform_train.scoring.generated_images import Sample

Row = Mapping[str, Any]
"""What is known of an image, by column."""

_OWN = ("file_name", "user", "origin", "recording", "start_s")


def images_to_add(users: Tensor, num_users: int, *, per_user: int | None, balance_to: int | None) -> dict[int, int]:
    """How many generated images each user gets.

    Args:
        users: Of the real images for training, int64 [N] in 0..num_users-1.
        num_users: Number of people.
        per_user: As many for each, at least 1.
        balance_to: Else as many as bring each up to so many in all; nobody loses an image.

    Raises:
        ValueError: If not exactly one of the two is given, or it is below 1.
    """
    if (per_user is None) == (balance_to is None):
        raise ValueError(f"one of per_user and balance_to must be given, got {per_user} and {balance_to}")
    if per_user is not None:
        if per_user < 1:
            raise ValueError(f"per_user must be at least 1, got {per_user}")
        return dict.fromkeys(range(num_users), per_user)
    assert balance_to is not None
    if balance_to < 1:
        raise ValueError(f"balance_to must be at least 1, got {balance_to}")
    counts = torch.bincount(users, minlength=num_users)
    return {user: max(0, balance_to - int(counts[user])) for user in range(num_users)}


def first_of_each_user(users: Tensor, counts: Mapping[int, int]) -> Tensor:
    """Places of the first `counts[user]` images of each user, or of all that there are, in order: int64 [M].

    Args:
        users: int64 [N].
        counts: By user; who is not named gets none.
    """
    places = [(users == user).nonzero().flatten()[:count] for user, count in counts.items()]
    return torch.cat([torch.empty(0, dtype=torch.int64), *places]).sort().values


def write_dataset(
    data: SpectrogramData,
    real_rows: Mapping[str, Sequence[Row]],
    generated: Sample,
    generated_rows: Sequence[Row],
    folder: Path,
) -> dict[str, dict[str, int]]:
    """Write PNGs, and a metadata.jsonl a split, that `datasets.load_dataset` and `load_spectrograms` both read.

    `<split>/<user>/...` with the splits train, validation and test, so that whoever loads it gets the split of the
    study and tests on no generated image. The images in the gaps of the split, which overlap two sides, are not in it.
    All are painted as the pipeline paints, at the size of the study. Each line holds `file_name`, `user`, `origin`
    ("real" or "generated"), `recording` and `start_s` where they are known, the conditions, and the row of the image.

    Args:
        data: The real images.
        real_rows: By split, of each real image, JSON-able columns without its conditions.
        generated: Pixels uint8 [N, C, H, W] and users int64 [N], for the training part.
        generated_rows: Of each generated image, the same columns and its conditions by name.
        folder: Must be empty or not there; written whole or not at all.

    Returns:
        {split: {origin: images}}.

    Raises:
        ValueError: If rows and images differ in number, a row lacks a column that another has, or names one of ours.
            (`datasets` takes the type of a column from the values in each split, and wants the same in all.)
    """
    pixels, users = generated
    rows = {
        split: [
            _conditions_of(data, getattr(data, split), place) | dict(row) for place, row in enumerate(real_rows[split])
        ]
        for split in SPLITS
    }
    wanted = {split: len(getattr(data, split)) for split in SPLITS}
    _check_rows({"generated": generated_rows, **rows}, {"generated": len(pixels), **wanted})
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tqdm(total=sum(wanted.values()) + len(pixels), unit="image", desc="data set") as bar:
        for split in SPLITS:
            lines = []
            for name, image, line in [
                *_real_images(data, split, rows[split]),
                *(_generated_images(data, pixels, users, generated_rows) if split == "train" else ()),
            ]:
                _save(image, data.colormap, partial / split / name)
                lines.append(json.dumps({"file_name": name, **line}) + "\n")
                bar.update()
            (partial / split / METADATA).write_text("".join(lines), encoding="utf-8")
    if data.axes is not None:
        (partial / AXES).write_text(json.dumps(data.axes, indent=1) + "\n", encoding="utf-8")
    if folder.is_dir():
        folder.rmdir()
    partial.rename(folder)
    return {split: {"real": wanted[split], "generated": len(pixels) * (split == "train")} for split in SPLITS}


def file_names(images: Spectrograms, id2label: Mapping[int, str]) -> list[str]:
    """`<user>/...png` of each image, after its own name, which tells its recording and start; each name once."""
    names: dict[str, int] = {}
    for place, file in enumerate(images.files):
        label = id2label[int(images.users[place])]
        parts = list(PurePosixPath(file).parts)
        if len(parts) > 1 and split_name(parts[0]):
            parts = parts[1:]
        if len(parts) > 1 and parts[0] == label:
            parts = parts[1:]
        path = PurePosixPath(label, *parts)
        name = path.with_suffix(".png").as_posix()
        names.setdefault(name if name not in names else f"{path.as_posix()}.png", place)
    assert len(names) == len(images), "names of files are unique in a source"
    return list(names)


def _real_images(data: SpectrogramData, split: str, rows: Sequence[Row]) -> Iterator[tuple[str, Tensor, Row]]:
    images: Spectrograms = getattr(data, split)
    for place, name in enumerate(file_names(images, data.id2label)):
        line = {
            "user": data.id2label[int(images.users[place])],
            "origin": "real",
            "recording": images.recordings[place],
            "start_s": images.starts_s[place],
        }
        yield name, images.pixels[place], line | dict(rows[place])


def _generated_images(
    data: SpectrogramData, pixels: Tensor, users: Tensor, rows: Sequence[Row]
) -> Iterator[tuple[str, Tensor, Row]]:
    for place, row in enumerate(rows):
        label = data.id2label[int(users[place])]
        line = {"user": label, "origin": "generated", "recording": None, "start_s": None}
        yield f"{label}/generated_{place:05d}.png", pixels[place], line | dict(row)


def _conditions_of(data: SpectrogramData, images: Spectrograms, place: int) -> dict[str, str]:
    return {name: data.condition_labels[name][int(values[place])] for name, values in images.conditions.items()}


def _save(image: Tensor, colormap: str | None, path: Path) -> None:
    if path.exists():
        raise ValueError(f"a generated image must not take the name of a real one, {path.name} is there")
    path.parent.mkdir(parents=True, exist_ok=True)
    to_pictures(image[None], colormap)[0].save(path, format="png")


def _check_rows(rows: Mapping[str, Sequence[Row]], wanted: Mapping[str, int]) -> None:
    columns = {name: type(value) for name, value in next(iter(rows["generated"]), {}).items()}
    if taken := [name for name in _OWN if name in columns]:
        raise ValueError(f"a row must leave {', '.join(_OWN)} to the data set, got {', '.join(taken)}")
    for where, of_images in rows.items():
        if len(of_images) != wanted[where]:
            raise ValueError(
                f"each image must have one row, got {len(of_images)} rows for {wanted[where]} images of {where}"
            )
        for row in of_images:
            if columns and {name: type(value) for name, value in row.items()} != columns:
                raise ValueError(
                    f"rows must have the same columns of the same kinds, {columns}; one of {where} is {row}"
                )
