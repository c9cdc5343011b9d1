from __future__ import annotations

import json
from pathlib import Path

import pytest

from echoform_train.engine.output_folders import continue_folder, differences, final_folder, new_folder, record_of


def test_a_folder_goes_on_with_equal_settings_and_refuses_others_by_flag_and_values(tmp_path):
    settings = {"--guidance-scale": 1.0, "--users": ("ID_1", "ID_2"), "--pipeline": "a" * 64}
    continue_folder(tmp_path / "out", settings, "--output-dir")
    (tmp_path / "out" / "image.png").write_text("")
    continue_folder(tmp_path / "out", settings, "--output-dir")
    with pytest.raises(ValueError, match=r"--guidance-scale was 1.0, is now 2.5; choose another --output-dir"):
        continue_folder(tmp_path / "out", settings | {"--guidance-scale": 2.5}, "--output-dir")
    with pytest.raises(ValueError, match=r"--pipeline changed; choose"):
        continue_folder(tmp_path / "out", settings | {"--pipeline": "b" * 64}, "--output-dir")
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["--guidance-scale"] == 1.0


def test_a_setting_that_only_one_of_two_records_knows_is_a_difference():
    assert differences({"a": 1}, {"a": 1, "b": 2}) == "b was not recorded, is now 2"
    assert differences({"a": 1, "b": 2}, {"a": 1}) == "b was 2, is now not recorded"


def test_nested_and_long_settings_are_compared_whole():
    many = list(range(100))
    record = record_of({"study": {"seeds": (1, 2), "sizes": {5: 1}}, "many": many})
    assert record.keys() == {"study.seeds", "study.sizes.5", "many"}
    assert not differences(record, record_of({"study": {"seeds": [1, 2], "sizes": {5: 1}}, "many": many}))
    assert differences(record, record_of({"study": {"seeds": [1, 2], "sizes": {5: 1}}, "many": many[:-1]}))


@pytest.mark.parametrize("name", ["photo.jpg", "metadata.jsonl", ".git"])
def test_a_folder_of_somebody_else_is_neither_continued_nor_filled(tmp_path, name):
    (tmp_path / name).write_text("mine")
    for begin in (lambda: continue_folder(tmp_path, {}, "--output-dir"), lambda: fill(tmp_path)):
        with pytest.raises(ValueError, match=f"--output-dir must be a new or an empty folder, .* holds {name}"):
            begin()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def fill(folder: Path, fail: bool = False) -> None:
    with new_folder(folder, "--output-dir") as partial:
        (partial / "ID_1").mkdir()
        (partial / "ID_1" / "a.png").write_text("a")
        (partial / "metadata.jsonl").write_text("{}")
        if fail:
            raise KeyboardInterrupt


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_folder_is_complete_or_as_it_was(tmp_path, exists):
    folder = tmp_path / "parent" / "out"
    if exists:
        folder.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        fill(folder, fail=True)
    assert folder.exists() == exists
    assert not list(tmp_path.rglob("*.png"))
    fill(folder)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == [
        "ID_1", "ID_1/a.png", "metadata.jsonl",
    ]  # fmt: skip
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


def test_a_killed_attempt_leaves_nothing_that_is_in_the_way(tmp_path):
    (tmp_path / "out" / ".partial" / "old").mkdir(parents=True)
    fill(tmp_path / "out")
    assert not (tmp_path / "out" / ".partial").exists() and not (tmp_path / "out" / "old").exists()


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match=r"--output-dir must be a folder, .*out is a file"):
        fill(tmp_path / "out")


def test_messages_name_the_folder_that_a_new_one_becomes(tmp_path: Path):
    with new_folder(tmp_path / "out", "--output-dir") as partial:
        assert partial != tmp_path / "out" and final_folder(partial) == tmp_path / "out"
    (tmp_path / "there").mkdir()
    with new_folder(tmp_path / "there", "--output-dir") as partial:
        assert final_folder(partial) == tmp_path / "there"
    assert final_folder(tmp_path / "there") == tmp_path / "there"
