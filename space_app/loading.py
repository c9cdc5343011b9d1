"""Which pipelines the Space shows, and their loading from the Hub or a folder, without the echoform package."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline
from hardware import device
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

Kind = Literal["doppler", "depth"]

PINNED = Path(__file__).with_name("models.json")
"""File that `echoform space --push` writes beside the app: {kind: {"repo": ..., "revision": ...}}."""


@dataclass(frozen=True)
class Source:
    """Where a pipeline is loaded from."""

    repo: str
    """Hub id or local folder."""
    revision: str | None
    """Commit, branch or tag on the Hub; None takes the newest."""


def variable(kind: Kind) -> str:
    """Name of the environment variable that names a pipeline."""
    return f"ECHOFORM_{kind.upper()}_REPO"


def source(kind: Kind) -> Source | None:
    """Where to load a pipeline from: the environment variable, else models.json, else None."""
    if repo := os.environ.get(variable(kind)):
        return Source(repo, os.environ.get(f"ECHOFORM_{kind.upper()}_REVISION") or None)
    pinned = json.loads(PINNED.read_text()).get(kind) if PINNED.is_file() else None
    return Source(pinned["repo"], pinned.get("revision")) if pinned else None


@cache
def load(kind: Kind) -> Any:
    """Load a pipeline with the code of its repository, on the CPU, once per process; None if none is configured."""
    origin = source(kind)
    if origin is None:
        return None
    pipe = DiffusionPipeline.from_pretrained(origin.repo, revision=origin.revision, trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    if kind == "doppler":
        for model in (pipe.vqvae, pipe.unet):
            model.to(memory_format=torch.channels_last)  # the fastest layout without gradients, on CPUs, too
    return pipe


def pipeline(kind: Kind) -> Any:
    """The loaded pipeline, on the GPU where there is one."""
    return load(kind).to(device())


def repository_file(kind: Kind, name: str) -> str | None:
    """Text of a file in the pipeline's repository, such as README.md or facts.json; None where it has no such file."""
    origin = source(kind)
    if origin is None:
        return None
    path = Path(origin.repo) / name
    if not Path(origin.repo).is_dir():
        try:
            path = Path(hf_hub_download(origin.repo, name, revision=origin.revision))
        except EntryNotFoundError:
            return None
    return path.read_text(encoding="utf-8") if path.is_file() else None


def loading_lines(kind: Kind) -> str:
    """Python lines that load the same pipeline outside the Space, to be shown to visitors."""
    origin = source(kind)
    assert origin is not None  # only tabs with a pipeline show code
    revision = f"revision={json.dumps(origin.revision)}, " if origin.revision else ""
    return (
        "from diffusers import DiffusionPipeline\n\n"
        f"pipe = DiffusionPipeline.from_pretrained({json.dumps(origin.repo)}, {revision}trust_remote_code=True)\n"
    )
