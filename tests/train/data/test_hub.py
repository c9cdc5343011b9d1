from __future__ import annotations

import socket

import pytest
import tyro
from datasets import ClassLabel, Dataset, Features, Image, Value, config

from echoform_train.data.config import DataConfig
from echoform_train.data.dataset import load_images
from echoform_train.data.spectrograms import load_spectrograms


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    def refuse(*_: object) -> None:
        raise AssertionError("a test must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(config, "USE_PARQUET_EXPORT", False)


def make_dataset(folder, write_picture, label_column="label", images=4):
    # String order, as imagefolder labels them: ID_10 before ID_2.
    features = Features({"image": Image(), label_column: ClassLabel(names=["ID_1", "ID_10", "ID_2"])})
    paths = [
        write_picture(folder / user / f"walk{user}_t{number * 100:05}.png")
        for user in ("ID_1", "ID_10", "ID_2")
        for number in range(images)
    ]
    table = {
        "image": [str(path) for path in paths],
        label_column: [path.parent.name for path in paths],
        "condition": [("bag", "normal")[number % 2] for number in range(len(paths))],
    }
    return Dataset.from_dict(table, features=Features({**features, "condition": Value("string")}))


def to_parquet(parts, folder):
    folder.mkdir()
    for name, part in parts.items():
        part.to_parquet(folder / f"{name}-00000-of-00001.parquet")


@pytest.mark.parametrize("label_column", ["label", "user"])
def test_a_parquet_data_set_becomes_the_columns_of_a_folder(tmp_path, write_picture, label_column):
    made = make_dataset(tmp_path / "pictures", write_picture, label_column)
    to_parquet({"train": made}, tmp_path / "hub")
    dataset = load_images(str(tmp_path / "hub"))
    assert dataset.features["user"].names == ["ID_1", "ID_2", "ID_10"]
    users = [dataset.features["user"].int2str(user) for user in dataset["user"]]
    for user, file, recording in zip(users, dataset["file"], dataset["recording"], strict=True):
        assert recording == f"walk{user}"
        assert file.startswith(f"walk{user}_t")
    assert dataset["start_s"][:4] == [0.0, 1.0, 2.0, 3.0]
    assert dataset.features["condition"].names == ["bag", "normal"]
    assert "split" not in dataset.features
    assert dataset[0]["image"].size == (32, 32)


def test_splits_of_a_data_set_are_as_given(tmp_path, write_picture):
    parts = {}
    for name in ("train", "validation", "test"):
        part = make_dataset(tmp_path / name, write_picture, "user", 2).remove_columns("condition")
        parts[name] = part.add_column("recording", [name] * len(part))
    to_parquet(parts, tmp_path / "hub")
    data = load_spectrograms(str(tmp_path / "hub"))
    assert data.split.method == "as given"
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 6, 6)
    assert set(data.test.recordings) == {"test"}


def test_a_data_set_without_users_is_refused(tmp_path, write_picture):
    made = make_dataset(tmp_path / "pictures", write_picture).remove_columns("label")
    to_parquet({"train": made}, tmp_path / "hub")
    with pytest.raises(ValueError, match=r"user \(or label\) column, .* has image, condition"):
        load_images(tmp_path / "hub")


def test_data_set_name_is_another_word_for_data():
    assert tyro.cli(DataConfig, args=["--dataset-name", "someone/walkers"]).data == "someone/walkers"


def test_an_id_that_cannot_be_reached_says_so(monkeypatch):
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="nobody/nothing-here is no folder on this machine, and as a data set"):
        load_images("nobody/nothing-here")
