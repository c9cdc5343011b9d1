"""The official `hf` command line as a client of what we push."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from echoform import VQLDMDopplerPipeline
from hub_server import Hub


def hf(*arguments: str) -> str:
    program = Path(sys.executable).with_name("hf")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hf_lists_downloads_and_uploads_what_we_pushed(
    hub: Hub, make_pipeline: Callable[..., VQLDMDopplerPipeline], tmp_path: Path
):
    repo_id = hub.repo_id("listed")
    pipe = make_pipeline()
    pipe.push_to_hub(repo_id)

    search = repo_id.partition("/")[2]
    listed = json.loads(hf("models", "ls", "--search", search, "--filter", "echoform", "--format", "json"))
    assert [(row["id"], row["library_name"]) for row in listed] == [(repo_id, "diffusers")]

    hf("download", repo_id, "--local-dir", str(tmp_path / "copy"))
    copy = {
        path.relative_to(tmp_path / "copy").as_posix(): path.read_bytes()
        for path in (tmp_path / "copy").rglob("*")
        if path.is_file() and ".cache" not in path.parts and path.name != ".gitattributes"
    }
    assert copy == hub.files(repo_id)
    loaded = VQLDMDopplerPipeline.from_pretrained(tmp_path / "copy")
    assert all(torch.equal(loaded.unet.state_dict()[name], value) for name, value in pipe.unet.state_dict().items())

    pipe.save_pretrained(tmp_path / "plain")
    other = hub.repo_id("uploaded")
    hf("upload", other, str(tmp_path / "plain"))
    assert hub.files(other) == {name: content for name, content in copy.items() if name != "README.md"}
    assert VQLDMDopplerPipeline.from_pretrained(other).config["id2label"] == pipe.config["id2label"]
