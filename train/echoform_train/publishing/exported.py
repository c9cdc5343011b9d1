"""Exported models: which class a folder holds, where it lies in the output of a training, and loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download

from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import FACTS, FIRST_STAGE, MODEL_CONFIG, MODEL_INDEX, PIPELINE
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.sources import resolve_source


def class_name(folder: Path) -> str:
    """Name of the class that a folder was exported from.

    Raises:
        FileNotFoundError: If the folder holds neither model_index.json nor config.json.
    """
    path = next((folder / name for name in (MODEL_INDEX, MODEL_CONFIG) if (folder / name).is_file()), None)
    if path is None:
        raise MissingFileError(f"{folder} holds neither {MODEL_INDEX} nor {MODEL_CONFIG}; is it an exported folder?")
    config = read_json_object(path)
    return _name_of_class(config.get("_class_name", config.get("architectures")))  # diffusers, transformers


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


def find_pipeline(source: str | Path, pipeline_class: type[Any]) -> Path:
    """Folder of an exported pipeline of one class; one on the Hub is downloaded to the cache.

    Args:
        source: Folder, `user/name` or `user/name@revision`.
        pipeline_class: Class of the installed echoform.

    Raises:
        FileNotFoundError: If there is no such folder, or no pipeline in it.
        ValueError: If it holds a pipeline of another class.
    """
    location = resolve_source(source)
    folder = (
        location if isinstance(location, Path) else Path(snapshot_download(location.repo, revision=location.revision))
    )
    _check_index(folder, source)
    _check_class(DiffusionPipeline.load_config(folder), source, pipeline_class)
    return folder


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
        FileNotFoundError: If there is no such folder, or no pipeline in it.
        ValueError: If it holds a pipeline of another class.
    """
    location = resolve_source(source)
    if isinstance(location, Path):
        _check_index(location, source)
        name, revision = location, None
    else:
        name, revision = location
    # A pipeline of another class would load without an error and fail later, or give other images.
    _check_class(DiffusionPipeline.load_config(name, revision=revision), source, pipeline_class)
    if trust_remote_code:
        return DiffusionPipeline.from_pretrained(name, revision=revision, trust_remote_code=True, **loading)
    return pipeline_class.from_pretrained(name, revision=revision, **loading)


def _check_index(folder: Path, source: str | Path) -> None:
    if not (folder / MODEL_INDEX).is_file():
        raise MissingFileError(f"{source} holds no {MODEL_INDEX}; is it an exported pipeline?")


def _check_class(index: Any, source: str | Path, pipeline_class: type[Any]) -> None:
    found = _name_of_class(index["_class_name"])
    if found != pipeline_class.__name__:
        raise UserError(f"the pipeline must be a {pipeline_class.__name__}, {source} holds a {found}")


def _name_of_class(entry: Any) -> str:
    """Name of a class in a JSON file, stored as "Class", or as ["file", "Class"] if the code file lies beside it."""
    return entry[-1] if isinstance(entry, list) else entry
