"""The folder of a user that was added to a pipeline: written, checked, and run with its pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from echoform import VQLDMDopplerPipeline
from echoform_train.engine.errors import UserError, refused_by
from echoform_train.engine.files import FACTS, MODEL_CONFIG, PIPELINE, USER_WEIGHTS
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.sources import HubId, resolve_source
from echoform_train.publishing.card import write_card
from echoform_train.publishing.fingerprint import update_file_hash, write_fingerprint
from echoform_train.publishing.model_folder import ADDED_USER, LOADING_ERRORS, check_added_user
from echoform_train.publishing.snapshot import download_model

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Types of weights in which a pipeline can be loaded and still be recognised."""


def write_added_user(
    folder: Path,
    pipeline: VQLDMDopplerPipeline,
    user: str,
    tensors: Mapping[str, Tensor],
    facts: dict[str, Any],
    base_model: str,
) -> None:
    """Write the folder of a user: config, weights, facts, card and fingerprint.

    Args:
        folder: An empty folder.
        pipeline: The pipeline that the user was learned for, in float32.
        user: Name of the user.
        tensors: What `DopplerUNet2DModel.check_user` describes.
        facts: Facts of the learning, for facts.json.
        base_model: Id of the pipeline on the Hub, or name of its folder.
    """
    config = {
        "_class_name": ADDED_USER,
        "user": user,
        "base_model": base_model,
        "base": {str(dtype): pipeline.base_hash(dtype) for dtype in DTYPES},
        "axes": pipeline.config["axes"],
    }
    write_json(folder / MODEL_CONFIG, config)
    save_file(dict(tensors), folder / USER_WEIGHTS)
    write_json(folder / FACTS, facts)
    write_card(folder)
    # Loaded as anyone will load it.
    name = pipeline.load_user(folder)
    try:
        write_fingerprint(folder, pipeline)
    finally:
        pipeline.unload_user(name)


def find_added_user(source: str | Path, token: str | None = None) -> Path:
    """Folder of an added user, checked; one on the Hub is downloaded to the cache.

    Args:
        source: Folder, a file in it, `user/name` or `user/name@revision`.
        token: Token of the Hub; None is HF_TOKEN or the one that `hf auth login` stored.

    Raises:
        MissingFileError: If there is no such folder or repository.
        UserError: If it holds something else, or a file breaks a rule.
    """
    path = Path(source)
    place = path.parent if path.is_file() else resolve_source(source)
    folder = download_model(place.repo, place.revision, token) if isinstance(place, HubId) else place
    check_added_user(folder)
    return folder


def load_added_users(
    pipeline: Any, sources: Sequence[str | Path], flag: str = "--user-file", token: str | None = None
) -> dict[str, Path]:
    """Load users into a pipeline.

    Returns:
        Folder of each, by name of the user.

    Raises:
        MissingFileError: See `find_added_user`.
        UserError: If one does not fit the pipeline, or two have one name.
    """
    if sources and not hasattr(pipeline, "load_user"):
        raise UserError(f"{flag} needs a pipeline whose code can load users; without --trust-remote-code it does")
    folders = {}
    for source in sources:
        folder = find_added_user(source, token)
        with refused_by(f"{flag} {source} cannot be loaded", LOADING_ERRORS):
            folders[pipeline.load_user(folder)] = folder
    return folders


def learned_pixels(folder: Path) -> list[str]:
    """Hashes of the images that an added user was learned from, see `added_user_facts`; [] if unknown."""
    facts = read_json_object(folder / FACTS) if (folder / FACTS).is_file() else {}
    hashes = facts.get("learned_pixels", [])
    return [each for each in hashes if isinstance(each, str)] if isinstance(hashes, list) else []


def base_name(source: str | Path) -> str:
    """How an added user names the pipeline that it was learned for: by its id on the Hub, or by the name of its folder.

    Args:
        source: Folder, `user/name` or `user/name@revision`.
    """
    place = resolve_source(source)
    if isinstance(place, HubId):
        return str(source)
    folder = place.resolve()
    # Every training calls its pipeline so.
    return folder.parent.name if folder.name == PIPELINE else folder.name


def name_base(folder: Path, base_model: str) -> None:
    """Name another id of the pipeline on the Hub in the folder of an added user; nothing that is computed changes."""
    config = read_json_object(folder / MODEL_CONFIG)
    write_json(folder / MODEL_CONFIG, config | {"base_model": base_model})
    update_file_hash(folder, MODEL_CONFIG)


def base_of(folder: Path) -> str:
    """Hub id or folder name of the pipeline that an added user was learned for."""
    return str(read_json_object(folder / MODEL_CONFIG)["base_model"])
