"""Which models the Space shows, and their loading from the Hub or a folder, without the echoform package."""

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

Kind = Literal["doppler", "depth", "classifier"]
KINDS: tuple[Kind, ...] = ("doppler", "depth", "classifier")

PINNED = Path(__file__).with_name("models.json")
"""File that `echoform space --push` writes beside the app: {kind: {"repo": ..., "revision": ...}, "users": [...]}."""


PARTS = {"doppler": ("vqvae", "unet", "scheduler"), "depth": ("autoencoder",)}
"""Components that a pipeline of each kind has."""
CLASSIFIER_TYPE = "echoform_spectrogram_classifier"
"""model_type of a SpectrogramClassifier."""
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
class Classifier:
    """A SpectrogramClassifier, and the image processor that prepares pictures for it."""

    model: Any
    processor: Any

    def to(self, name: str) -> Classifier:
        """Move the model to a device."""
        self.model.to(name)
        return self


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
    """Load a model with the code of its repository, on the CPU, once per process; None if none is configured.

    Raises:
        CannotBeShownError: If it is missing, damaged, or of another kind.
    """
    origin = source(kind)
    if origin is None:
        return None
    check_folder(kind, origin.repo)
    if kind == "classifier":
        return load_classifier(origin)
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


def load_classifier(origin: Source) -> Classifier:
    """A classifier and its image processor.

    Raises:
        CannotBeShownError: If one is missing or damaged, or another model lies there.
    """
    with damage_as_sentence(origin.repo, "a classifier"):
        from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

        loading: dict[str, Any] = {"revision": origin.revision, "trust_remote_code": True}
        config = AutoConfig.from_pretrained(origin.repo, **loading)
        if config.model_type != CLASSIFIER_TYPE:
            name = str(config.model_type)[:80]
            raise CannotBeShownError(f"{origin.repo} is no classifier of spectrograms, but a model of type {name}")
        model = AutoModelForImageClassification.from_pretrained(
            origin.repo, config=config, use_safetensors=True, **loading
        )
        processor = AutoImageProcessor.from_pretrained(origin.repo, **loading)
    names = (config.id2label or {}).values()
    if not all(isinstance(name, str) and name for name in names):
        raise CannotBeShownError(f"users of {origin.repo} must have names, got {str(list(names))[:200]}")
    if not all(bool(one.isfinite().all()) for one in model.state_dict().values()):
        raise CannotBeShownError(f"the weights of {origin.repo} must be finite, but some are not")
    if max(sides := (processor.height, processor.width)) > MAX_PX:
        raise CannotBeShownError(f"pictures of {origin.repo} must have sides in 1..{MAX_PX}, got {sides}")
    return Classifier(model.eval(), processor)


@contextmanager
def damage_as_sentence(repo: str, kind: str = "a pipeline") -> Iterator[None]:
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
        raise CannotBeShownError(f"{repo} cannot be used as {kind}: {type(error).__name__}: {reason}") from error


def check_folder(kind: Kind, repo: str) -> None:
    """Check that a local folder looks like a model of a kind, before anything is loaded; an id of the Hub passes.

    Raises:
        CannotBeShownError: If it is a file or lacks its index or config, or if what it holds is no ordinary file, or
            no JSON, or too large.
    """
    folder, is_classifier = Path(repo), kind == "classifier"
    what = "classifier" if is_classifier else "pipeline"
    needed = ("config.json", "preprocessor_config.json") if is_classifier else ("model_index.json",)
    if not folder.is_dir():
        if folder.exists():
            raise CannotBeShownError(f"{repo} is a file; a {what} is a folder or an id of the Hub")
        if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", repo):
            raise CannotBeShownError(f"there is no folder {repo}, and an id of the Hub reads user/name")
        return
    for name in needed:
        if not (folder / name).is_file():
            raise CannotBeShownError(f"{repo} holds no {name}; is it an exported {what}?")
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
        is_config = path.parent != folder or (is_classifier and path.name in needed)
        if is_config and (largest := largest_number(content)) > MAX_NUMBER:
            raise CannotBeShownError(f"whole numbers in {path} must be at most {MAX_NUMBER:,}, got {str(largest)[:20]}")
        for key, one in content.items() if is_config else ():
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
    """The loaded model, on the GPU where there is one."""
    return load(kind).to(device())


def repository_file(kind: Kind, name: str) -> str | None:
    """Text of a file in the pipeline's repository, such as README.md or facts.json; None where it has no such file."""
    origin = source(kind)
    return None if origin is None else repository_text(origin, name)


def repository_text(origin: Source, name: str) -> str | None:
    """Text of a file in a repository or folder; None where it has no such file.

    Raises:
        CannotBeShownError: If it is too large.
    """
    path = Path(origin.repo) / name
    if not Path(origin.repo).is_dir():
        try:
            path = Path(hf_hub_download(origin.repo, name, revision=origin.revision))
        except EntryNotFoundError:
            return None
    if path.is_file() and path.stat().st_size > MAX_JSON_BYTES:
        raise CannotBeShownError(f"{path} may have at most {MAX_JSON_BYTES >> 20} MB, got {path.stat().st_size >> 20}")
    return path.read_text(encoding="utf-8") if path.is_file() else None


@cache
def facts(kind: Kind) -> dict[str, Any]:
    """Content of facts.json in the model's repository, which its training wrote; {} where there is none.

    Raises:
        CannotBeShownError: If it is no JSON object, or its entries "data" and "card" are none.
    """
    text = repository_file(kind, "facts.json")
    try:
        content = {} if text is None else json.loads(text)
        data, card = content.get("data", {}), content.get("card", {})
    except (ValueError, RecursionError, AttributeError):
        content = data = card = None
    if not isinstance(content, dict) or not isinstance(data, dict) or not isinstance(card, dict):
        origin = source(kind)
        assert origin is not None  # the file was read there
        raise CannotBeShownError(f"facts.json of {origin.repo} must hold one JSON object, with objects data and card")
    return content


def loading_lines(kind: Kind) -> str:
    """Python lines that load the same pipeline outside the Space, to be shown to visitors."""
    origin = source(kind)
    assert origin is not None  # only tabs with a pipeline show code
    revision = f"revision={json.dumps(origin.revision)}, " if origin.revision else ""
    return (
        "from diffusers import DiffusionPipeline\n\n"
        f"pipe = DiffusionPipeline.from_pretrained({json.dumps(origin.repo)}, {revision}trust_remote_code=True)\n"
    )
