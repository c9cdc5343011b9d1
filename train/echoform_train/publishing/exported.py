"""Exported models: which class a folder holds, where it lies in the output of a training, and loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from echoform_train.data.hub import download_file
from echoform_train.engine.errors import MissingFileError, UserError, refused_by
from echoform_train.engine.files import FACTS, FIRST_STAGE, MODEL_CONFIG, MODEL_INDEX, PIPELINE
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.sources import resolve_source
from echoform_train.publishing.model_folder import LOADING_ERRORS, check_index, check_model
from echoform_train.publishing.scheduler_trial import try_scheduler
from echoform_train.publishing.snapshot import download_model


def class_name(folder: Path) -> str:
    """Name of the class that a folder was exported from.

    Raises:
        FileNotFoundError: If the folder holds neither model_index.json nor config.json.
        UserError: If that file names no class.
    """
    path = next((folder / name for name in (MODEL_INDEX, MODEL_CONFIG) if (folder / name).is_file()), None)
    if path is None:
        raise MissingFileError(f"{folder} holds neither {MODEL_INDEX} nor {MODEL_CONFIG}; is it an exported folder?")
    config = read_json_object(path)
    name = _name_of_class(config.get("_class_name", config.get("architectures")))  # diffusers, transformers
    if not isinstance(name, str):
        raise UserError(f"{path} must name its class, got {name!r:.80}")
    return name


def find_model(folder: Path) -> Path:
    """Folder of the exported model, given that folder or the output folder of a training.

    Raises:
        FileNotFoundError: If there is no exported model.
    """
    if (folder / MODEL_INDEX).is_file() or (folder / MODEL_CONFIG).is_file():
        return folder
    if (folder / PIPELINE / MODEL_INDEX).is_file():
        return folder / PIPELINE
    if (folder / FIRST_STAGE / MODEL_CONFIG).is_file() and (folder / FACTS).is_file():
        return folder / FIRST_STAGE
    raise MissingFileError(
        f"{folder} holds no model: neither {MODEL_INDEX} nor {MODEL_CONFIG}, nor {PIPELINE}/, "
        f"nor {FIRST_STAGE}/ and {FACTS}"
    )


def find_pipeline(source: str | Path, pipeline_class: type[Any], token: str | None = None) -> Path:
    """Folder of an exported pipeline of one class, checked; one on the Hub is downloaded to the cache.

    Args:
        source: Folder, `user/name` or `user/name@revision`.
        pipeline_class: Class of the installed echoform.
        token: Token of the Hub; None is HF_TOKEN or the one that `hf auth login` stored.

    Raises:
        MissingFileError: If there is no such folder or repository, or no pipeline in it.
        UserError: If it holds a pipeline of another class, or one that cannot be loaded: see `check_model`.
    """
    location = resolve_source(source)
    folder = location if isinstance(location, Path) else download_model(location.repo, location.revision, token)
    if not (folder / MODEL_INDEX).exists():
        raise MissingFileError(f"{source} holds no {MODEL_INDEX}; is it an exported pipeline?")
    index = read_json_object(folder / MODEL_INDEX)
    check_index(index, folder / MODEL_INDEX)
    # A pipeline of another class would load without an error and fail later, or give other images.
    found = _name_of_class(index["_class_name"])
    if found != pipeline_class.__name__:
        raise UserError(f"the pipeline must be a {pipeline_class.__name__}, {source} holds a {found}")
    check_model(folder)
    return folder


def training_data_of(source: str | Path) -> dict[str, Any] | None:
    """The entry "data" of the facts.json of an exported pipeline: what it was trained on; None if it has no facts.

    Raises:
        FileNotFoundError: If there is no such folder, or the Hub cannot be reached.
        ValueError: If the file holds something else.
    """
    location = resolve_source(source)
    if isinstance(location, Path):
        path = location / FACTS if (location / FACTS).exists() else None
    else:
        path = download_file(location.repo, location.revision, FACTS, repo_type="model")
    if path is None:
        return None
    data = read_json_object(path).get("data")
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold an object data, which tells what the model was trained on")
    return data


def load_pipeline(
    source: str | Path, pipeline_class: type[Any], *, trust_remote_code: bool = False, **loading: Any
) -> Any:
    """Load an exported pipeline of one class from a folder or the Hub.

    Args:
        source: Folder, `user/name` or `user/name@revision`.
        pipeline_class: Class of the installed echoform.
        trust_remote_code: Run the code in the folder or repository instead of the installed class.
        loading: Further arguments of `from_pretrained`, such as `dtype`.

    Raises:
        MissingFileError: As `find_pipeline`.
        UserError: As `find_pipeline`, and if the pipeline refuses its settings or cannot sample with its scheduler.
    """
    folder = find_pipeline(source, pipeline_class)
    with refused_by(f"{source} cannot be loaded", LOADING_ERRORS):
        if trust_remote_code:
            pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True, **loading)
        else:
            pipeline = pipeline_class.from_pretrained(folder, **loading)
    if "scheduler" in pipeline.components:
        try_scheduler(pipeline.scheduler, pipeline.config.get("num_inference_steps", 8), source)
    return pipeline


def _name_of_class(entry: Any) -> Any:
    """Name of a class in a JSON file, stored as "Class", or as ["file", "Class"] if the code file lies beside it."""
    return entry[-1] if isinstance(entry, list) and entry else entry
