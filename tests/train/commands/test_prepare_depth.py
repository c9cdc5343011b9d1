"""`echoform prepare-depth`: what it says of a folder, and the data set that it pushes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from echoform_train import cli
from echoform_train.data.split import Split
from echoform_train.depth.dataset import load_depth
from echoform_train.depth.rooms.config import RoomsConfig
from hub_server import Hub


def test_it_counts_classes_and_sides_and_pushes_the_split_that_it_wrote(
    shapes: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    repo, split_file = hub.repo_id("shapes"), tmp_path / "split.json"
    shares = ["--validation-share", "0.2", "--test-share", "0.3"]
    flags = [str(shapes), "--save-split", str(split_file), *shares, "--resolution", "32"]
    cli.main(["prepare-depth", *flags, "--push-to-hub", repo, "--license", "cc0-1.0"])
    told = capsys.readouterr().out
    split = Split.load(split_file)
    assert f"{shapes}: 80 depth images" in told
    assert ", ".join(f"{label} 40" for label in sorted(path.name for path in shapes.iterdir())) in told
    assert f"train {len(split.train)}, validation {len(split.validation)}, test {len(split.test)}" in told
    assert f"Split written to {split_file}" in told and f"Pushed to {hub.url}/datasets/{repo}" in told
    local, there = load_depth(shapes, split_file=split_file, resolution=32), load_depth(repo, resolution=32)
    assert there.split == local.split == split
    assert torch.equal(there.train.units.to(torch.int32), local.train.units.to(torch.int32))


def test_what_is_for_the_hub_goes_with_it(shapes: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.main(["prepare-depth", str(shapes), "--license", "mit"])
    assert "--license is for the Hub: it must go with --push-to-hub" in capsys.readouterr().err


def test_rooms_that_are_written_are_read_as_the_rooms_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sizes = ["--rooms", "5", "--cameras-per-room", "2", "--images-per-camera", "2", "--resolution", "32"]
    cli.main(["prepare-depth", "rooms", str(tmp_path / "out"), *sizes, "--seed", "4"])
    assert f"wrote 20 images of 5 rooms to {tmp_path / 'out'}" in capsys.readouterr().out
    made = load_depth("rooms", resolution=32, seed=4, rooms=RoomsConfig(rooms=5, cameras_per_room=2,
                      images_per_camera=2, resolution=32))  # fmt: skip
    there = load_depth(tmp_path / "out", resolution=32, seed=4, depth_range_mm=made.depth_range_mm)
    for side in ("train", "validation", "test"):
        assert torch.equal(getattr(there, side).units.to(torch.int32), getattr(made, side).units.to(torch.int32))
    assert len(there.train) and len(there.test)
    rooms = [{file[:9] for file in getattr(there.split, side)} for side in ("train", "validation", "test")]
    assert sum(map(len, rooms)) == len(set.union(*rooms)) == 5  # no room is on two sides


def test_only_rooms_are_written_and_only_into_a_new_folder(shapes: Path, tmp_path: Path):
    with pytest.raises(SystemExit):
        cli.main(["prepare-depth", str(shapes), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        cli.main(["prepare-depth", "rooms", str(tmp_path), "--rooms", "3"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
