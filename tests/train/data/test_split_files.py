"""Split files: strict reading, writing without loss, and comparison with the split of a model."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from echoform_train.data.split import Split
from echoform_train.data.split_files import check_split_of_model, difference, split_to_read, write_split
from echoform_train.engine.errors import UserError

SPLIT = Split(
    train=("a.png", "b.png"),
    validation=("c.png",),
    test=("d.png",),
    left_out=(),
    method="as given",
    gap_windows=2,
    seed=0,
)
MOVED = replace(SPLIT, train=("a.png",), validation=("b.png", "c.png"))


def content() -> dict[str, Any]:
    return {"train": ["a"], "validation": ["b"], "test": ["c"], "left_out": [], "how": "as given"} | {
        "gap_windows": 2,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"validation": []}, "has none for validation"),
        ({"train": [], "test": []}, "has none for train, test"),
        ({"train": "a"}, "must have a list of images for train"),
        ({"train": None}, "must have a list of images for train"),
        ({"train": [1]}, "must be a text, got 1"),
        ({"train": [["a"]]}, "must be a text"),
        ({"train": ["a", "a"]}, "a stands on two"),
        ({"test": ["a"]}, "a stands on two"),
        ({"train": ["../a"]}, "without .."),
        ({"train": ["/etc/passwd"]}, "relative path"),
        ({"train": ["a\n"]}, "no control characters"),
        ({"train": ["./a"]}, "by their paths inside the source"),
        ({"how": "at random"}, "must have a how among"),
        ({"how": ["as given"]}, "must have a how among"),
        ({"gap_windows": -1}, "whole gap_windows in 0"),
        ({"gap_windows": True}, "whole gap_windows"),
        ({"seed": 0.5}, "a whole seed"),
        ({"seed": None}, "a whole seed"),
        ({"extra": 1}, "must be a split with"),
    ],
)
def test_a_file_with_anything_but_a_split_is_refused_with_its_rule(tmp_path: Path, change: dict[str, Any], rule: str):
    path = tmp_path / "split.json"
    path.write_text(json.dumps(content()))
    assert Split.load(path).train == ("a",)
    path.write_text(json.dumps(content() | change))
    with pytest.raises(UserError, match=rf"split\.json.*{rule}"):
        Split.load(path)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(UserError, match=f"{name} must be a regular file"):
            Split.load(tmp_path / name)
    (tmp_path / "deep").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested deeper"):
        Split.load(tmp_path / "deep")


def test_the_hash_depends_on_names_and_sides_alone():
    assert replace(SPLIT, train=SPLIT.train[::-1], seed=7, method="by recording").sha256 == SPLIT.sha256
    assert replace(SPLIT, train=("a.png",), left_out=("b.png",)).sha256 != SPLIT.sha256
    assert MOVED.sha256 != SPLIT.sha256


def test_a_file_with_another_split_is_never_overwritten(tmp_path: Path):
    path = tmp_path / "new" / "split.json"
    write_split(SPLIT, path)
    before = path.stat().st_mtime_ns
    write_split(SPLIT, path)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"holds another split .*: 1 of 4 images on another side, such as b\.png"):
        write_split(MOVED, path)
    assert Split.load(path) == SPLIT
    assert split_to_read(None, path.parent) == path
    assert split_to_read(Path("other"), path.parent) == Path("other")
    assert split_to_read(None, tmp_path) is None


def test_a_difference_counts_moved_missing_and_new_images():
    assert difference(SPLIT, SPLIT) == ""
    other = replace(MOVED, test=("e.png", "f.png"))
    assert (
        difference(SPLIT, other) == "1 of 4 images on another side, such as b.png, 1 of 4 images missing, 2 images more"
    )


def images(split: Split, content: str = "1" * 64) -> Any:
    return SimpleNamespace(split=split, split_file=Path("mine.json"), images_sha256=content, source="walks")


def test_only_the_split_and_the_images_of_the_training_are_taken(tmp_path: Path):
    facts = {
        "split_sha256": SPLIT.sha256,
        "images_sha256": "1" * 64,
        "images": {"train": 2, "validation": 1, "test": 1},
    }
    check_split_of_model(images(SPLIT), facts, "the model m", tmp_path)
    # The hash alone, as on the Hub.
    with pytest.raises(UserError, match=r"m .* split mine\.json: that one had 2 train, .* this one has 1 train"):
        check_split_of_model(images(MOVED), facts, "the model m", tmp_path)
    # With the split of its folder, images are counted.
    SPLIT.save(tmp_path / "split.json")
    with pytest.raises(UserError, match=r"1 of 4 images on another side, .*; --split-file must name .*split"):
        check_split_of_model(images(MOVED), facts, "the model m", tmp_path)
    with pytest.raises(UserError, match=r"trained on other images than those of walks: the names are equal"):
        check_split_of_model(images(SPLIT, "2" * 64), facts, "the model m", tmp_path)
    # A file that was put beside the model does not replace what its facts say.
    MOVED.save(tmp_path / "split.json")
    with pytest.raises(UserError, match="another split"):
        check_split_of_model(images(MOVED), facts, "the model m", tmp_path)


def test_other_data_must_be_other_data(tmp_path: Path):
    facts = {"split_sha256": SPLIT.sha256, "images_sha256": "1" * 64}
    check_split_of_model(images(MOVED, "2" * 64), facts, "the model m", tmp_path, other_data=True)
    with pytest.raises(UserError, match="--other-data needs other images"):
        check_split_of_model(images(MOVED), facts, "the model m", tmp_path, other_data=True)


def test_facts_without_hashes_are_compared_by_numbers_of_images(tmp_path: Path):
    check_split_of_model(images(MOVED), None, "the model m", tmp_path)
    check_split_of_model(images(SPLIT), {"images": {"train": 2, "validation": 1, "test": 1}}, "the model m", tmp_path)
    with pytest.raises(UserError, match="another split"):
        check_split_of_model(images(MOVED), {"images": {"train": 2, "validation": 1, "test": 1}}, "m", tmp_path)
