"""Hashes of images and folders, used to detect that the inputs of a stage have changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from echoform_train.data.layout import SPLITS
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms


def content_hash(images: Spectrograms) -> str:
    """sha256, in hex, of the pixels and all metadata of the images."""
    digest = hashlib.sha256()
    tensors = {"pixels": images.pixels, "users": images.users, **dict(sorted(images.conditions.items()))}
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    found = [] if images.starts_windows is None else [images.starts_windows]
    digest.update(json.dumps([images.files, images.recordings, images.starts_s, *found]).encode())
    return digest.hexdigest()


def split_hashes(data: SpectrogramData) -> list[str]:
    """The `content_hash` of the training, validation and test images."""
    return [content_hash(getattr(data, split)) for split in SPLITS]


def folder_hash(folder: Path) -> str:
    """sha256, in hex, of the names and bytes of the files in a folder, without hidden files and Markdown."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and path.suffix != ".md" and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
    return digest.hexdigest()
