"""Depth images keep all 16 bits on their way through the Hub."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, load_dataset
from huggingface_hub import DatasetCard
from PIL import Image

from echoform_train.data.hub import published_split
from echoform_train.depth.dataset import load_depth
from echoform_train.depth.publish import publish_depth


def units_of(seed: int) -> np.ndarray:
    """Values all over 16 bits, with holes."""
    units = np.random.default_rng(seed).integers(256, 65535, (24, 40)).astype(np.uint16)
    units[:4, :4] = 0
    return units


@pytest.fixture
def hands(tmp_path):
    """Two classes with two recordings of 24 frames; one class as big-endian TIFF."""
    folder = tmp_path / "hands"
    for letter, suffix, dtype in (("a", "png", "<u2"), ("b", "tif", ">u2")):
        (folder / letter).mkdir(parents=True)
        for recording in range(2):
            for frame in range(24):
                units = units_of(1000 * ord(letter) + 100 * recording + frame)
                path = folder / letter / f"depth_{recording}_{frame:04d}.{suffix}"
                mode = "I;16B" if dtype == ">u2" else "I;16"
                Image.frombytes(mode, units.shape[::-1], units.astype(dtype).tobytes()).save(path)
    return folder


def test_every_value_of_16_bits_survives_and_the_loader_gives_the_same(hands, hub):
    local, repo = load_depth(hands, resolution=16, depth_range_mm={"min": 1, "max": 65535}), hub.repo_id("hands")
    publish_depth(local, repo, license="cc0-1.0", max_shard_bytes=40_000)
    loaded = load_dataset(repo)
    assert isinstance(loaded, DatasetDict)
    for part in loaded.values():
        assert isinstance(part, Dataset)
        for row in part:
            assert isinstance(row, dict)
            pixels = np.asarray(row["image"])
            assert row["image"].mode.startswith("I;16")
            assert np.array_equal(pixels, np.asarray(Image.open(hands / row["file"])))
    there = load_depth(repo, resolution=16, depth_range_mm={"min": 1, "max": 65535})
    assert there.id2label == local.id2label == {0: "a", 1: "b"}
    assert there.split == local.split
    for side in ("train", "validation", "test", "left_out"):
        ours, theirs = getattr(local, side), getattr(there, side)
        assert torch.equal(ours.units.to(torch.int32), theirs.units.to(torch.int32))
        assert torch.equal(ours.labels, theirs.labels)
        assert (ours.files, ours.recordings) == (theirs.files, theirs.recordings)


def test_the_bytes_of_the_files_are_those_that_were_there(hands, hub):
    repo = hub.repo_id("bytes")
    publish_depth(load_depth(hands, resolution=8, depth_range_mm={"min": 1, "max": 65535}), repo)
    before = hub.commits(repo, kind="datasets")
    publish_depth(load_depth(hands, resolution=16, depth_range_mm={"min": 1, "max": 65535}), repo)
    assert hub.commits(repo, kind="datasets") == before
    stored = [content for path, content in hub.files(repo, kind="datasets").items() if path.endswith(".parquet")]
    for path in hands.rglob("*.*"):
        assert any(path.read_bytes() in content for content in stored)


def test_the_card_tells_of_16_bits_and_the_published_split_is_found(hands, hub):
    repo = hub.repo_id("card")
    local = load_depth(hands, resolution=8, units_per_mm=5, depth_range_mm={"min": 1, "max": 13000})
    publish_depth(local, repo)
    text = hub.files(repo, kind="datasets")["README.md"].decode()
    DatasetCard(text).validate()
    counts = [int((getattr(local, side).labels == 1).sum()) for side in ("train", "validation", "test", "left_out")]
    assert f"| b | {' | '.join(map(str, counts))} |" in text
    assert "16 bits" in text and "5 units per millimetre" in text and "5 to 65000 units" in text
    assert "gait" not in text
    split_file = published_split(repo)
    assert split_file is not None
    again = load_depth(
        repo, split_file=split_file, resolution=8, units_per_mm=5, depth_range_mm={"min": 1, "max": 13000}
    )
    assert again.split == local.split
    assert published_split(hands) is None


def test_images_without_classes_go_and_come_without(tmp_path, hub):
    for frame in range(40):
        Image.fromarray(units_of(frame)).save(tmp_path / f"walk_{frame:03d}.png")
    local, repo = load_depth(tmp_path, resolution=8, depth_range_mm={"min": 1, "max": 65535}), hub.repo_id("flat")
    publish_depth(local, repo)
    there = load_depth(repo, resolution=8, depth_range_mm={"min": 1, "max": 65535})
    assert there.test.labels is None and there.split == local.split
    assert torch.equal(there.test.units.to(torch.int32), local.test.units.to(torch.int32))
