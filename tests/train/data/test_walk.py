"""The walker that finds the files of every source: links, loops, hidden files, and names in two Unicode forms."""

import logging
import unicodedata
from pathlib import Path

import pytest

from echoform_train.data.find import find_in_folder
from echoform_train.data.image_config import ImageSourceConfig
from echoform_train.data.images import load_image_data
from echoform_train.data.walk import find_files, path_of_name, walk
from echoform_train.depth.sources import find_depth_source


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in walk(folder)]


def test_files_come_in_natural_order_and_hidden_ones_not_at_all(tmp_path):
    touch(tmp_path, "b/x10.png", "b/x2.png", "a2/1.png", "a10/1.png", ".git/1.png", "b/.x.png", "b/._x2.png")
    assert names(tmp_path) == ["a2/1.png", "a10/1.png", "b/x2.png", "b/x10.png"]


@pytest.mark.parametrize(
    "folder",
    [
        "@eaDir",
        "#recycle",
        "@Recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        ".AppleDouble",
        "__MACOSX",
        "lost+found",
    ],
)
def test_folders_of_network_storage_and_systems_are_no_data(tmp_path, folder):
    touch(tmp_path, "ID_1/1.png", f"ID_1/{folder}/1.png", f"{folder}/ID_1/1.png")
    assert names(tmp_path) == ["ID_1/1.png"]


@pytest.mark.parametrize("file", [".DS_Store", "Thumbs.db", "desktop.ini", "Icon\r"])
def test_files_of_systems_are_no_data(tmp_path, file):
    touch(tmp_path, "ID_1/1.png", f"ID_1/{file}")
    assert names(tmp_path) == ["ID_1/1.png"]


def test_a_linked_folder_outside_is_followed(tmp_path):
    touch(tmp_path / "disk", "box/1.png", "box/2.png")
    touch(tmp_path / "data", "ball/1.png")
    (tmp_path / "data" / "box").symlink_to(tmp_path / "disk" / "box")
    assert names(tmp_path / "data") == ["ball/1.png", "box/1.png", "box/2.png"]


def test_every_source_follows_linked_folders_and_refuses_loops(tmp_path, write_picture):
    for number in range(1, 9):
        write_picture(tmp_path / "data" / "ball" / f"{number}.png")
        write_picture(tmp_path / "disk" / f"{number}.png")
    data = tmp_path / "data"
    (data / "box").symlink_to(tmp_path / "disk")
    expected = [f"{folder}/{number}.png" for folder in ("ball", "box") for number in range(1, 9)]
    assert [image.file for image in find_in_folder(data).images] == expected
    assert [image.file for image in find_depth_source(data).images] == expected
    split = load_image_data(ImageSourceConfig(data=str(data), gap_images=0), None, 0, resolution=8, color="auto").split
    assert sorted([*split.train, *split.validation, *split.test]) == expected
    (data / "box" / "back").symlink_to(data)
    for find in (find_in_folder, find_depth_source):
        with pytest.raises(ValueError, match="into a loop"):
            find(data)


def test_two_links_to_one_folder_give_each_file_once_and_a_warning(tmp_path, caplog):
    touch(tmp_path / "disk", "1.png", "2.png")
    (tmp_path / "data").mkdir()
    for name in ("b", "a"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "disk")
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path / "data") == ["a/1.png", "a/2.png"]
    assert "left out 1 links" in caplog.text and "data/b, which leads to" in caplog.text


def test_a_folder_is_found_under_its_own_name_not_that_of_a_link_to_it(tmp_path):
    touch(tmp_path, "person/1.png")
    (tmp_path / "a_link").symlink_to(tmp_path / "person")
    (tmp_path / "person" / "2.png").symlink_to("1.png")
    assert names(tmp_path) == ["person/1.png"]


def test_a_link_to_a_hidden_store_is_followed(tmp_path):
    touch(tmp_path, ".store/7f/1.png")
    (tmp_path / "ID_1").symlink_to(".store/7f")
    assert names(tmp_path) == ["ID_1/1.png"]


@pytest.mark.parametrize("link", ["a/loop", "a/b/loop"])
@pytest.mark.parametrize("target", [".", "a", ".."])
def test_a_link_to_a_folder_above_is_refused(tmp_path, link, target):
    data = tmp_path / "data"
    touch(data, "a/b/1.png")
    (data / link).symlink_to(data / target)
    with pytest.raises(ValueError, match="link to a folder above it or into a loop"):
        walk(data)


def test_links_that_lead_to_each_other_are_refused(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    with pytest.raises(ValueError, match="into a loop"):
        walk(tmp_path)


def test_a_loop_outside_the_folder_is_refused(tmp_path):
    touch(tmp_path / "disk", "x/1.png")
    (tmp_path / "disk" / "x" / "back").symlink_to(tmp_path / "disk")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").symlink_to(tmp_path / "disk" / "x")
    with pytest.raises(ValueError, match="into a loop"):
        walk(tmp_path / "data")


def test_names_of_files_are_in_the_composed_unicode_form(tmp_path):
    name = "Zoë/é1.png"
    touch(tmp_path, unicodedata.normalize("NFD", name))
    found = find_files(tmp_path, [".png"])
    assert list(found) == [unicodedata.normalize("NFC", name)]
    assert found[unicodedata.normalize("NFC", name)].is_file()


def test_two_files_of_one_name_in_two_unicode_forms_are_refused(tmp_path):
    for form in ("NFC", "NFD"):
        touch(tmp_path, unicodedata.normalize(form, "Zoë") + "/1.png")
    with pytest.raises(ValueError, match=r"differ only in their Unicode form, it holds 'Zoë/1\.png' twice"):
        find_files(tmp_path, [".png"])


def test_a_file_is_found_by_its_name_in_either_unicode_form(tmp_path):
    composed, decomposed = unicodedata.normalize("NFC", "Zo\u00eb.png"), unicodedata.normalize("NFD", "Zo\u00eb.png")
    touch(tmp_path, decomposed)
    assert path_of_name(tmp_path, composed) == path_of_name(tmp_path, decomposed) == tmp_path / decomposed
    assert path_of_name(tmp_path, "other.png") == tmp_path / "other.png"
