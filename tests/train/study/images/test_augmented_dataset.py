"""The data set on disk, read back by `datasets` and by our own loader."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from echoform_train.data.publish import publish_dataset
from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.images.augmented_dataset import file_names, images_to_add, write_dataset


@pytest.fixture(scope="module")
def data(walkers) -> SpectrogramData:
    return load_spectrograms(walkers)


@pytest.fixture(scope="module")
def generated(data) -> Sample:
    """Two images of each user, which are real ones upside down."""
    indices = [int((data.train.users == user).nonzero()[k]) for user in data.id2label for k in range(2)]
    return data.train.pixels[indices].flip(2), data.train.users[indices]


def real_rows(data: SpectrogramData) -> dict[str, list[dict[str, Any]]]:
    row = {"seed": -1, "image_seed": -1, "agreement": 0.9, "plausible": 1}
    return {split: [row] * len(getattr(data, split)) for split in ("train", "validation", "test")}


def rows_of(data: SpectrogramData, count: int) -> list[dict[str, Any]]:
    conditions = {name: labels[0] for name, labels in data.condition_labels.items()}
    return [
        {"seed": 7, "image_seed": 1000 + k, "agreement": k / 10, "plausible": int(k > 0), **conditions}
        for k in range(count)
    ]


@pytest.fixture(scope="module")
def written(data, generated, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("augmented") / "dataset"
    write_dataset(data, real_rows(data), generated, rows_of(data, 6), folder)
    return folder


def test_our_loader_gets_the_split_of_the_study_and_every_pixel_back(data, generated, written):
    back = load_spectrograms(written)
    assert back.split.method == "as given"
    assert back.colormap == data.colormap and back.axes == data.axes and back.id2label == data.id2label
    for split in ("validation", "test"):
        ours, theirs = getattr(back, split), getattr(data, split)
        assert len(ours) == len(theirs)
        order = [ours.files.index(f"{split}/{name}") for name in file_names(theirs, data.id2label)]
        assert torch.equal(ours.pixels[order], theirs.pixels)
        assert torch.equal(ours.users[order], theirs.users)
        chosen = ours.select(order)
        assert (chosen.recordings, chosen.starts_s) == (theirs.recordings, theirs.starts_s)
    assert len(back.train) == len(data.train) + 6
    made = [index for index, file in enumerate(back.train.files) if "generated" in file]
    assert torch.equal(back.train.pixels[made], generated[0]) and torch.equal(back.train.users[made], generated[1])


def test_load_dataset_sees_the_same_parts_and_what_is_known_of_each_image(data, written):
    loaded = datasets.load_dataset(str(written))
    assert {name: len(part) for name, part in loaded.items()} == {
        "train": len(data.train) + 6,
        "validation": len(data.validation),
        "test": len(data.test),
    }
    train = loaded["train"]
    made = train.filter(lambda origin: origin == "generated", input_columns="origin")
    assert len(made) == 6
    assert sorted(made["image_seed"]) == [1000, 1001, 1002, 1003, 1004, 1005]
    assert set(made["agreement"]) == {k / 10 for k in range(6)} and set(made["seed"]) == {7}
    assert set(loaded["test"]["origin"]) == {"real"} and set(loaded["test"]["agreement"]) == {0.9}
    assert made[0]["image"].size == (32, 32)


def test_it_can_be_published_and_trains_as_the_folder_does(written, hub):
    repo = hub.repo_id("augmented")
    publish_dataset(written, repo, people="simulated")
    back, here = load_spectrograms(repo), load_spectrograms(written)
    assert sorted(back.split.test) == sorted(here.split.test)
    assert torch.equal(back.test.pixels.sum(0), here.test.pixels.sum(0))
    assert "`generated` 6" in hub.files(repo, kind="datasets")["README.md"].decode()


def test_images_in_the_gaps_of_a_split_are_not_in_it(data, generated, tmp_path):
    parted = replace(data, left_out=data.validation, validation=data.validation.select([0]))
    counts = write_dataset(parted, real_rows(parted), generated, rows_of(data, 6), tmp_path / "set")
    assert counts["validation"] == {"real": 1, "generated": 0}
    for split, count in {"train": len(data.train) + 6, "validation": 1, "test": len(data.test)}.items():
        lines = (tmp_path / "set" / split / "metadata.jsonl").read_text().splitlines()
        assert len(lines) == count
        assert all((tmp_path / "set" / split / json.loads(line)["file_name"]).is_file() for line in lines)


def test_a_name_keeps_recording_and_start_and_is_used_once(data):
    files = ("train/ID_1/walk_t0050.jpg", "ID_1/bag/walk_t0050.png", "ID_1/walk_t0050.png", "000003")
    images = replace(data.train.select(range(4)), files=files, users=torch.zeros(4, dtype=torch.int64))
    assert file_names(images, {0: "ID_1"}) == [
        "ID_1/walk_t0050.png",
        "ID_1/bag/walk_t0050.png",
        "ID_1/walk_t0050.png.png",
        "ID_1/000003.png",
    ]


def test_rows_must_be_as_many_as_images_and_of_the_same_columns(data, generated, tmp_path):
    def refused(rows: list[dict[str, Any]], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            write_dataset(data, real_rows(data), generated, rows, tmp_path / "set")

    rows = rows_of(data, 6)
    refused(rows[:5], "got 5 rows for 6 images of generated")
    refused([{name: value for name, value in row.items() if name != "direction"} for row in rows], "the same columns")
    refused([row | {"agreement": None} for row in rows], "the same columns")
    refused([row | {"origin": "real"} for row in rows], "additional columns must not be named .*, got origin")
    assert not list(tmp_path.iterdir())


def test_a_write_that_was_interrupted_is_made_anew(data, generated, tmp_path):
    partial = tmp_path / ".set.partial"
    partial.mkdir()
    (partial / "stray.png").write_text("of an attempt that was killed")
    write_dataset(data, real_rows(data), generated, rows_of(data, 6), tmp_path / "set")
    assert not partial.exists() and not list((tmp_path / "set").rglob("stray.png"))


def test_balancing_fills_up_and_takes_nothing_away():
    users = torch.tensor([0, 0, 0, 1, 2, 2])
    assert images_to_add(users, 4, per_user=None, balance_to=2) == {0: 0, 1: 1, 2: 0, 3: 2}
    assert images_to_add(users, 4, per_user=5, balance_to=None) == {0: 5, 1: 5, 2: 5, 3: 5}


@pytest.mark.parametrize("asked", [{"per_user": 0}, {"balance_to": 0}, {"per_user": 1, "balance_to": 1}, {}])
def test_numbers_that_add_nothing_or_both_are_refused(asked):
    with pytest.raises(ValueError, match="must be"):
        images_to_add(torch.tensor([0]), 1, **({"per_user": None, "balance_to": None} | asked))
