"""Reading of the folders of generated spectrograms that `echoform generate` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from echoform_train.data.colormap import to_index
from echoform_train.data.image_check import decode_image, opened_image, read_file
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.data.walk import path_of_name
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import METADATA, SETTINGS, TRAINED_ON
from echoform_train.engine.json_files import read_json_object, read_located_json_lines
from echoform_train.engine.names import check_name, check_relative_path
from echoform_train.engine.resolution import resolution_of, shown_size

Sample = tuple[Tensor, Tensor]
"""Images of one sampling seed: pixels uint8 [N, C, H, W] and users int64 [N]."""


@dataclass(frozen=True)
class GeneratedFile:
    """One generated image, as a line of metadata.jsonl has it."""

    path: Path
    user: str
    seed: int


def read_metadata(folder: Path) -> list[GeneratedFile]:
    """Rows of metadata.jsonl of a folder that `echoform generate` wrote.

    Raises:
        FileNotFoundError: If the folder holds no metadata.jsonl.
        ValueError: If the file is empty, or a line lacks file_name, user or seed.
    """
    path = folder / METADATA
    if not path.exists():
        raise MissingFileError(f"{folder} holds no {METADATA}; is it a folder of `echoform generate`?")
    rows = []
    for where, row in read_located_json_lines(path):
        if missing := {"file_name", "user", "seed"} - set(row):
            raise UserError(f"each line needs file_name, user and seed; {where} lacks {', '.join(sorted(missing))}")
        if type(row["seed"]) is not int:
            raise UserError(f"seed of {where} must be a whole number, got {repr(row['seed'])[:40]}")
        name = check_relative_path(row["file_name"], "file_name", where)
        rows.append(GeneratedFile(path_of_name(folder, name), check_name(row["user"], "user", where), row["seed"]))
    if not rows:
        raise UserError(f"there must be generated images to score, {path} is empty")
    return rows


def generator_data(folder: Path) -> dict[str, str]:
    """Hashes of the data that the pipeline of generated images was trained on, as in its facts; {} if unknown.

    Args:
        folder: Folder that `echoform generate` wrote.

    Raises:
        ValueError: If its settings.json holds something else.
    """
    path = folder / SETTINGS
    settings = read_json_object(path) if path.exists() else {}
    prefix = f"{TRAINED_ON}."
    return {name.removeprefix(prefix): value for name, value in settings.items() if name.startswith(prefix) and value}


def read_generated(rows: Sequence[GeneratedFile], data: SpectrogramData) -> list[Sample]:
    """Read generated images as tensors like those of `data`: one sample per seed, in the order of the seeds.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If an image cannot be decoded or has not the data's size and channels, or a user is unknown.
    """
    label2id = {label: index for index, label in data.id2label.items()}
    by_seed: dict[int, list[tuple[Tensor, int]]] = {}
    for row in rows:
        if row.user not in label2id:
            raise UserError(f"users must be among {', '.join(label2id)}, {row.path} is of {row.user}")
        by_seed.setdefault(row.seed, []).append((_read_image(row.path, data), label2id[row.user]))
    return [
        (torch.stack([pixels for pixels, _ in by_seed[seed]]), torch.tensor([user for _, user in by_seed[seed]]))
        for seed in sorted(by_seed)
    ]


def image_resolution(path: Path) -> int | str:
    """Height and width of a generated image in pixels, as --resolution has them.

    Raises:
        ValueError: If the file is no image.
    """
    with opened_image(read_file(path, str(path)), str(path)) as image:
        return resolution_of(image.height, image.width)


def _read_image(path: Path, data: SpectrogramData) -> Tensor:
    if not path.exists():
        raise MissingFileError(f"{path} is in {METADATA} but is no file; was the generation interrupted?")
    image = decode_image(read_file(path, str(path)), str(path))
    channels, height, width = data.train.pixels.shape[1:]
    if image.shape[:2] != (height, width):
        raise UserError(
            f"generated images must have the data's size, {shown_size(height, width)}, "
            f"{path} has {shown_size(*image.shape[:2])}"
        )
    if data.colormap is not None and image.ndim == 3:
        image = to_index(image, data.colormap)
    pixels = torch.from_numpy(image[None] if image.ndim == 2 else image.transpose(2, 0, 1).copy())
    if len(pixels) != channels:
        raise UserError(f"generated images must have {channels} channels like the data, {path} has {len(pixels)}")
    return pixels
