"""The exported folder as strangers meet it: both doors, from disk and from a Hub, in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from echoform import DopplerUNet2DModel, VQLDMDopplerPipeline
from echoform import pipeline_vq_ldm_doppler as pipeline_file
from echoform import unet_doppler as unet_file

COMMIT = "0" * 40

# What `pip uninstall echoform` leaves behind.
STRANGER = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "echoform":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""
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


@pytest.fixture
def hub(folder: Path) -> Iterator[str]:
    """Endpoint of a Hub that holds the folder as `someone/walkers`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(OneRepository, folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class OneRepository(BaseHTTPRequestHandler):
    """As much of the Hub's interface as loading needs."""

    def __init__(self, folder: Path, *args: object) -> None:
        self.files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        super().__init__(*args)  # pyright: ignore[reportArgumentType]

    def do_GET(self) -> None:
        name = self.path.partition("?")[0]
        if name.startswith("/api/models/someone/walkers/tree/"):
            self.answer(json.dumps([self.described(file) for file in self.files]).encode())
        elif name.startswith("/api/models/someone/walkers"):
            siblings = [{"rfilename": file} for file in self.files]
            self.answer(json.dumps({"id": "someone/walkers", "sha": COMMIT, "siblings": siblings}).encode())
        elif (file := name.removeprefix("/someone/walkers/resolve/").partition("/")[2]) in self.files:
            self.answer(self.files[file].read_bytes())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def described(self, file: str) -> dict[str, object]:
        content = self.files[file].read_bytes()
        return {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def run_alone(script: str, tmp_path: Path, **environment: str) -> str:
    """Run a script in a fresh process with caches of its own."""
    cache = {"HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_DISABLE_XET": "1"}
    settings = os.environ | cache | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"} | environment
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_folder_names_and_holds_its_code(folder: Path):
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline_vq_ldm_doppler", "VQLDMDopplerPipeline"]
    assert index["unet"] == ["unet_doppler", "DopplerUNet2DModel"]
    assert index["vqvae"] == ["diffusers", "VQModel"]
    assert index["scheduler"] == ["diffusers", "DPMSolverMultistepScheduler"]
    assert index["id2label"] == {"0": "ID_1", "1": "ID_2", "2": "ID_10"}
    for copy, module in (("pipeline_vq_ldm_doppler.py", pipeline_file), ("unet/unet_doppler.py", unet_file)):
        assert (folder / copy).read_bytes() == Path(str(module.__file__)).read_bytes()


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
    script = f"""{STRANGER}
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


def test_strangers_load_it_from_the_hub(hub: str, folder: Path, tmp_path: Path):
    script = f"""{STRANGER}
import torch
from diffusers import DiffusionPipeline
{GENERATE}
pipe = DiffusionPipeline.from_pretrained("someone/walkers", trust_remote_code=True)
assert pixels(pipe).shape == (4, 16, 16, 1)
pipe.save_pretrained("saved")
"""
    run_alone(script, tmp_path, HF_ENDPOINT=hub, HF_HUB_OFFLINE="0")
    for copy in ("pipeline_vq_ldm_doppler.py", "unet/unet_doppler.py", "model_index.json"):
        assert (tmp_path / "saved" / copy).read_bytes() == (folder / copy).read_bytes()


def test_the_installed_class_needs_no_trust_and_runs_no_code_of_the_folder(hub: str, folder: Path, tmp_path: Path):
    for code in folder.rglob("*.py"):
        code.write_text("raise SystemExit('the copy in the folder was run')")
    script = f"""
import numpy as np, torch
from echoform import VQLDMDopplerPipeline
{GENERATE}
local = VQLDMDopplerPipeline.from_pretrained("first", torch_dtype=torch.float32)
remote = VQLDMDopplerPipeline.from_pretrained("someone/walkers")
for pipe in (local, remote):
    assert type(pipe) is VQLDMDopplerPipeline
    assert type(pipe.unet).__module__ == "echoform.unet_doppler"
assert np.array_equal(pixels(local), pixels(remote))
local.save_pretrained("second")
"""
    run_alone(script, tmp_path, HF_ENDPOINT=hub, HF_HUB_OFFLINE="0")
    assert (tmp_path / "second/unet/unet_doppler.py").read_bytes() == Path(str(unet_file.__file__)).read_bytes()
