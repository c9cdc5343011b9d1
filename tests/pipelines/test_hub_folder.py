"""The exported folder without echoform, in fresh processes; from the Hub in test_hub_loading."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from code_names import travelling_content, travelling_name, travelling_stem
from echoform import DopplerUNet2DModel, VQLDMDopplerPipeline
from echoform import pipeline_vq_ldm_doppler as pipeline_file
from echoform import unet_doppler as unet_file
from tiny_doppler import tiny_pipeline
from without_echoform import UNINSTALLED, run_alone

GENERATE = """
def pixels(pipe):
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    settings = dict(conditions={"direction": "away"}, num_inference_steps=3, output_type="np")
    return pipe(["ID_10", 0], 2, generator=generator, **settings).images
"""


@pytest.fixture
def folder(make_pipeline: Callable[..., VQLDMDopplerPipeline], tmp_path: Path) -> Path:
    make_pipeline().save_pretrained(tmp_path / "first")
    return tmp_path / "first"


def test_the_folder_names_and_holds_its_code(folder: Path):
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == [travelling_stem(pipeline_file), "VQLDMDopplerPipeline"]
    assert index["unet"] == [travelling_stem(unet_file), "DopplerUNet2DModel"]
    assert index["vqvae"] == ["diffusers", "VQModel"]
    assert index["scheduler"] == ["diffusers", "DPMSolverMultistepScheduler"]
    assert index["id2label"] == {"0": "ID_1", "1": "ID_2", "2": "ID_10"}
    for place, module in ((folder, pipeline_file), (folder / "unet", unet_file)):
        assert (place / travelling_name(module)).read_bytes() == travelling_content(module)


def test_it_loads_where_echoform_is_not_installed_and_survives_being_saved_again(
    folder: Path,
    make_pipeline: Callable[..., VQLDMDopplerPipeline],
    make_unet: Callable[..., DopplerUNet2DModel],
    tmp_path: Path,
):
    make_pipeline(
        unet=make_unet(block_out_channels=(16, 16)),
        id2label={"0": "a", "1": "b", "2": "c"},
    ).save_pretrained(tmp_path / "other")
    script = f"""{UNINSTALLED}
import numpy as np, torch
from diffusers import DiffusionPipeline
{GENERATE}
first = DiffusionPipeline.from_pretrained("first", trust_remote_code=True)
expected = pixels(first)
other = DiffusionPipeline.from_pretrained("other", trust_remote_code=True)
assert other(["b"], num_inference_steps=1).users == ["b"]
assert np.array_equal(pixels(first), expected), "loading another pipeline changed the first"
first.save_pretrained("second")
again = DiffusionPipeline.from_pretrained("second", trust_remote_code=True)
assert np.array_equal(pixels(again), expected), "saving again changed the images"
try:
    DiffusionPipeline.from_pretrained("first")
except ValueError as error:
    assert "trust_remote_code" in str(error)
else:
    raise AssertionError("code ran that nobody trusted")
assert "echoform" not in sys.modules
"""
    run_alone(script, tmp_path)
    names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    second = tmp_path / "second"
    assert {path.relative_to(second) for path in second.rglob("*") if path.is_file()} == names
    for name in names:
        if name.suffix == ".py" or name.name == "model_index.json":
            assert (second / name).read_bytes() == (folder / name).read_bytes()
        elif name.suffix == ".safetensors":
            left, right = load_file(folder / name), load_file(second / name)
            assert all(torch.equal(left[key], right[key]) for key in left | right)


def test_the_installed_class_needs_no_trust_and_runs_no_code_of_the_folder(folder: Path, tmp_path: Path):
    for code in folder.rglob("*.py"):
        code.write_text("raise SystemExit('the copy in the folder was run')")
    pipe = VQLDMDopplerPipeline.from_pretrained(folder)
    assert type(pipe) is VQLDMDopplerPipeline and type(pipe.unet) is DopplerUNet2DModel
    pipe.save_pretrained(tmp_path / "second")
    saved = tmp_path / "second/unet" / travelling_name(unet_file)
    assert saved.read_bytes() == travelling_content(unet_file)


def test_diffusers_refuses_a_balanced_device_map_with_custom_code_as_the_cards_say(tmp_path: Path):
    tiny_pipeline().save_pretrained(tmp_path)
    loaded = DiffusionPipeline.from_pretrained(tmp_path, trust_remote_code=True, device_map="cpu")
    assert loaded.unet.device.type == "cpu"
    # Where this does not raise any more, the sentence in the cards can go.
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        DiffusionPipeline.from_pretrained(tmp_path, trust_remote_code=True, device_map="balanced")
