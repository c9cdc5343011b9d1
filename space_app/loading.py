"""Which pipelines the Space shows, and their loading from the Hub or a folder, without the echoform package."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline, ModelMixin
from hardware import device
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

Kind = Literal["doppler", "depth"]

PINNED = Path(__file__).with_name("models.json")
"""File that `echoform space --push` writes beside the app: {kind: {"repo": ..., "revision": ...}}."""


PARTS = {"doppler": ("vqvae", "unet", "scheduler"), "depth": ("autoencoder",)}
"""Components that a pipeline of each kind has."""
MAX_JSON_BYTES = 4 * 2**20
MAX_NUMBER = 1_000_000
"""Largest whole number in the config of a model or scheduler."""
MAX_LAYERS = 64
MAX_STEPS = 50
"""Largest value of the page's slider."""
MAX_GUIDANCE = 20
MAX_PX = 2048


class CannotBeShownError(ValueError):
    """A pipeline is missing or damaged; the message names it and says why."""


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
    """Load a pipeline with the code of its repository, on the CPU, once per process; None if none is configured.

    Raises:
        CannotBeShownError: If it is missing, damaged, or of another kind.
    """
    origin = source(kind)
    if origin is None:
        return None
    check_folder(origin.repo)
    with damage_as_sentence(origin.repo):
        pipe = DiffusionPipeline.from_pretrained(
            origin.repo, revision=origin.revision, trust_remote_code=True, use_safetensors=True
        )
    pipe.set_progress_bar_config(disable=True)
    check_pipeline(kind, origin.repo, pipe)
    if kind == "doppler":
        for model in (pipe.vqvae, pipe.unet):
            model.to(memory_format=torch.channels_last)  # the fastest layout without gradients, on CPUs, too
    return pipe


@contextmanager
def damage_as_sentence(repo: str) -> Iterator[None]:
    """Turn whatever loading or first using a pipeline raises into one sentence; ECHOFORM_TRACEBACK=1 shows all of it.

    The code that runs here is that of the repository and of diffusers, which raise exceptions of any type where
    a file is damaged.

    Raises:
        CannotBeShownError: In place of any other exception.
    """
    try:
        yield
    except Exception as error:
        if os.environ.get("ECHOFORM_TRACEBACK") == "1" or isinstance(error, CannotBeShownError):
            raise
        reason = " ".join(str(error).split())[:300] or "no reason given"
        raise CannotBeShownError(f"{repo} cannot be used as a pipeline: {type(error).__name__}: {reason}") from error


def check_folder(repo: str) -> None:
    """Check that a local folder looks like a pipeline, before anything is loaded; an id of the Hub passes.

    Raises:
        CannotBeShownError: If it is a file or holds no model_index.json, or if what it holds is no ordinary file, or
            no JSON, or too large.
    """
    folder = Path(repo)
    if not folder.is_dir():
        if folder.exists():
            raise CannotBeShownError(f"{repo} is a file; a pipeline is a folder or an id of the Hub")
        if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", repo):
            raise CannotBeShownError(f"there is no folder {repo}, and an id of the Hub reads user/name")
        return
    if not (folder / "model_index.json").is_file():
        raise CannotBeShownError(f"{repo} holds no model_index.json; is it an exported pipeline?")
    # Reading from a pipe or a device would wait forever.
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        if not path.is_file() and not path.is_dir():
            raise CannotBeShownError(f"{path} must be an ordinary file")
    for path in (*folder.glob("*.json"), *folder.glob("*/*.json")):
        try:
            content = read_json(path) if path.stat().st_size <= MAX_JSON_BYTES else None
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            rule = f"one JSON object without NaN, of at most {MAX_JSON_BYTES >> 20} MB"
            raise CannotBeShownError(f"{path} must hold {rule}")
        # torch would try to make what these say, before it compares with the weights.
        if path.parent != folder and (largest := largest_number(content)) > MAX_NUMBER:
            raise CannotBeShownError(f"whole numbers in {path} must be at most {MAX_NUMBER:,}, got {str(largest)[:20]}")
        for key, one in content.items() if path.parent != folder else ():
            count = len(one) if isinstance(one, list) else largest_number(one)
            if ("layers" in key or key.endswith(("block_types", "block_out_channels"))) and count > MAX_LAYERS:
                raise CannotBeShownError(f"{path} may have at most {MAX_LAYERS} of {key[:60]}, got {count}")


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        ValueError: If it is no JSON, or holds NaN; schedulers do hold infinities.
    """

    def read_constant(name: str) -> float:
        if name == "NaN":
            raise ValueError(f"{path} holds NaN")
        return float(name)

    return json.loads(path.read_bytes(), parse_constant=read_constant)


def largest_number(value: Any) -> int:
    """The largest whole number inside a JSON value; 0 if there is none."""
    if isinstance(value, dict | list):
        return max(map(largest_number, value.values() if isinstance(value, dict) else value), default=0)
    return value if isinstance(value, int) else 0


def check_pipeline(kind: Kind, repo: str, pipe: Any) -> None:
    """Check that a pipeline is of a kind, and of a size that this page shows.

    Raises:
        CannotBeShownError: If not.
    """
    if missing := [name for name in PARTS[kind] if getattr(pipe, name, None) is None]:
        name = type(pipe).__name__
        raise CannotBeShownError(f"{repo} is no {kind} pipeline, but a {name}, which has no {', '.join(missing)}")
    for name in PARTS[kind]:
        model: Any = getattr(pipe, name)
        if isinstance(model, ModelMixin):
            if not all(bool(one.isfinite().all()) for one in model.state_dict().values()):
                raise CannotBeShownError(f"the weights of {name} of {repo} must be finite, but some are not")
            side = dict(model.config).get("sample_size") or 1
            if any(not 1 <= one <= MAX_PX for one in (side if isinstance(side, list | tuple) else [side])):
                raise CannotBeShownError(f"{name} of {repo} must have a sample_size in 1..{MAX_PX}, got {side}")
    if kind == "doppler":
        check_facts(repo, pipe.config)


def check_facts(repo: str, config: Any) -> None:
    """Check what the page shows of the config of a spectrogram pipeline.

    Raises:
        CannotBeShownError: If the steps do not fit to the page, a user has no name, or an axis is no range.
    """
    steps, guidance = config["num_inference_steps"], config["guidance_scale"]
    names, axes = config["id2label"], config["axes"] or {}
    if type(steps) is not int or not 1 <= steps <= MAX_STEPS:
        raise CannotBeShownError(f"num_inference_steps of {repo} must be in 1..{MAX_STEPS}, got {steps!r}")
    if not isinstance(guidance, int | float) or not 1 <= guidance <= MAX_GUIDANCE:
        raise CannotBeShownError(f"guidance_scale of {repo} must be in 1..{MAX_GUIDANCE}, got {guidance!r}")
    if not all(isinstance(name, str) and name for name in names.values()):
        raise CannotBeShownError(f"users of {repo} must have names, got {str(names)[:200]}")
    ranges = [(0, axes.get("window_s", 1)), (axes.get("doppler_min_hz", 0), axes.get("doppler_max_hz", 1))]
    ranges.append((axes.get("db_min", 0), axes.get("db_max", 1)))
    for low, high in ranges:
        is_range = isinstance(low, int | float) and isinstance(high, int | float) and low < high
        if not is_range or high - low == float("inf"):
            raise CannotBeShownError(f"axes of {repo} must be finite, the first end below the second, got {axes}")


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
    if path.is_file() and path.stat().st_size > MAX_JSON_BYTES:
        raise CannotBeShownError(f"{path} may have at most {MAX_JSON_BYTES >> 20} MB, got {path.stat().st_size >> 20}")
    return path.read_text(encoding="utf-8") if path.is_file() else None


def loading_lines(kind: Kind) -> str:
    """Python lines that load the same pipeline outside the Space, to be shown to visitors."""
    origin = source(kind)
    assert origin is not None  # only tabs with a pipeline show code
    revision = f"revision={json.dumps(origin.revision)}, " if origin.revision else ""
    return (
        "from diffusers import DiffusionPipeline, ModelMixin\n\n"
        f"pipe = DiffusionPipeline.from_pretrained({json.dumps(origin.repo)}, {revision}trust_remote_code=True)\n"
    )
