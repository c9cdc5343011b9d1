"""Hashes change with everything that a stage depends on, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import torch

from echoform_train.data.spectrograms import Spectrograms
from echoform_train.study.content_hashes import content_hash, folder_hash


def test_the_hash_of_images_changes_with_anything_that_is_known_of_them():
    images = Spectrograms(
        pixels=torch.arange(2 * 16, dtype=torch.uint8).view(2, 1, 4, 4),
        users=torch.tensor([0, 1]),
        conditions={"bag": torch.tensor([1, 0])},
        files=("a.png", "b.png"),
        recordings=("r", None),
        starts_s=(1.5, None),
    )
    pixels = images.pixels.clone()
    pixels[1, 0, 3, 3] += 1
    others = [
        replace(images, pixels=pixels),
        replace(images, users=torch.tensor([1, 0])),
        replace(images, conditions={"bag": torch.tensor([0, 0])}),
        replace(images, files=("a.png", "c.png")),
        replace(images, recordings=("r", "r")),
        replace(images, starts_s=(1.6, None)),
        images.select([1, 0]),
    ]
    assert content_hash(images.select([0, 1])) == content_hash(images)
    assert len({content_hash(each) for each in [images, *others]}) == 8


def test_the_hash_of_a_folder_sees_bytes_and_names_but_no_card(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "weights").write_bytes(b"123")
    first = folder_hash(tmp_path)
    (tmp_path / "README.md").write_text("a card")
    assert folder_hash(tmp_path) == first
    (tmp_path / "unet" / "weights").write_bytes(b"124")
    assert folder_hash(tmp_path) != first
    (tmp_path / "unet" / "weights").write_bytes(b"123")
    (tmp_path / "unet" / "weights").rename(tmp_path / "unet" / "other")
    assert folder_hash(tmp_path) != first
