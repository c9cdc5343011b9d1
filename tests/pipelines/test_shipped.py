"""The weights that are shipped inside the package: where they lie, that they load, and that their code is today's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open

import echoform
from echoform import DepthAutoencoderPipeline
from echoform.shipped import NAMES, WEIGHTS, pretrained, shipped
from fix_weights import outdated, renew
from tiny_depth import tiny_depth_pipeline

MOST_BYTES = 35_000_000
FOLDERS = {name: WEIGHTS / name for name in shipped()}


def test_the_name_gives_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("echoform.shipped.WEIGHTS", tmp_path)
    (tmp_path / "rooms").mkdir()
    assert shipped() == []
    (tmp_path / "rooms" / "model_index.json").write_text("{}")
    assert shipped() == ["rooms"]
    assert echoform.pretrained("rooms") == str(tmp_path / "rooms")


def test_an_unknown_name_says_which_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="must be one of walkers, rooms, classifier, got 'walker'"):
        pretrained("walker")
    with pytest.raises(ValueError, match="must be one of"):
        pretrained("../rooms")
    monkeypatch.setattr("echoform.shipped.WEIGHTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"this installation of echoform has no weights of walkers\Z"):
        pretrained("walkers")


def test_all_of_them_are_small_and_in_half_precision():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= MOST_BYTES
    assert {path.name for path in WEIGHTS.glob("*") if path.is_dir()} <= set(NAMES)
    for path in WEIGHTS.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        assert not kinds & {"F32", "F64"}, path


@pytest.mark.parametrize("name", FOLDERS)
def test_their_code_is_that_of_the_package(name: str):
    assert outdated(FOLDERS[name]) == [], "run `make fix-copies`"


@pytest.mark.parametrize("name", FOLDERS)
def test_their_card_holds_measured_numbers_and_the_command(name: str):
    card = (FOLDERS[name] / "README.md").read_text()
    assert "echoform train" in card
    assert "model-index" in card
    facts = json.loads((FOLDERS[name] / "facts.json").read_text())
    assert facts["card"]["license"] == "apache-2.0"
    assert facts["card"]["scores"]


def test_code_of_yesterday_is_renewed_and_the_model_stays(tmp_path: Path):
    folder = tmp_path / "rooms"
    pipeline = tiny_depth_pipeline()
    pipeline.save_pretrained(folder)
    code = next(folder.glob("*.py"))
    old = code.with_name(code.name.replace(code.stem[-8:], "0123abcd"))
    old.write_text(code.read_text() + "# of yesterday\n")
    code.unlink()
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace(code.stem, old.stem))
    assert outdated(folder) == [old]
    renew(folder)
    assert outdated(folder) == []
    assert [path.name for path in folder.glob("*.py")] == [code.name]
    loaded = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    state = pipeline.autoencoder.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.autoencoder.state_dict().items())


@pytest.mark.skipif("rooms" not in FOLDERS, reason="without its weights")
def test_the_depth_pipeline_gives_a_room_back(tmp_path: Path):
    copy = shutil.copytree(FOLDERS["rooms"], tmp_path / "elsewhere")
    by_code: Any = DiffusionPipeline.from_pretrained(copy, trust_remote_code=True)
    installed = DepthAutoencoderPipeline.from_pretrained(FOLDERS["rooms"])
    assert installed.autoencoder.dtype == torch.float32
    columns = torch.arange(128).expand(128, 128)
    depth_mm = (1500 + 10 * columns + 500 * (columns > 64)).to(torch.uint16).numpy()  # a slanted wall and a step
    results = [np.asarray(pipeline(depth_mm).depth, dtype=np.float64).squeeze() for pipeline in (by_code, installed)]
    assert np.array_equal(results[0], results[1])
    assert np.abs(results[0] - depth_mm).mean() < 100
