"""Spectrograms of one person, from which a pipeline learns one more user: pixels, conditions, latents, and what of
them the first stage of the pipeline preserves."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from echoform_train.data.metadata import metadata_file, read_metadata
from echoform_train.data.reading import ReadingConfig
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.errors import UserError
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.names import composed
from echoform_train.latent_diffusion.first_stage import decode_to_pixels, encode_pixels
from echoform_train.latent_diffusion.latents import Latents, latent_statistics
from echoform_train.latent_diffusion.varied_images import Purpose, VariedImages, read_varied_images
from echoform_train.publishing.records import check_record

_LEVELS = 4
"""Folders in which metadata is looked for: that of the images, and those above it."""
_FAR_DB = 3.0
"""Difference of PSNR from which the first stage draws a person worse than its own: twice the squared error."""
_EXACT_DB = 60.0
"""PSNR of images in which one pixel in fifteen is off by one of 255 levels, as by rounding."""


@dataclass(frozen=True)
class KnownConditions:
    """Values of the conditions of a pipeline, of some images."""

    ids: dict[str, Tensor]
    """Label ids int64 [N] by name of the condition; the null class where an image has no label that is known."""
    labels: dict[str, list[str]]
    """Labels that occur, by name of the condition."""
    notes: tuple[str, ...]
    """What was found, as lines of text."""


@dataclass(frozen=True)
class FirstStageFit:
    """How well the first stage of a pipeline gives back the images of a person on whom it was not trained."""

    psnr_db: float | None
    """PSNR over all images of the person; None where the pipeline draws pixels and loses nothing of these."""
    known_psnr_db: float | None
    """That of held-out images of the people whom the first stage was trained on; None if the pipeline does not tell, or
    draws pixels."""
    draws_pixels: bool = False
    """Whether the pipeline has no first stage (`train ldm --first-stage none`): then only what lies below the floor of
    its images is lost."""

    @property
    def is_poor(self) -> bool:
        """Whether the squared error is at least twice that of the known people."""
        known = math.inf if self.draws_pixels else self.known_psnr_db
        return self.psnr_db is not None and known is not None and self.psnr_db <= known - _FAR_DB

    def summary(self) -> str:
        """One line for the terminal."""
        if self.psnr_db is None:
            return "no first stage: this pipeline draws the pixels themselves, and nothing of these images is lost"
        if self.draws_pixels:
            return (
                "WARNING: the images that the pipeline was trained on have a floor, a lowest level without echoes, and "
                f"these have levels below it, which become the floor: they come back with {self.psnr_db:.1f} dB PSNR, "
                "and what lies below is not learned"
            )
        if self.known_psnr_db is None:
            return (
                f"first stage: these images come back with {self.psnr_db:.1f} dB PSNR; the pipeline does not tell how "
                "well those of its own people do"
            )
        if not self.is_poor:
            return (
                f"first stage: these images come back with {self.psnr_db:.1f} dB PSNR, held-out images of its own "
                f"people with {self.known_psnr_db:.1f} dB"
            )
        return (
            "WARNING: the first stage of the pipeline cannot draw this person as well as its own people: these images "
            f"come back with {self.psnr_db:.1f} dB PSNR, held-out images of its own people with "
            f"{self.known_psnr_db:.1f} dB, and what it loses, no learning of a user brings back; train a first stage "
            "with images of this person too"
        )


def first_stage_fit(pipeline: Any, images: VariedImages, latents: Latents, facts: Mapping[str, Any]) -> FirstStageFit:
    """Decode the latents of images again, and compare the error with that of the training of the first stage.

    Args:
        pipeline: The pipeline.
        images: The images.
        latents: What `encode_images` made of them.
        facts: Content of the pipeline's facts.json, from which the PSNR of the validation images comes; {} if unknown.
    """
    mean, std = latent_statistics(pipeline)
    decoded = decode_to_pixels(pipeline.vqvae, latents.values * std[:, None, None] + mean[:, None, None])
    # One grey level of one pixel at least, as a logarithm of 0 is no number.
    squared = max(1.0, float((decoded.double() - images.pixels.double()).square().sum()))
    psnr_db = 10 * math.log10(255**2 * decoded.numel() / squared)
    if pipeline.vqvae.config.get("block_size") is not None:
        return FirstStageFit(psnr_db if psnr_db < _EXACT_DB else None, None, draws_pixels=True)
    known: Any = facts
    for name in ("first_stage", "validation", "psnr"):
        known = known.get(name) if isinstance(known, Mapping) else None
    is_number = isinstance(known, int | float) and not isinstance(known, bool) and math.isfinite(known)
    return FirstStageFit(psnr_db, float(known) if is_number else None)


def read_user_images(source: Path, pipeline: Any, reading: ReadingConfig) -> tuple[VariedImages, KnownConditions]:
    """Read the spectrograms of one person as the pipeline's training images were, and their conditions.

    Conditions come from metadata.jsonl (or .csv) of the folder or of one above it, or from folders that are called like
    a label of the pipeline.

    Raises:
        FileNotFoundError: If there is no such folder.
        UserError: See `read_varied_images`; and if the images are those of several people.
    """
    if source.exists() and not source.is_dir():
        raise UserError(f"DATA must be a folder of spectrograms of one person, {source} is a file")
    images = read_varied_images(source, pipeline, reading, purpose=Purpose("images of a new user", "DATA"))
    labels = {
        name: {composed(label): int(key) for key, label in values.items()}
        for name, values in (pipeline.config["condition_labels"] or {}).items()
    }
    rows = _rows(source, images.files)
    users = sorted({str(row["user"]) for row in rows if row.get("user") is not None})
    if len(users) > 1:
        raise UserError(f"DATA must hold images of one person, the metadata of {source} names {', '.join(users[:4])}")
    folders = _folders(source, images.files, {label for known in labels.values() for label in known}, bool(users))
    ids, found, notes = {}, {}, []
    for name, known in labels.items():
        null = pipeline.unet.null_conditions[name]
        values = [_label(row.get(name), folder, known) for row, folder in zip(rows, folders, strict=True)]
        ids[name] = torch.tensor([null if value is None else known[value] for value in values])
        found[name] = sorted({value for value in values if value is not None})
        without = sum(value is None for value in values)
        if without:
            notes.append(f"{name}: {without} of {len(values)} images have no label that the pipeline knows")
    return images, KnownConditions(ids, found, tuple(notes))


def encode_images(pipeline: Any, images: VariedImages, conditions: dict[str, Tensor]) -> Latents:
    """Standardised latents of images, as the pipeline was trained on; the class ids are all 0."""
    mean, std = latent_statistics(pipeline)
    encoded = encode_pixels(pipeline.vqvae, images.pixels)
    values = (encoded - mean[:, None, None]) / std[:, None, None]
    return Latents(values, torch.zeros(len(values), dtype=torch.int64), conditions)


def pixel_hash(pixels: Tensor) -> str:
    """First 16 digits of the sha256 of an image, uint8 [C, H, W], by which it is known again."""
    return hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()[:16]


def check_not_learned(path: Path, data: SpectrogramData) -> None:
    """Refuse to score generated images with held-out images that an added user was learned from.

    Args:
        path: File of the generated folder, with the hashes of the images that each added user was learned from.
        data: The real images.

    Raises:
        UserError: If a test image is one of them, or the file holds something else.
    """
    learned = read_json_object(path)
    check_record(learned, dict[str, list[str]], str(path))
    hashes = {pixel_hash(pixels): file for pixels, file in zip(data.test.pixels, data.test.files, strict=True)}
    for user, own in learned.items():
        if seen := sorted(hashes.keys() & set(own)):
            raise UserError(
                f"test images must be new to every user, {user} was learned from {len(seen)} of them, such as "
                f"{hashes[seen[0]]}: learn from the training images of the split alone"
            )


def _rows(source: Path, files: tuple[str, ...]) -> list[Mapping[str, Any]]:
    """The row of metadata of each file; {} if there is none."""
    for folder in (source.resolve(), *source.resolve().parents)[:_LEVELS]:
        if metadata_file(folder) is not None:
            rows, _ = read_metadata(folder, {})
            above = source.resolve().relative_to(folder)
            return [(rows or {}).get(composed((PurePosixPath(above) / file).as_posix()), {}) for file in files]
    return [{} for _ in files]


def _folders(source: Path, files: tuple[str, ...], labels: set[str], is_named: bool) -> list[list[str]]:
    """The folders of each file inside the source, which must not look like those of several people."""
    folders = [[composed(part) for part in PurePosixPath(file).parts[:-1]] for file in files]
    others = sorted({part for parts in folders for part in parts if part not in labels})
    if len(others) > 1 and not is_named:
        raise UserError(
            f"DATA must hold images of one person, {source} holds the folders {', '.join(others[:4])}: name one of them"
        )
    return folders


def _label(of_row: Any, folders: list[str], known: Mapping[str, int]) -> str | None:
    """The label of one image: that of its row of metadata, else of a folder that is called like one."""
    if of_row is not None:
        return str(of_row) if str(of_row) in known else None
    return next((part for part in folders if part in known), None)
