"""`echoform quickstart` from the weights that are shipped inside the package."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from echoform_train.commands import quickstart
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.study import quickstart_box
from echoform_train.study.quickstart_box import SHIPPED_SEED, ShippedFirstStage, Start, choose_start, fitting

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def box(second_stage, tmp_path, monkeypatch):
    """A box with a pipeline that was trained for a moment, in half precision."""
    folder = shutil.copytree(second_stage / "pipeline", tmp_path / "weights" / "walkers")
    for path in folder.rglob("*.safetensors"):
        save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    monkeypatch.setattr("echoform.shipped.WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(quickstart_box, "WEIGHTS", tmp_path / "weights")
    return folder


def test_it_starts_from_the_shipped_pipeline_where_nothing_speaks_against_it(box, walkers):
    found = choose_start(own_data=False, from_scratch=False, seed=0, resolution=32)
    assert found.pipeline == box
    data = load_spectrograms(str(walkers))
    assert fitting(found, data) == found
    other = fitting(found, replace(data, colormap="viridis"))
    assert other.pipeline is None
    assert other.line.endswith("the shipped weights are for colormap jet, the images have viridis")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"from_scratch": True}, "--from-scratch"),
        ({"own_data": True}, "the shipped weights are for simulated people, not for --data"),
        ({"seed": SHIPPED_SEED}, "the shipped weights know the people of --seed 1000"),
        ({"resolution": "32x64"}, "the shipped weights are for --resolution 32, got 32x64"),
    ],
)
def test_it_says_why_it_trains_from_scratch(box, asked, reason):
    found = choose_start(**{"own_data": False, "from_scratch": False, "seed": 0, "resolution": 32, **asked})
    assert found == Start(None, f"Both stages are trained from scratch: {reason}")


def test_an_installation_without_weights_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("echoform.shipped.WEIGHTS", tmp_path)
    found = choose_start(own_data=False, from_scratch=False, seed=0, resolution=64)
    assert found.pipeline is None
    assert found.line.endswith("this installation of echoform has no weights of walkers")


def test_the_first_stage_is_the_shipped_one_with_the_split_of_the_new_images(box, walkers, tmp_path):
    data = load_spectrograms(str(walkers))
    ShippedFirstStage(data=data, pipeline=box).make(tmp_path / "vq")
    theirs, ours = (load_file(folder / "vqvae" / WEIGHTS) for folder in (box, tmp_path / "vq"))
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())
    assert json.loads((tmp_path / "vq" / "split.json").read_text())["train"] == list(data.split.train)


@pytest.mark.slow
def test_the_whole_quickstart_runs_from_the_box(box, tmp_path, capsys):
    config = quickstart.Config(
        output_dir=tmp_path / "out",
        users=2,
        resolution=32,
        images_per_user=6,
        sampling_seeds=(0, 1),
        num_inference_steps=2,
        ldm_train_images=160,
        judge_train_images=640,
    )
    quickstart.main(config)
    printed = capsys.readouterr().out
    assert printed.startswith("Starts from the shipped pipeline of other simulated people")
    assert re.search(r"\nOn this machine, .* takes about \d+ \w+ \(with --from-scratch \d+ \w+\)\n", printed)
    assert "[2/5] vq-vae: that of the shipped pipeline" in printed
    page = (tmp_path / "out" / "report.html").read_text()
    assert "VQ-VAE (shipped)" in page
    assert "The shipped latent diffusion model, trained on" in page
    facts = json.loads((tmp_path / "out" / "ldm" / "facts.json").read_text())
    assert facts["images_seen"] == 160
