"""Depth images from files to tensors: exact units, honest range, no neighbours across the split."""

from __future__ import annotations

import logging
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from PIL import Image

from echoform.depth_units import resize_depth
from echoform_train.depth.dataset import DepthData, DepthImages, load_depth
from echoform_train.depth.rooms.config import RoomsConfig
from hub_server import Hub

SIDES = ("train", "validation", "test", "left_out")


def frame(number: int, height: int = 16, width: int = 16) -> np.ndarray:
    """A ramp that differs from frame to frame, 1000..2000 with a hole, uint16."""
    ramp = np.linspace(1000, 1900, height * width).reshape(height, width) + number
    ramp[:3, :4] = 0
    return ramp.astype(np.uint16)


@pytest.fixture
def hands(tmp_path: Path) -> Path:
    """Two classes of 20 frames, of odd sizes."""
    folder = tmp_path / "hands"
    for label, session in (("a", 0), ("b", 1)):
        (folder / label).mkdir(parents=True)
        for number in range(1, 41, 2):
            path = folder / label / f"depth_{session}_{number:04d}.png"
            Image.fromarray(frame(number, 16 + number % 5, 16 + session)).save(path)
    return folder


def by_file(data: DepthData) -> dict[str, torch.Tensor]:
    return {
        file: units
        for side in SIDES
        for images in [getattr(data, side)]
        for file, units in zip(images.files, images.units, strict=True)
    }


def test_images_have_their_units_class_recording_and_side(hands: Path):
    data = load_depth(hands, resolution=16, gap_images=1)
    assert data.id2label == {0: "a", 1: "b"}
    assert sum(len(getattr(data, side)) for side in SIDES) == 40
    assert data.train.units.dtype == torch.uint16 and data.train.units.shape[1:] == (1, 16, 16)
    assert data.train.labels is not None and set(data.train.labels.tolist()) == {0, 1}
    assert set(data.train.recordings) == {"depth_0", "depth_1"}
    for file, units in by_file(data).items():
        stored = np.asarray(Image.open(hands / file)).astype(np.float32)
        expected = resize_depth(torch.from_numpy(stored)[None, None], (16, 16))[0].round()
        assert torch.equal(units.float(), expected), file


def test_images_of_the_right_size_come_bit_for_bit(tmp_path: Path):
    every = np.arange(65536, dtype=np.uint16).reshape(4, 128, 128)
    for number, image in enumerate(every):
        Image.fromarray(image).save(tmp_path / f"x_{number}.png")
    data = load_depth(tmp_path, gap_images=0, depth_range_mm={"min": 0, "max": 65535})
    assert data.train.labels is None and data.id2label == {} and data.out_of_range == 0
    for file, units in by_file(data).items():
        assert np.array_equal(units[0].numpy(), every[int(file[2])])


def test_the_range_is_that_of_the_training_images_with_a_margin(hands: Path, caplog: pytest.LogCaptureFixture):
    late = frame(39)
    late[8, 8], late[9, 9] = 9000, 10
    Image.fromarray(late).save(hands / "a/depth_0_0039.png")
    with caplog.at_level(logging.WARNING):
        data = load_depth(hands, resolution=16, gap_images=1)
    files = [hands / file for file in data.train.files]
    readings = np.concatenate([stored[stored > 0] for file in files if (stored := np.asarray(Image.open(file))).any()])
    low, high = int(readings.min()), int(readings.max())
    margin = 0.1 * (high - low)
    assert data.depth_range_mm == {"min": np.floor(low - margin), "max": np.floor(high + margin)}
    assert data.depth_range == (data.depth_range_mm["min"], data.depth_range_mm["max"])
    assert "a/depth_0_0039.png" in data.test.files
    assert data.out_of_range == 2
    assert "2 readings in 1 of 40 images are not" in caplog.text
    units = by_file(data)["a/depth_0_0039.png"][0].int()
    assert units[8, 8] == units[9, 9] == 0
    assert units.max() < 2000


def test_the_first_half_of_the_frames_trains_and_later_ones_test(hands: Path):
    data = load_depth(hands, resolution=16, gap_images=1, validation_share=0.1, test_share=0.4)
    numbers = {side: sorted(int(file[-8:-4]) for file in getattr(data, side).files) for side in SIDES}
    assert max(numbers["train"]) < min(numbers["validation"]) < max(numbers["validation"]) < min(numbers["test"])
    assert min(numbers["validation"]) - max(numbers["train"]) == 4  # every second frame, one left out
    assert numbers["test"] == sorted([*range(25, 41, 2)] * 2)


def test_units_scale_the_range(hands: Path):
    millimetres, fifths = (load_depth(hands, resolution=16, gap_images=1, units_per_mm=upm) for upm in (1.0, 5.0))
    assert fifths.depth_range_mm["max"] == pytest.approx(millimetres.depth_range_mm["max"] / 5, abs=1)


def test_65535_must_be_explained(hands: Path):
    first = frame(1)
    first[5, 5] = 65535
    Image.fromarray(first).save(hands / "a/depth_0_0001.png")
    with pytest.raises(
        ValueError, match=r"depth_range_mm must be given if readings reach 65535.*name it in invalid_values"
    ):
        load_depth(hands, resolution=16)
    data = load_depth(hands, resolution=16, invalid_values={"65535": "saturated"})
    assert data.depth_range_mm["max"] < 2200
    assert by_file(data)["a/depth_0_0001.png"][0, 5, 5].int() == 0
    assert data.invalid_values == {"0": "no reading", "65535": "saturated"}


def test_the_split_travels_in_its_file(hands: Path, tmp_path: Path):
    split_file = tmp_path / "split.json"
    first = load_depth(hands, resolution=16, gap_images=2)
    first.split.save(split_file)
    second = load_depth(hands, resolution=16, split_file=split_file, gap_images=0, test_share=0.5)
    assert first.split == second.split
    (hands / "a/depth_0_0001.png").unlink()
    with pytest.raises(ValueError, match=r"split\.json cannot be used with .*depth_0_0001\.png"):
        load_depth(hands, resolution=16, split_file=split_file)


def test_bad_files_stop_or_are_listed(hands: Path):
    Image.new("L", (8, 8)).save(hands / "a/depth_0_0003.png")
    (hands / "b/depth_1_0003.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"2 files cannot be used .*depth_0_0003\.png: depth must be 16-bit"):
        load_depth(hands, resolution=16)
    data = load_depth(hands, resolution=16, skip_bad_files=True)
    assert [bad.file for bad in data.skipped] == ["a/depth_0_0003.png", "b/depth_1_0003.png"]
    assert sum(len(getattr(data, side)) for side in SIDES) == 38


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resolution": 0}, "resolution must be at least 1, got 0"),
        ({"depth_range_mm": {"min": 5, "max": 1}}, "0 <= min < max"),
        ({"gap_images": 9}, r"--gap-images 9 \(users are classes here\): every user .*: a has 20 images"),
        ({"rooms": RoomsConfig()}, "rooms are for the source 'rooms'"),
    ],
)
def test_arguments_out_of_range_are_refused(hands: Path, settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        load_depth(hands, **settings)


def test_selected_images_keep_what_is_known_of_them(hands: Path):
    train = load_depth(hands, resolution=16).train
    some = train.select([3, 1])
    assert isinstance(some, DepthImages) and some.files == (train.files[3], train.files[1])
    assert torch.equal(some.units[1], train.units[1])


def table_of(folder: Path) -> Dataset:
    files = sorted(folder.rglob("*.png"))
    features = Features({"image": datasets.Image(), "label": ClassLabel(names=["b", "a"]), "file": Value("string")})
    return Dataset.from_dict(
        {
            "image": [str(file) for file in files],
            "label": [file.parent.name for file in files],
            "file": [file.relative_to(folder).as_posix() for file in files],
        },
        features=features,
    )


def check_same(left: DepthData, right: DepthData) -> None:
    assert (left.split, left.id2label, left.depth_range_mm) == (right.split, right.id2label, right.depth_range_mm)
    for side in SIDES:
        of_left, of_right = getattr(left, side), getattr(right, side)
        assert (of_left.files, of_left.recordings) == (of_right.files, of_right.recordings)
        assert torch.equal(of_left.units, of_right.units) and torch.equal(of_left.labels, of_right.labels)


def test_parquet_and_back_is_bit_for_bit(hands: Path, tmp_path: Path):
    (tmp_path / "parquet").mkdir()
    decoded = table_of(hands).map(lambda row: {"image": row["image"].copy()})  # decoded and encoded again
    decoded.to_parquet(tmp_path / "parquet/train.parquet")
    check_same(load_depth(hands, resolution=16), load_depth(tmp_path / "parquet", resolution=16))


def test_the_hub_and_back_is_bit_for_bit(hands: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("datasets.config.USE_PARQUET_EXPORT", False)
    repo_id = hub.repo_id("hands")
    table_of(hands).push_to_hub(repo_id)
    check_same(load_depth(hands, resolution=16), load_depth(repo_id, resolution=16))


def test_a_data_set_without_classes_brings_its_own_split(hands: Path, tmp_path: Path):
    (tmp_path / "parquet").mkdir()
    table_of(hands).remove_columns("label").map(lambda row: {"image": row["image"].copy()}).to_parquet(
        tmp_path / "parquet/train.parquet"
    )
    first = load_depth(tmp_path / "parquet", resolution=16)
    assert first.train.labels is None and first.id2label == {} and set(first.train.recordings) == {"depth_0", "depth_1"}
    halves = load_depth(hands, resolution=16, gap_images=1, validation_share=0.1, test_share=0.4).split
    halves.save(tmp_path / "parquet/split.json")
    assert load_depth(tmp_path / "parquet", resolution=16).split == halves != first.split


def test_rooms_are_held_out_whole():
    rooms = RoomsConfig(rooms=5, cameras_per_room=1, images_per_camera=2, resolution=16)
    data = load_depth("rooms", rooms=rooms, resolution=16)
    recordings = [set(getattr(data, side).recordings) for side in ("train", "validation", "test")]
    assert all(recordings) and sum(map(len, recordings)) == len(set.union(*recordings)) == 5
    assert data.split.method == "by recording" and data.train.labels is None
    assert data.depth_range_mm == {"min": 300, "max": 5000} and data.out_of_range == 0
    with pytest.raises(ValueError, match="--units-per-mm must be 1, got 5"):
        load_depth("rooms", rooms=rooms, units_per_mm=5)
