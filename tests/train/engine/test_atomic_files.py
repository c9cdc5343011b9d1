"""A model's folder and its facts are replaced so that a process killed at any moment leaves no two that disagree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from echoform_train.engine import atomic_files, run
from echoform_train.engine.atomic_files import copy_to_partial, partial_folder, replace_folder, write_tensors
from echoform_train.trainers import vq_vae
from tiny import tiny_run, tiny_vq_vae


def test_a_folder_is_replaced_as_a_whole_and_notes_stay(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("weights.safetensors", "code_1.py", "config.json", "NOTES.txt"):
        (folder / name).write_text("earlier")
    partial = copy_to_partial(folder)
    for name in ("weights.safetensors", "code_2.py", "config.json"):
        (partial / name).write_text("new")
    assert (folder / "config.json").read_text() == "earlier"
    replace_folder(folder, partial)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "weights.safetensors": "new",
        "code_2.py": "new",
        "config.json": "new",
        "NOTES.txt": "earlier",
    }
    assert list(tmp_path.iterdir()) == [folder]


def test_weights_are_as_public_as_the_folder_they_lie_in(tmp_path):
    """Others of a team, and the user of a container, load what somebody trained."""
    partial = partial_folder(tmp_path / "model")
    (partial / "unet").mkdir()
    weights, notes = partial / "unet/model.safetensors", partial / "NOTES.txt"
    for path in (weights, notes):
        path.touch(0o600)  # as safetensors makes a file, and a person may make one
    (partial / "unet").chmod(0o750)
    replace_folder(tmp_path / "model", partial)
    modes = [(tmp_path / "model" / name).stat().st_mode & 0o777 for name in ("unet/model.safetensors", "NOTES.txt")]
    assert modes == [0o640, 0o600]
    write_tensors(tmp_path / "one.safetensors", {"a": torch.zeros(2)})
    assert (tmp_path / "one.safetensors").stat().st_mode & 0o666 == tmp_path.stat().st_mode & 0o666 | 0o600


def test_what_a_killed_process_left_is_not_used(tmp_path):
    partial_folder(tmp_path / "model").joinpath("half").write_text("")
    assert list(copy_to_partial(tmp_path / "model").iterdir()) == []


class Killed(BaseException):
    """As SIGKILL: no handler of the code may catch it for good."""


@pytest.mark.parametrize("killed_in", ["sync", "replace_folder", "rename", "write_json"])
def test_a_model_and_its_facts_never_disagree(killed_in, walkers, tmp_path, monkeypatch):
    """Killed while the second best model is written, the folder holds the first with its facts, or no facts."""
    out = tmp_path / "vq"
    settings = tiny_run(out, max_train_images=96, validation_every=48)
    calls = {"models": 0}

    def second_time(function):
        def call(*args):
            if calls["models"] == 2:
                raise Killed
            return function(*args)

        return call

    make_partial = run.copy_to_partial

    def count(folder: Path) -> Path:
        calls["models"] += 1
        return make_partial(folder)

    monkeypatch.setattr(run, "copy_to_partial", count)
    if killed_in == "rename":
        # Between the two renames: the earlier model is away, the new one is not there yet.
        monkeypatch.setattr(atomic_files.Path, "rename", second_time_renames(calls, Path.rename))
    else:
        monkeypatch.setattr(run, killed_in, second_time(getattr(run, killed_in)))
    with pytest.raises(Killed):
        vq_vae.main(tiny_vq_vae(walkers, out, run=settings, quantize=False))
    if (out / "facts.json").exists():
        assert json.loads((out / "facts.json").read_text())["best_after"] == 48
        assert (out / "vqvae" / "config.json").exists()


def second_time_renames(calls: dict[str, int], rename):
    def call(self, target):
        if calls["models"] == 2 and self.name == ".vqvae.partial":
            raise Killed
        return rename(self, target)

    return call
