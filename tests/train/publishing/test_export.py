"""The split of a training is written by its main process alone, and never over another split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from echoform_train.data.split import Split
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.run import Run
from echoform_train.publishing.export import keep_split


@dataclass
class Process:
    """What keep_split sees of a run: one process of a job, and the folder that all of them share."""

    config: SimpleNamespace
    is_main: bool


def split_of(*train: str) -> Split:
    return Split(train=train, validation=("v",), test=("t",), left_out=(), method="as given", gap_windows=2, seed=0)


def process(folder: Path, *, is_main: bool) -> Run:
    return cast("Run", Process(config=SimpleNamespace(output_dir=folder), is_main=is_main))


def test_only_the_main_process_writes_the_split_and_leaves_no_temporary_file(tmp_path):
    keep_split(process(tmp_path, is_main=False), split_of("a", "b"))
    assert list(tmp_path.iterdir()) == []
    keep_split(process(tmp_path, is_main=True), split_of("a", "b"))
    assert [path.name for path in tmp_path.iterdir()] == ["split.json"]
    assert read_json_object(tmp_path / "split.json")["train"] == ["a", "b"]


@pytest.mark.parametrize("is_main", [True, False])
def test_every_process_refuses_a_folder_with_another_split(tmp_path, is_main):
    keep_split(process(tmp_path, is_main=True), split_of("a", "b"))
    with pytest.raises(ValueError, match=r"split\.json"):
        keep_split(process(tmp_path, is_main=is_main), split_of("a", "c"))
    assert read_json_object(tmp_path / "split.json")["train"] == ["a", "b"]
