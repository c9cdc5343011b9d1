"""The exported depth folder without echoform: from disk and from a Hub, in fresh processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from code_names import travelling_content, travelling_name, travelling_stem
from echoform import DepthAutoencoderPipeline, depth_autoencoder, pipeline_depth_autoencoder
from hub_server import Hub
from tiny_depth import tiny_depth_pipeline
from without_echoform import UNINSTALLED, run_alone

OPEN = """
import numpy as np
from diffusers import DiffusionPipeline

def check(source):
    pipe = DiffusionPipeline.from_pretrained(source, trust_remote_code=True)
    output = pipe("image.png")
    expected = np.load("expected.npz")
    assert np.array_equal(output.depth[0], expected["depth"]), "other depth"
    assert np.array_equal(output.latents.numpy(), expected["latents"]), "other embedding"
    assert pipe.config.depth_range_mm == {"min": 300.0, "max": 5000.0} and pipe.config.units_per_mm == 2.0
    assert "echoform" not in sys.modules
    return pipe
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An exported pipeline, an image and what becomes of it."""
    pipe = tiny_depth_pipeline(units_per_mm=2.0, invalid_values={"0": "no reading", "65535": "too far"})
    units = np.random.default_rng(0).integers(600, 10000, (50, 40)).astype(np.uint16)
    Image.fromarray(units).save(tmp_path / "image.png")
    output = pipe(tmp_path / "image.png")
    np.savez(tmp_path / "expected.npz", depth=output.depth[0], latents=output.latents.numpy())
    pipe.save_pretrained(tmp_path / "folder")
    return tmp_path / "folder"


def test_the_folder_names_and_holds_its_code(folder: Path):
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == [travelling_stem(pipeline_depth_autoencoder), "DepthAutoencoderPipeline"]
    assert index["autoencoder"] == [travelling_stem(depth_autoencoder), "DepthAutoencoder"]
    assert index["depth_range_mm"] == {"min": 300.0, "max": 5000.0} and index["units_per_mm"] == 2.0
    copies = {
        travelling_name(pipeline_depth_autoencoder): pipeline_depth_autoencoder,
        f"autoencoder/{travelling_name(depth_autoencoder)}": depth_autoencoder,
    }
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")} == set(copies)
    for copy, module in copies.items():
        assert (folder / copy).read_bytes() == travelling_content(module)
    assert not list(folder.rglob("*.bin"))


def test_it_loads_without_echoform_from_disk_from_the_hub_and_from_what_was_saved_again(
    folder: Path, tmp_path: Path, hub: Hub
):
    repo_id = hub.repo_id("depth")
    DepthAutoencoderPipeline.from_pretrained(folder).push_to_hub(repo_id)
    assert set(hub.files(repo_id)) >= {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    script = f"""{UNINSTALLED}{OPEN}
check("{repo_id}")
check("folder").save_pretrained("second")
check("second")
try:
    DiffusionPipeline.from_pretrained("folder")
except ValueError as error:
    assert "trust_remote_code" in str(error)
else:
    raise AssertionError("code ran that nobody trusted")
"""
    run_alone(script, tmp_path)
    for path in folder.rglob("*.py"):
        assert (tmp_path / "second" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert (tmp_path / "second/model_index.json").read_bytes() == (folder / "model_index.json").read_bytes()


def test_the_installed_class_needs_no_trust_and_runs_no_code_of_the_folder(folder: Path, hub: Hub):
    for code in folder.rglob("*.py"):
        code.write_text("raise SystemExit('the copy in the folder was run')")
    repo_id = hub.repo_id("depth")
    DepthAutoencoderPipeline.from_pretrained(folder).push_to_hub(repo_id)
    for source in (folder, repo_id):
        pipe = DepthAutoencoderPipeline.from_pretrained(source)
        assert type(pipe) is DepthAutoencoderPipeline
        assert type(pipe.autoencoder).__module__ == "echoform.depth_autoencoder"
    # What is pushed is the code that runs here, not the one of the folder.
    pushed = hub.files(repo_id)[f"autoencoder/{travelling_name(depth_autoencoder)}"]
    assert pushed == Path(str(depth_autoencoder.__file__)).read_bytes()
