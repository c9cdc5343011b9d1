from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from echoform_train.data.colormap import paint
from echoform_train.data.dataset import read_source
from echoform_train.data.name_pattern import NamedFile, NamePattern
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.errors import UserError


def test_a_name_is_read_by_hand():
    pattern = NamePattern("{user}_{condition}_{recording}_Doppler{index}")
    expected = NamedFile(user="ID1", recording="case1_2", index=102, columns={"condition": "case1"})
    assert pattern.read("ID_1/ID1_case1_2_Doppler102.jpg") == expected
    assert pattern.read("ID_1_case1_2_Doppler7.jpg").user == "ID_1"


def test_a_pattern_with_folders_is_compared_with_the_path():
    pattern = NamePattern("{user}/{load}/{recording}-{index}")
    found = pattern.read("anna/bag/3-0012.png")
    assert (found.user, found.recording, found.index, found.columns) == ("anna", "bag_3", 12, {"load": "bag"})


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must name parts"),
        ("ID_1", "must name parts"),
        ("{user}{index}", "must have a text between two fields"),
        ("{user}_{user}", "must hold each field once"),
        ("{User}_{index}", "small letters"),
        ("{split}_{index}", "small letters"),
        ("{user}_{index", "must close each brace"),
    ],
)
def test_patterns_that_say_nothing_clear_are_refused(text, rule):
    with pytest.raises(UserError, match=rule):
        NamePattern(text)


def write(folder, *names):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(paint(rng.integers(0, 256, (32, 32)).astype(np.uint8), "jet")).save(folder / name)


def test_a_flat_folder_is_read_by_its_names(tmp_path):
    write(tmp_path, *(f"ID_{user}_r{r:02d}_{n:03d}.png" for user in (1, 2, 10) for r in (1, 2, 3) for n in range(4)))
    with pytest.raises(UserError, match="it stands at the top; --name-pattern reads users in names"):
        load_spectrograms(tmp_path)
    data = load_spectrograms(tmp_path, name_pattern="{user}_{recording}_{index}")
    assert list(data.id2label.values()) == ["ID_1", "ID_2", "ID_10"]
    assert data.split.method == "by recording"
    assert set(data.train.recordings) <= {"r01", "r02", "r03"}


def test_conditions_and_recordings_stand_in_the_names_of_folders_of_users(tmp_path):
    for user in ("a", "b"):
        write(tmp_path / user, *(f"{load}_{r}_{n}.png" for load in ("bag", "normal") for r in (1, 2) for n in range(4)))
    read = read_source(tmp_path, name_pattern="{condition}_{recording}_{index}")
    assert read.dataset.features["condition"].names == ["bag", "normal"]
    assert set(read.dataset["recording"][:]) == {"bag_1", "bag_2", "normal_1", "normal_2"}


def test_a_name_that_does_not_fit_is_named(tmp_path):
    write(tmp_path, "a_1.png", "a_2.png", "b_1.png", "b2.png")
    with pytest.raises(UserError, match=r"b2\.png: its name does not fit --name-pattern \{user\}_\{index\}"):
        read_source(tmp_path, name_pattern="{user}_{index}")


def test_names_that_can_be_read_in_two_ways_are_refused(tmp_path):
    write(tmp_path, *(f"{user}_{load}_{n}.png" for user in ("a", "b") for load in ("bag", "bag_phone") for n in (1, 2)))
    with pytest.raises(UserError, match=r"can be read in two ways: a_bag_phone_1\.png has more of '_' than a_bag_1"):
        read_source(tmp_path, name_pattern="{user}_{condition}_{index}")
