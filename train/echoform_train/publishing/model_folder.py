"""Checks of an exported model's folder before diffusers or transformers touch it; no code of the folder is run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError

from echoform.code_files import plain_stem
from echoform_train.data.metadata import check_axes
from echoform_train.engine.errors import MissingFileError, UserError, refused_by
from echoform_train.engine.files import METADATA, MODEL_CONFIG, MODEL_INDEX, USER_WEIGHTS
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.limits import MOST_STEPS
from echoform_train.engine.names import check_names
from echoform_train.publishing.onnx_files import check_onnx_encoder
from echoform_train.publishing.weight_files import check_finite, check_tensors, read_header, weight_files

SCHEDULER_CONFIG = "scheduler_config.json"
"""In the folder of a pipeline's scheduler, as diffusers names it."""
LARGEST_NUMBER = 2**20
"""Largest whole number in the config of a model or scheduler, such as its number of codes."""
MOST_LAYERS = 64
"""Most layers per block, levels and numbers in a list of a config, which a model is built from one by one."""
MOST_TIMES = 100_000
"""Most noise levels of a scheduler."""

LOADING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)
"""What the constructors of models and the libraries raise about settings and files that they were not made for."""

ADDED_USER = "DopplerUser"
"""Class in the config of a user that was added to a pipeline."""
ONNX_ENCODER = "OnnxDepthEncoder"
"""Class in the config of a depth encoder for onnxruntime."""
_COLUMNS = {"file_name", "user", "index", "seed", "image_seed"}
_MODELS = {
    # class: module of the installed class
    "BlockDCT": "echoform.block_dct",
    "DopplerUNet2DModel": "echoform.unet_doppler",
    "ConvAutoencoder": "echoform.conv_autoencoder",
    "DepthAutoencoder": "echoform.depth_autoencoder",
    "DepthEncoder": "echoform.depth_autoencoder",
    "DepthEncoderModel": "echoform.transformers_depth_encoder",
    "SpectrogramClassifier": "echoform.spectrogram_classifier",
    "VQModel": "diffusers",
    "AutoencoderKL": "diffusers",
}


def check_added_user(folder: Path) -> None:
    """Check that a folder holds a user that `echoform add-user` learned; whether it fits, its pipeline finds out.

    Raises:
        MissingFileError: If its config or its weights are missing.
        UserError: If a file breaks a rule.
    """
    if not (folder / MODEL_CONFIG).is_file():
        raise MissingFileError(f"{folder} holds no {MODEL_CONFIG}; is it a user that `echoform add-user` learned?")
    config = read_json_object(folder / MODEL_CONFIG)
    if (found := config.get("_class_name")) != ADDED_USER:
        raise UserError(f"{folder} must hold a user that `echoform add-user` learned, it holds a {_short(found)}")
    check_names([config.get("user")], "user", folder / MODEL_CONFIG)
    for name, kind in (("base_model", str), ("base", dict)):
        if not isinstance(config.get(name), kind):
            raise UserError(f"{name} in {folder / MODEL_CONFIG} must tell the pipeline, got {_short(config.get(name))}")
    if config.get("axes") is not None:
        if not isinstance(config["axes"], dict):
            raise UserError(f"axes in {folder / MODEL_CONFIG} must be a table, got {_short(config['axes'])}")
        check_axes(config["axes"], f"axes in {folder / MODEL_CONFIG}")
    read_header(folder / USER_WEIGHTS)
    check_finite(folder / USER_WEIGHTS)


def check_model(folder: Path) -> None:
    """Check that a folder holds a whole pipeline or model that the installed classes can load.

    Checked are: only regular files are read; JSON is bounded; names of users and conditions may become folders; classes
    are models of echoform, first stages of diffusers or its schedulers; settings build the model; the weights are
    safetensors, finite, and have exactly the names and shapes of the model.

    Args:
        folder: An exported pipeline, or the folder of a single model.

    Raises:
        MissingFileError: If a file that loading reads is missing.
        UserError: If one breaks a rule; the message names the file and the rule.
    """
    if not (folder / MODEL_INDEX).exists():
        _check_single_model(folder)
        return
    index = read_json_object(folder / MODEL_INDEX)
    check_index(index, folder / MODEL_INDEX)
    for component, entry in components_of(index):
        _check_component(folder, component, entry)


def check_index(index: Mapping[str, Any], path: Path | str) -> None:
    """Check the names and numbers in model_index.json that do not depend on the class of the pipeline.

    Raises:
        UserError: If users or conditions are no tables of names, axes are upside down, or the default steps or guidance
            are out of range.
    """
    name = index.get("_class_name")
    if not (isinstance(name, str) or (isinstance(name, list) and len(name) == 2 and isinstance(name[1], str))):
        raise UserError(f"_class_name in {path} must name a class, got {_short(name)}")
    if index.get("id2label") is not None:
        _check_labels(index["id2label"], "user", f"id2label in {path}")
    conditions = {} if index.get("condition_labels") is None else index["condition_labels"]
    if not isinstance(conditions, dict):
        raise UserError(f"condition_labels in {path} must be a table, got {_short(conditions)}")
    check_names(list(conditions), "condition", path)
    if taken := sorted(_COLUMNS & conditions.keys()):
        raise UserError(f"conditions in {path} must not be called {', '.join(taken)}, as columns of {METADATA}")
    for condition, labels in conditions.items():
        _check_labels(labels, f"value of {condition}", f"condition_labels in {path}")
    if index.get("axes") is not None:
        if not isinstance(index["axes"], dict):
            raise UserError(f"axes in {path} must be a table, got {_short(index['axes'])}")
        check_axes(index["axes"], f"axes in {path}")
    for fact in ("latent_mean", "latent_std"):
        values = index.get(fact)
        for value in values.values() if isinstance(values, dict) else ():
            if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST_NUMBER:
                raise UserError(f"{fact} in {path} must be numbers of at most {LARGEST_NUMBER}, got {_short(value)}")
    steps, guidance = index.get("num_inference_steps", 1), index.get("guidance_scale", 1.0)
    if not _is_whole(steps) or not 1 <= steps <= MOST_STEPS:
        raise UserError(f"num_inference_steps in {path} must be a whole number in 1..{MOST_STEPS}, got {_short(steps)}")
    if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not 0 <= guidance <= 1000:
        raise UserError(f"guidance_scale in {path} must be a number in 0..1000, got {_short(guidance)}")


def components_of(index: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name and entry of every component that model_index.json names."""
    for name, entry in index.items():
        if isinstance(entry, list) and not name.startswith("_") and entry != [None, None]:
            yield name, entry


def _check_labels(labels: Any, kind: str, where: str) -> None:
    if not (isinstance(labels, dict) and labels):
        raise UserError(f"{where} must be a table of names, got {_short(labels)}")
    check_names(list(labels.values()), kind, where)
    if set(labels) != {str(index) for index in range(len(labels))}:
        raise UserError(f"{where} must name the ids 0..{len(labels) - 1}, got {_short(sorted(labels))}")


def _check_component(folder: Path, component: str, entry: list[Any]) -> None:
    """Check the folder of one component, whose entry in model_index.json is [library or file stem, class]."""
    where = f"{component} in {folder / MODEL_INDEX}"
    if not component.isidentifier():
        raise UserError(f"{folder / MODEL_INDEX} must name components plainly, got {_short(component)}")
    if len(entry) != 2 or not all(isinstance(word, str) for word in entry):
        raise UserError(f"{where} must be [library or file stem, class], got {_short(entry)}")
    library, name = entry
    if not (folder / component).is_dir():
        raise MissingFileError(f"{folder} holds no folder {component}, which its {MODEL_INDEX} names")
    if library == "diffusers" and _is_scheduler(name):
        _check_scheduler(folder / component / SCHEDULER_CONFIG, name)
        return
    module = _MODELS.get(name)
    home = "diffusers" if module == "diffusers" else str(module).rpartition(".")[2]
    if module is None or plain_stem(library.rpartition(".")[2]) != home:
        raise UserError(f"{where} must be a class among {', '.join(_MODELS)} or a scheduler, got {_short(entry)}")
    _check_weights(folder / component, name)


def _check_single_model(folder: Path) -> None:
    config = read_json_object(folder / MODEL_CONFIG)
    name = config.get("_class_name") or config.get("architectures")
    name = name[-1] if isinstance(name, list) and name else name
    if name == ADDED_USER:
        check_added_user(folder)
        return
    if name == ONNX_ENCODER:
        check_onnx_encoder(folder)
        return
    if not isinstance(name, str) or name not in _MODELS:
        raise UserError(f"the class in {folder / MODEL_CONFIG} must be among {', '.join(_MODELS)}, got {_short(name)}")
    _check_weights(folder, name)


def _check_weights(folder: Path, name: str) -> None:
    """Build the model without memory for its numbers, and hold the stored weights against it."""
    path = folder / MODEL_CONFIG
    config = read_json_object(path)
    stored = config.get("_class_name", name)
    if stored != name:
        raise UserError(f"{path} must be of a {name}, it is of {_short(stored)}")
    stem = "diffusion_pytorch_model"
    # The classes of echoform check their own settings.
    if _MODELS[name] == "diffusers":
        _check_sizes(config, path)
    model_class = getattr(import_module(_MODELS[name]), name)
    with refused_by(f"{path} must hold the settings of a {name}", LOADING_ERRORS), torch.device("meta"):
        if hasattr(model_class, "config_class") and "auto_map" in config and "model_type" in config:
            stem = "model"
            expected = model_class(model_class.config_class.from_dict(config)).state_dict()
        else:
            expected = model_class.from_config(_settings(config)).state_dict()
    check_tensors(weight_files(folder, stem), expected, name)


def _check_sizes(config: Mapping[str, Any], path: Path) -> None:
    for name, value in config.items():
        several = value if isinstance(value, list) else [value]
        if len(several) > MOST_LAYERS:
            raise UserError(f"{name} in {path} must have at most {MOST_LAYERS} entries, it has {len(several)}")
        most = MOST_LAYERS if "layers" in name else LARGEST_NUMBER
        for one in several:
            if _is_whole(one) and abs(one) > most:
                raise UserError(f"{name} in {path} must be at most {most}, got {one:.3g}")


def _check_scheduler(path: Path, name: str) -> None:
    config = read_json_object(path, with_infinity=True)
    for key, value in config.items():
        if (_is_whole(value) and abs(value) > MOST_TIMES) or (isinstance(value, list) and len(value) > MOST_TIMES):
            raise UserError(f"{key} in {path} must be at most {MOST_TIMES}, got {_short(value)}")
    with refused_by(f"{path} must hold the settings of a {name}", LOADING_ERRORS):
        getattr(diffusers, name).from_config(_settings(config))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a constructor: names with an underscore, and auto_map, are for the libraries."""
    return {name: value for name, value in config.items() if not name.startswith("_") and name != "auto_map"}


def _is_scheduler(name: str) -> bool:
    found = getattr(diffusers, name, None) if name.isidentifier() else None
    return isinstance(found, type) and issubclass(found, diffusers.SchedulerMixin)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
