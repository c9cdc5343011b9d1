import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from echoform_train.data.image_config import Color, ImageSourceConfig
from echoform_train.data.images import load_image_data
from tiny_conv import write_pictures


def load(source, split_file=None, resolution=8, color: Color = "auto", **settings: Any):
    config = ImageSourceConfig(data=str(source), **settings)
    return load_image_data(config, split_file, 0, resolution=resolution, color=color)


def parts(data):
    return {side: getattr(data, side).files for side in ("train", "validation", "test", "left_out")}


def test_every_picture_stands_on_one_side_and_its_pixels_are_those_of_its_file(tmp_path):
    write_pictures(tmp_path / "data", side=8)
    data = load(tmp_path / "data")
    files = [file for side in parts(data).values() for file in side]
    assert sorted(files) == sorted(f"{'ab'[n % 2]}/{n:03d}.png" for n in range(40))
    assert len(data.left_out) == 8  # two at each of two cuts through two folders
    for images in (data.train, data.validation, data.test):
        assert len(images) == len(images.pixels) > 0
        for file, pixels in zip(images.files, images.pixels, strict=True):
            with Image.open(tmp_path / "data" / file) as picture:
                assert np.array_equal(pixels.permute(1, 2, 0), np.asarray(picture))


def test_sizes_may_differ_and_are_cut_about_the_centre(tmp_path):
    for number in range(12):
        pixels = np.zeros((20 + number, 60, 3), np.uint8)
        pixels[:, 12:48] = (10, 20, 30)  # more than the square about the centre
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    data = load(tmp_path, resolution=16)
    colour = torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None]
    assert all(torch.equal(pixels, colour.expand(3, 16, 16)) for pixels in data.train.pixels)


def test_grey_files_stay_grey_unless_something_else_is_asked_for(tmp_path):
    write_pictures(tmp_path / "grey", channels=1, side=8)
    grey, rgb = load(tmp_path / "grey").train.pixels, load(tmp_path / "grey", color="rgb").train.pixels
    assert grey.shape[1:] == (1, 8, 8)
    assert torch.equal(rgb, grey.expand(-1, 3, -1, -1))
    write_pictures(tmp_path / "rgb", side=8)
    luminance = load(tmp_path / "rgb", color="grey")
    with Image.open(tmp_path / "rgb" / luminance.train.files[0]) as picture:
        red, green, blue = np.asarray(picture).astype(float).transpose(2, 0, 1)
    by_hand = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R 601
    assert np.abs(luminance.train.pixels[0, 0].numpy() - by_hand).max() <= 1
    write_pictures(tmp_path / "mixed", side=8)
    Image.fromarray(np.full((8, 8), 9, np.uint8)).save(tmp_path / "mixed" / "a" / "000.png")
    mixed = load(tmp_path / "mixed")
    assert (mixed.train.pixels[mixed.train.files.index("a/000.png")] == 9).all()


def test_windows_of_one_recording_never_stand_on_two_sides(walkers, tmp_path):
    data = load(walkers)
    rows = [json.loads(line) for line in (walkers / "metadata.jsonl").read_text().splitlines()]
    recording_of = {row["file_name"]: row["recording"] for row in rows}
    recordings = {side: {recording_of[file] for file in files} for side, files in parts(data).items()}
    assert data.split.method == "by recording"
    assert sum(map(len, recordings.values())) == len(set().union(*recordings.values())) == 12
    timed = tmp_path / "timed"
    timed.mkdir()
    for file in (walkers / "ID_1").iterdir():
        recording, number = file.stem.split("_")
        shutil.copyfile(file, timed / f"{recording}_t{100 * int(number):04d}.png")
    sides = parts(load(timed))
    by_name = {side: {file.partition("_t")[0] for file in files} for side, files in sides.items()}
    assert sum(map(len, by_name.values())) == len(set().union(*by_name.values())) == 4


def test_a_split_is_written_once_and_then_used_and_that_of_other_trainings_fits(walkers, first_stage, tmp_path):
    first = load(walkers)
    first.split.save(tmp_path / "split.json")
    assert parts(load(walkers, tmp_path / "split.json")) == parts(first)
    theirs = load(walkers, first_stage / "split.json")
    known = json.loads((first_stage / "split.json").read_text())
    assert parts(theirs) == {side: tuple(known[side]) for side in parts(theirs)}
    with pytest.raises(ValueError, match=r"split\.json cannot be used with .*: a split must fit the images"):
        write_pictures(tmp_path / "others")
        load(tmp_path / "others", tmp_path / "split.json")


def test_folders_of_parts_are_these_parts(tmp_path):
    for side, count in (("train", 6), ("val", 2), ("test", 3)):
        write_pictures(tmp_path / "data" / side, count=count, side=8)
    data = load(tmp_path / "data")
    assert (len(data.train), len(data.validation), len(data.test), data.split.method) == (6, 2, 3, "as given")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "data" / "stray.png")
    with pytest.raises(ValueError, match=r"must stand alone, .* holds test, train, val beside images at the top"):
        load(tmp_path / "data")


def test_files_that_cannot_be_used_are_named_or_left_out(tmp_path):
    write_pictures(tmp_path, side=8)
    (tmp_path / "a" / "000.png").write_bytes(b"torn")
    Image.new("RGBA", (8, 8)).save(tmp_path / "b" / "001.png")
    with pytest.raises(
        ValueError, match=r"2 files cannot be used .*a/000\.png: cannot be decoded.*b/001\.png: .*alpha"
    ):
        load(tmp_path)
    data = load(tmp_path, skip_bad_files=True)
    assert [bad.file for bad in data.skipped] == ["a/000.png", "b/001.png"]
    assert not {"a/000.png", "b/001.png"} & set(data.split.train)


def test_a_source_without_pictures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load(tmp_path / "none" / "such" / "place")
    with pytest.raises(ValueError, match=r"must hold images .* holds none"):
        load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        load(tmp_path / "file")
    with pytest.raises(ValueError, match="resolution must be at least 2, got 1"):
        load(tmp_path, resolution=1)
