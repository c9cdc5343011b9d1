"""Local folders and Hub ids are told apart."""

from __future__ import annotations

import pytest

from echoform_train.engine.sources import is_hub_id, parse_hub_id, resolve_source


def test_an_id_may_name_a_revision():
    assert parse_hub_id("someone/walkers") == ("someone/walkers", None)
    assert parse_hub_id("someone/walkers@refs/pr/1") == ("someone/walkers", "refs/pr/1")
    with pytest.raises(ValueError, match="must read user/name or user/name@revision, got walkers"):
        parse_hub_id("walkers")


def test_an_id_of_the_hub_is_told_from_a_path():
    assert is_hub_id("someone/radar-walkers")
    assert not is_hub_id("./walkers") and not is_hub_id("/data/walkers") and not is_hub_id("a/b/c")


def test_a_source_is_the_folder_if_there_is_one_else_the_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_source("someone/walkers@v2") == ("someone/walkers", "v2")
    (tmp_path / "someone" / "walkers").mkdir(parents=True)
    assert resolve_source("someone/walkers") == (tmp_path / "someone" / "walkers").relative_to(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder walkers"):
        resolve_source("walkers")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="must be a folder or a repository on the Hub, file is a file"):
        resolve_source("file")
