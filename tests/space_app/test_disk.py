"""The folder of visitors' files: what is deleted, and when."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def disk(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """At most 1000 bytes and five files."""
    loaded = module("disk")
    monkeypatch.setattr(loaded, "MAX_BYTES", 1000)
    monkeypatch.setattr(loaded, "MAX_FILES", 5)
    return loaded.Disk(tmp_path)


def written(disk: Any, name: str, size: int = 100, age_s: float = 0) -> Path:
    path = disk.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))
    changed = time.time() - age_s
    os.utime(path, (changed, changed))
    return path


def test_the_oldest_files_make_room_for_new_ones(disk: Any):
    old, older, young = (written(disk, f"{age}/a", 400, age) for age in (100, 200, 1))
    assert disk.make_room(150)
    assert not older.exists() and old.exists() and young.exists()


def test_there_is_no_room_while_all_files_are_young(disk: Any):
    young = [written(disk, f"{index}/a", 400) for index in range(2)]
    assert not disk.make_room(300)
    assert all(path.exists() for path in young)


def test_many_small_files_are_too_many(disk: Any):
    files = [written(disk, f"{index}/a", 1, 100 + index) for index in range(8)]
    assert disk.make_room()
    assert [path.exists() for path in files] == [True] * 5 + [False] * 3


def test_examples_stay_and_do_not_count(disk: Any):
    example = written(disk, "example/a", 5000, 10**6)
    disk.keep_present_files()
    assert disk.make_room(900) and example.exists()


def test_what_an_interrupted_upload_left_is_deleted_by_its_age(disk: Any):
    left, running = written(disk, "tmpabc", 10, 400), written(disk, "tmpdef", 10, 100)
    done, lost = written(disk, "hash/a", 10, 400), written(disk, "other/a", 10, 5000)
    disk.make_room()
    assert not left.exists() and running.exists() and done.exists() and not lost.exists()


def test_the_app_deletes_only_in_a_folder_of_its_own(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    other = tmp_path / "of another app"
    other.write_bytes(b"x")
    os.utime(other, (0, 0))
    disk = module("disk").Disk()
    disk.make_room()
    assert Path(os.environ["GRADIO_TEMP_DIR"]) == disk.folder and disk.folder.parent == tmp_path
    disk.remove()
    assert other.exists() and not disk.folder.exists()
