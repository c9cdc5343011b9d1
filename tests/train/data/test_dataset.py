from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import ClassLabel, Image, Value
from PIL import Image as PILImage

from echoform_train.data.dataset import load_images, read_source
from echoform_train.data.layout import natural_key, recording_of


def labels(dataset, column):
    return [dataset.features[column].int2str(value) for value in dataset[column]]


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_names_sort_as_people_count():
    assert sorted(["ID_10", "ID_2", "ID", "id_1"], key=natural_key) == ["ID", "id_1", "ID_2", "ID_10"]


def test_a_timed_name_gives_recording_and_start():
    assert recording_of("user002/room2_t01536.png") == ("room2", 15.36)
    assert recording_of("r03_000.png") == (None, None)


@pytest.mark.parametrize("top", [(), ("train", "validation"), ("train", "val", "test")])
@pytest.mark.parametrize("conditions", [(), ("normal", "bag")])
def test_folders_of_users_conditions_and_splits_become_columns(tmp_path, write_picture, top, conditions):
    for split in top or ("",):
        for user in ("ID_1", "ID_2", "ID_10"):
            for condition in conditions or ("",):
                write_picture(tmp_path / split / user / condition / "walk_t00300.png")
    dataset = load_images(tmp_path)
    assert len(dataset) == max(1, len(top)) * 3 * max(1, len(conditions))
    assert dataset.features["user"].names == ["ID_1", "ID_2", "ID_10"]
    assert isinstance(dataset.features["image"], Image)
    assert set(dataset["recording"]) == {"walk"} and set(dataset["start_s"]) == {3.0}
    for file, user in zip(dataset["file"], labels(dataset, "user"), strict=True):
        assert f"{user}/" in file and (tmp_path / file).is_file()
    assert len(set(dataset["file"])) == len(dataset)
    if conditions:
        assert dataset.features["condition"].names == ["bag", "normal"]
        assert all(c in file for c, file in zip(labels(dataset, "condition"), dataset["file"], strict=True))
    else:
        assert "condition" not in dataset.features
    if top:
        named = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
        assert dataset["split"][:] == [named[file.split("/")[0]] for file in dataset["file"]]
    else:
        assert "split" not in dataset.features


def test_metadata_gives_every_column_and_keeps_the_folder_labels(tmp_path, write_picture):
    rows = []
    for user in ("ID_1", "ID_2"):
        for number in range(4):
            name = write_picture(tmp_path / user / f"r0{number // 2}_{number:03}.png").relative_to(tmp_path).as_posix()
            direction = ("towards", "away")[number % 2]
            rows.append(
                {"file_name": name, "direction": direction, "recording": f"r0{number // 2}", "start_s": number % 2}
                | {"height_m": 1.7, "note": f"free text {user} {number}", "box": [1, 2]}
            )
    write_rows(tmp_path / "metadata.jsonl", rows)
    (tmp_path / "axes.json").write_text(json.dumps({"window_s": 3.0}))
    dataset = load_images(tmp_path)
    assert labels(dataset, "user") == ["ID_1"] * 4 + ["ID_2"] * 4
    assert labels(dataset, "direction") == ["towards", "away"] * 4
    assert dataset["recording"][:4] == ["r00", "r00", "r01", "r01"]
    assert dataset["start_s"][:4] == [0.0, 1.0, 0.0, 1.0]
    assert dataset["height_m"][0] == 1.7
    assert dataset.features["note"] == Value("string")
    assert isinstance(dataset.features["direction"], ClassLabel)
    assert "box" not in dataset.features
    assert read_source(tmp_path).axes == {"window_s": 3.0}


def test_metadata_alone_may_tell_the_user(tmp_path, write_picture):
    names = [write_picture(tmp_path / f"{number}.png").name for number in range(4)]
    write_rows(tmp_path / "metadata.jsonl", [{"file_name": n, "user": f"ID_{i % 2}"} for i, n in enumerate(names)])
    assert labels(load_images(tmp_path), "user") == ["ID_0", "ID_1", "ID_0", "ID_1"]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def save(path, pixels):
    PILImage.fromarray(pixels).save(path)


GREY = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
BAD = {
    "truncated": (truncate, "truncated"),
    "16-bit": (lambda path: save(path, GREY * 60), "8 bits"),
    "alpha": (lambda path: save(path, np.dstack([GREY // 4] * 4).astype(np.uint8)), "alpha"),
    "greyscale": (lambda path: save(path, (GREY // 4).astype(np.uint8)), "greyscale, most are colour"),
    "greyscale as RGB": (lambda path: save(path, np.dstack([GREY // 4] * 3).astype(np.uint8)), "and is greyscale"),
    "another size": (
        lambda path: save(path, np.zeros((16, 32, 3), np.uint8)),
        r"16x32 \(height x width\), most are 32x32",
    ),
    "another colour map": (lambda path: save(path, np.full((32, 32, 3), (68, 1, 84), np.uint8)), "one colour map"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_stops_or_is_skipped_by_name(two_users, kind):
    spoil, rule = BAD[kind]
    spoil(two_users / "ID_2" / "3.png")
    with pytest.raises(ValueError, match=rf"1 file cannot be used .*ID_2/3\.png: .*{rule}"):
        load_images(two_users)
    read = read_source(two_users, skip_bad_files=True)
    assert [bad.file for bad in read.skipped] == ["ID_2/3.png"]
    assert len(read.dataset) == 19 and "ID_2/3.png" not in read.dataset["file"]


def test_greyscale_among_photographs_is_refused_by_name(tmp_path):
    rng = np.random.default_rng(0)
    for user in ("a", "b"):
        (tmp_path / user).mkdir()
        for number in range(5):
            save(tmp_path / user / f"{number}.png", rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    save(tmp_path / "b" / "5.png", np.full((16, 16, 3), 7, np.uint8))
    with pytest.raises(ValueError, match=r"b/5\.png: .*greyscale, most are colour"):
        load_images(tmp_path)


def test_an_image_outside_a_users_folder_stops_or_is_skipped(two_users, write_picture):
    write_picture(two_users / "stray.png")
    write_picture(two_users / "ID_1" / "bag" / "morning" / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png: .*stands deeper; stray\.png: .*stands at the top"):
        load_images(two_users)
    assert len(load_images(two_users, skip_bad_files=True)) == 20


def test_an_image_without_the_condition_of_the_others_stops_or_is_skipped(tmp_path, write_picture):
    for user in ("ID_1", "ID_2"):
        for number in range(3):
            write_picture(tmp_path / user / "bag" / f"{number}.png")
    write_picture(tmp_path / "ID_1" / "loose.png")
    with pytest.raises(ValueError, match=r"ID_1/loose\.png: every image must have a condition"):
        load_images(tmp_path)
    assert len(load_images(tmp_path, skip_bad_files=True)) == 6


def test_an_empty_folder_stops_or_is_skipped_by_name(two_users):
    (two_users / "ID_3").mkdir()
    with pytest.raises(ValueError, match=r"ID_3/: a user's folder must hold images, it is empty"):
        load_images(two_users)
    assert [bad.file for bad in read_source(two_users, skip_bad_files=True).skipped] == ["ID_3/"]


def test_a_folder_without_images_is_refused_by_name(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(ValueError, match=rf"must hold images .*{tmp_path} holds none"):
        load_images(tmp_path)


def test_a_single_user_is_refused_by_name(tmp_path, write_picture):
    write_picture(tmp_path / "ID_7" / "a.png")
    with pytest.raises(ValueError, match=r"at least 2 users, .* holds only ID_7 \(for example ID_7/a\.png\)"):
        load_images(tmp_path, skip_bad_files=True)


def test_two_users_that_differ_only_in_case_are_refused_by_name(tmp_path, write_picture):
    for user in ("Anna", "anna", "Bert"):
        write_picture(tmp_path / user / "x.png")
    with pytest.raises(ValueError, match=r"only in case: Anna \(Anna/x\.png\) and anna \(anna/x\.png\)"):
        load_images(tmp_path, skip_bad_files=True)


def test_split_folders_beside_user_folders_are_refused(two_users, write_picture):
    write_picture(two_users / "train" / "ID_1" / "x.png")
    with pytest.raises(ValueError, match="holds train beside ID_1, ID_2"):
        load_images(two_users)


def test_metadata_that_does_not_fit_the_images_is_refused_by_name(two_users):
    rows = [{"file_name": f"ID_{user}/{number}.png"} for user in (1, 2) for number in range(10)]
    write_rows(two_users / "metadata.jsonl", [*rows[1:], {"file_name": "ID_1/99.png"}])
    with pytest.raises(ValueError, match=r"ID_1/0\.png: each image must have a row.*ID_1/99\.png: .*does not exist"):
        load_images(two_users)
    assert len(load_images(two_users, skip_bad_files=True)) == 19


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('{"file_name": "a.png"', "must be JSON"),
        ('{"user": "ID_1"}', "must be a text"),
        ('{"file_name": "ID_1/0.png", "start_s": "soon"}', "must be a number of seconds, got 'soon'"),
        ('{"file_name": "ID_1/0.png"}\n{"file_name": "ID_1/0.png"}', r"ID_1/0\.png has two"),
    ],
)
def test_malformed_metadata_is_refused_by_file_and_line(two_users, line, rule):
    (two_users / "metadata.jsonl").write_text(line)
    with pytest.raises(ValueError, match=rf"line \d of .*metadata\.jsonl.*{rule}"):
        load_images(two_users)


def test_metadata_and_axes_in_another_form_are_refused(two_users):
    (two_users / "axes.json").write_text('{"window_s": "3 s"}')
    with pytest.raises(ValueError, match=r"axes\.json must map names to plain numbers"):
        load_images(two_users)
    (two_users / "axes.json").unlink()
    (two_users / "metadata.csv").write_text("file,user")
    with pytest.raises(ValueError, match=r"must have a row in metadata\.csv"):
        load_images(two_users)


def test_a_source_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_images(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        load_images(tmp_path / "file")
