"""The lone encoder without echoform: by diffusers and by transformers; from disk, from a Hub, and saved again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from code_names import travelling_name, travelling_stem
from echoform import DepthAutoencoder, depth_autoencoder, depth_units, transformers_depth_encoder
from echoform.transformers_depth_encoder import DepthFeatureExtractionPipeline, save_for_transformers
from hub_server import Hub
from tiny_depth import tiny_autoencoder, tiny_depth_pipeline
from without_echoform import UNINSTALLED, run_alone

FACTS: dict[str, Any] = {
    "depth_range_mm": {"min": 300.0, "max": 5000.0},
    "units_per_mm": 2.0,
    "invalid_values": {"0": "no reading", "65535": "too far"},
}

WITHOUT_ECHOFORM = f"""{UNINSTALLED}
import numpy as np, torch

def same(found, expected):
    # The same weights elsewhere in memory may be summed in another order.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
"""


@pytest.fixture
def model(tmp_path: Path) -> DepthAutoencoder:
    """A model that knows its sensor, an image of another size with holes, and its embedding by the pipeline."""
    autoencoder = tiny_autoencoder()
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    autoencoder.encoder.register_to_config(**FACTS)
    units = np.random.default_rng(0).integers(0, 12000, (50, 40)).astype(np.uint16)
    units[:5] = 65535
    Image.fromarray(units).save(tmp_path / "image.png")
    depth, valid = np.random.default_rng(1).random((2, 3, 1, 32, 32), dtype=np.float32)
    with torch.no_grad():
        latents = autoencoder.encode(torch.from_numpy(depth), torch.from_numpy(valid > 0.2))
    by_pipeline = tiny_depth_pipeline(autoencoder, **FACTS).encode(tmp_path / "image.png")
    np.savez(tmp_path / "known.npz", depth=depth, valid=valid > 0.2, latents=latents, image=by_pipeline)
    return autoencoder


def test_diffusers_auto_model_loads_encoder_and_autoencoder_without_echoform(
    model: DepthAutoencoder, tmp_path: Path, hub: Hub
):
    model.save_pretrained(tmp_path / "whole")
    model.encoder.save_pretrained(tmp_path / "lone")
    config = json.loads((tmp_path / "lone/config.json").read_text())
    assert config["auto_map"] == {"AutoModel": f"{travelling_stem(depth_autoencoder)}.DepthEncoder"}
    repo_id = hub.repo_id("encoder")
    model.encoder.push_to_hub(repo_id)
    script = f"""
from diffusers import AutoModel
known = {{name: torch.from_numpy(value) for name, value in np.load("known.npz").items()}}

def check(source):
    model = AutoModel.from_pretrained(source, trust_remote_code=True)
    with torch.no_grad():
        same(model.encode(known["depth"], known["valid"]), known["latents"])
    return model

encoder = check("{repo_id}")
assert encoder.config.depth_range_mm == {FACTS["depth_range_mm"]} and not encoder.training
encoder.save_pretrained("again")
check("again")
check("lone")
check("whole").encoder.save_pretrained("taken out")
check("taken out")
try:
    AutoModel.from_pretrained("lone")
except ValueError as error:
    assert "trust_remote_code" in str(error)
else:
    raise AssertionError("code ran that nobody trusted")
assert "echoform" not in sys.modules
"""
    assert "not expected" not in run_alone(WITHOUT_ECHOFORM + script, tmp_path).stderr
    assert (tmp_path / "again/config.json").read_bytes() == (tmp_path / "lone/config.json").read_bytes()
    for folder in ("again", "taken out"):
        code = (tmp_path / folder / travelling_name(depth_autoencoder)).read_bytes()
        assert code == Path(str(depth_autoencoder.__file__)).read_bytes()


def test_a_lone_model_is_pushed_in_one_commit_that_leaves_a_readme_alone(
    model: DepthAutoencoder, hub: Hub, tmp_path: Path
):
    repo_id = hub.repo_id("encoder")
    url = model.encoder.push_to_hub(repo_id, private=True)
    files = hub.files(repo_id)
    code = travelling_name(depth_autoencoder)
    assert set(files) == {"README.md", "config.json", code, "diffusion_pytorch_model.safetensors"}
    assert f'AutoModel.from_pretrained("{repo_id}", trust_remote_code=True)' in files["README.md"].decode()
    assert len(hub.commits(repo_id)) == 2 and repo_id in str(url)  # with the Hub's own
    hub.write(repo_id, "README.md", b"by hand")
    model.encoder.push_to_hub(repo_id)
    assert len(hub.commits(repo_id)) == 3, "the same content made a commit"
    model.encoder.stem.weight.data += 1
    model.encoder.save_pretrained(tmp_path / "saved", push_to_hub=True, repo_id=repo_id, commit_message="Better")
    assert hub.files(repo_id)["README.md"] == b"by hand"
    assert len(hub.commits(repo_id)) == 4
    model.encoder.push_to_hub(repo_id, revision="trial")
    assert hub.files(repo_id, revision="trial")["config.json"] == files["config.json"]
    with pytest.raises(ValueError, match="safetensors alone"):
        model.encoder.push_to_hub(repo_id, safe_serialization=False)


def test_transformers_loads_model_processor_and_task_without_echoform(
    model: DepthAutoencoder, tmp_path: Path, hub: Hub
):
    save_for_transformers(model.encoder, tmp_path / "folder")
    repo_id = hub.repo_id("transformers")
    for file in (tmp_path / "folder").iterdir():
        hub.write(repo_id, file.name, file.read_bytes())
    script = f"""
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, pipeline
expected = torch.from_numpy(np.load("known.npz")["image"])

def check(source):
    processor = AutoImageProcessor.from_pretrained(source, trust_remote_code=True)
    model = AutoModel.from_pretrained(source, trust_remote_code=True)
    with torch.no_grad():
        same(model(**processor("image.png")).pooler_output, expected)
        inputs = processor(["image.png", "image.png"], return_tensors="pt")
        same(model(pixel_values=inputs.pixel_values).pooler_output, expected.expand(2, -1))
    extract = pipeline("depth-feature-extraction", source, trust_remote_code=True)
    same(torch.tensor([extract("image.png")]), expected)
    image = Image.open("image.png")
    batched = extract([image, "image.png", np.asarray(image)], batch_size=2, return_tensors=True)
    same(torch.stack(batched), expected.expand(3, -1))
    return extract

extract = check("{repo_id}")
extract.save_pretrained("again")
check("again")
check("folder").model.encoder.save_pretrained("for diffusers")
try:
    extract(image := Image.open("image.png").convert("L"))
except ValueError as error:
    assert "8 bits" in str(error)
else:
    raise AssertionError("8 bits were taken for depth")
# The stock task turns every image into 8 bits: it must not give numbers.
stock = pipeline("image-feature-extraction", "folder", trust_remote_code=True)
try:
    stock("image.png")
except ValueError as error:
    assert "mode RGB" in str(error)
else:
    raise AssertionError("the stock task gave numbers of an 8-bit image")
assert "echoform" not in sys.modules
"""
    run_alone(WITHOUT_ECHOFORM + script, tmp_path)
    for module in (depth_autoencoder, depth_units, transformers_depth_encoder):
        code = Path(str(module.__file__))
        assert (tmp_path / "again" / code.name).read_bytes() == code.read_bytes()
    for name in ("config.json", "preprocessor_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "folder" / name).read_bytes()
    weights = load_file(tmp_path / "for diffusers/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in model.encoder.state_dict().items())


def test_all_16_bits_reach_the_model(tmp_path: Path):
    """Every unit of a ramp becomes a depth of its own; through 8 bits there would be 256."""
    encoder = tiny_autoencoder(sample_size=256, latent_dim=256).encoder
    facts = {"depth_range_mm": {"min": 1.0, "max": 65535.0}, "units_per_mm": 1.0}
    save_for_transformers(encoder, tmp_path / "folder", facts)
    processor = transformers_depth_encoder.DepthImageProcessor.from_pretrained(tmp_path / "folder")
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    prepared = processor(Image.fromarray(ramp))
    assert len(prepared["depth"][prepared["valid"]].unique()) == 65535
    assert prepared["valid"].sum() == 65535 and not prepared["valid"][0, 0, 0, 0]
    assert processor([ramp, ramp], return_tensors="np")["depth"].shape == (2, 1, 256, 256)


def test_features_and_embedding_come_out_of_one_pass(model: DepthAutoencoder, tmp_path: Path):
    save_for_transformers(model.encoder, tmp_path / "folder")
    loaded = transformers_depth_encoder.DepthEncoderModel.from_pretrained(tmp_path / "folder")
    depth = torch.rand(2, 1, 32, 32)
    output = loaded(depth)
    assert isinstance(output, transformers_depth_encoder.BaseModelOutputWithPooling)
    assert output.last_hidden_state is not None and output.pooler_output is not None
    assert output.last_hidden_state.shape == (2, 4, 16)
    torch.testing.assert_close(output.pooler_output, model.encode(depth), rtol=0, atol=1e-6)
    assert torch.equal(loaded(depth, return_dict=False)[1], output.pooler_output)
    output.pooler_output.sum().backward()
    assert loaded.encoder.stem.weight.grad is not None


def test_pixel_values_are_units_or_prepared_depth_and_nothing_else(tmp_path: Path):
    encoder = tiny_autoencoder().encoder
    save_for_transformers(encoder, tmp_path, FACTS)
    processor = transformers_depth_encoder.DepthImageProcessor.from_pretrained(tmp_path)
    loaded: Any = transformers_depth_encoder.DepthEncoderModel.from_pretrained(tmp_path).eval()
    units = np.random.default_rng(0).integers(0, 12000, (3, 1, 32, 32)).astype(np.uint16)
    units[0, 0, :5] = 65535
    inputs = processor(units)
    with torch.no_grad():
        expected = loaded(depth=inputs["depth"], valid=inputs["valid"]).pooler_output
        for given in (
            {"pixel_values": torch.from_numpy(units)},
            {"pixel_values": torch.from_numpy(units.astype(np.int32))},
            {"pixel_values": inputs["pixel_values"]},
            dict(inputs),
        ):
            assert torch.equal(loaded(**given).pooler_output, expected)
    assert torch.equal(inputs["pixel_values"].isnan(), ~inputs["valid"])
    refused = [
        ({}, "depth or pixel_values must be given"),
        ({"pixel_values": torch.from_numpy(units.astype(np.float32))}, r"must lie in \[-1, 1\].*whole numbers"),
        ({"pixel_values": torch.full((1, 1, 32, 32), torch.inf)}, r"must lie in \[-1, 1\]"),
        ({"pixel_values": torch.zeros(1, 1, 32, 32, dtype=torch.uint8)}, "16 bits or more.* got torch.uint8"),
        (
            {"pixel_values": torch.from_numpy(units[0, 0])},
            r"16 bits or more \[B, C, H, W\], got torch.uint16, \[32, 32\]",
        ),
        ({"pixel_values": torch.zeros(1, 1, 64, 64)}, r"depth must be \[B, 1, 32, 32\]"),
        ({"pixel_values": torch.zeros(1, 3, 32, 32)}, r"depth must be \[B, 1, 32, 32\]"),
        ({"pixel_values": torch.full((1, 1, 32, 32), 60000, dtype=torch.int32)}, "units must have readings in"),
        ({**inputs, "depth": -inputs["depth"]}, "pixel_values must be equal to depth and valid"),
    ]
    for given, message in refused:
        with pytest.raises(ValueError, match=message):
            loaded(**given)


@pytest.mark.parametrize(
    "colour",
    [
        np.zeros((48, 64, 3), np.uint16),
        np.zeros((48, 64, 3), np.float32),
        np.zeros((48, 64, 4), np.uint8),
        torch.zeros(48, 64, 3),
        torch.zeros(3, 48, 64).permute(1, 2, 0),
        torch.zeros(2, 3, 48, 64),
        np.zeros((2, 48, 64, 3), np.uint16),
        [np.zeros((48, 64, 3), np.uint16)],
        [torch.zeros(3, 48, 64)],
        [np.zeros((3, 48, 64), np.float32), np.zeros((48, 64), np.float32)],
        [np.zeros((48, 64, 3), np.uint16).tolist()],
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}-{len(value)}",
)
def test_an_image_of_colour_is_no_batch_of_depth_images(colour: Any):
    pipeline = tiny_depth_pipeline(**FACTS)
    for call in (pipeline, pipeline.encode):
        with pytest.raises(ValueError, match=r"is the last axis colour|must be \[H, W\]|H, W|16 bits"):
            call(colour)


def test_what_transformers_cannot_be_told_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="needs depth_range_mm and units_per_mm"):
        save_for_transformers(tiny_autoencoder().encoder, tmp_path)
    with pytest.raises(ValueError, match="one channel, got an encoder of 3"):
        save_for_transformers(tiny_autoencoder(input_channels=3).encoder, tmp_path, FACTS)
    save_for_transformers(tiny_autoencoder().encoder, tmp_path, FACTS)
    processor = transformers_depth_encoder.DepthImageProcessor.from_pretrained(tmp_path)
    loaded = transformers_depth_encoder.DepthEncoderModel.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="takes return_tensors, got pool"):
        DepthFeatureExtractionPipeline(model=loaded, image_processor=processor, pool=True)
