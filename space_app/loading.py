"""Which pipelines the Space shows, and how they come: as a stranger would load them, from the Hub or a folder."""

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
"""Beside the app where `echoform space --push` wrote it: {kind: {"repo": ..., "revision": ...}}."""


@dataclass(frozen=True)
class Source:
    """Where a pipeline lies."""

    repo: str
    """Hub id or local folder."""
    revision: str | None
    """Commit, branch or tag of the Hub; None is the newest."""


def variable(kind: Kind) -> str:
    """Environment variable that names a pipeline."""
    return f"ECHOFORM_{kind.upper()}_REPO"


def source(kind: Kind) -> Source | None:
    """The pipeline that the environment names, else the one that is pinned beside the app, else None."""
    if repo := os.environ.get(variable(kind)):
        return Source(repo, os.environ.get(f"ECHOFORM_{kind.upper()}_REVISION") or None)
    pinned = json.loads(PINNED.read_text()).get(kind) if PINNED.is_file() else None
    return Source(pinned["repo"], pinned.get("revision")) if pinned else None


@cache
def load(kind: Kind) -> Any:
    """A pipeline on the CPU, loaded once, or None where none is named; its class comes with its repository."""
    place = source(kind)
    if place is None:
        return None
    pipe = DiffusionPipeline.from_pretrained(place.repo, revision=place.revision, trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    if kind == "doppler":
        for model in (pipe.vqvae, pipe.unet):
            model.to(memory_format=torch.channels_last)  # the fastest without gradients, on CPUs too
    return pipe


def pipeline(kind: Kind) -> Any:
    """The loaded pipeline, on the GPU where there is one, for what a tab does with it."""
    return load(kind).to(device())


def companion(kind: Kind, name: str) -> str | None:
    """Text of a file beside the weights, such as README.md or facts.json; None where there is none."""
    place = source(kind)
    if place is None:
        return None
    path = Path(place.repo) / name
    if not Path(place.repo).is_dir():
        try:
            path = Path(hf_hub_download(place.repo, name, revision=place.revision))
        except EntryNotFoundError:
            return None
    return path.read_text(encoding="utf-8") if path.is_file() else None


def loading_lines(kind: Kind) -> str:
    """The first lines of Python that does the same outside the Space."""
    place = source(kind)
    assert place is not None  # a tab without a pipeline shows no code
    revision = f"revision={json.dumps(place.revision)}, " if place.revision else ""
    return (
        "from diffusers import DiffusionPipeline\n\n"
        f"pipe = DiffusionPipeline.from_pretrained({json.dumps(place.repo)}, {revision}trust_remote_code=True)\n"
    )
