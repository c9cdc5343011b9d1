"""Checks whether a folder from an unknown source may be loaded; they read its files and run no code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import diffusers
import transformers

from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import FINGERPRINT, MODEL_CONFIG, MODEL_INDEX, ONNX
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.names import check_relative_path
from echoform_train.publishing.fingerprint import sha256_of
from echoform_train.publishing.model_folder import ADDED_USER, ONNX_ENCODER, check_added_user, check_index
from echoform_train.publishing.onnx_files import check_onnx, check_onnx_encoder
from echoform_train.publishing.released import Releases, release_of
from echoform_train.publishing.weight_files import check_finite, read_header, weight_files

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
_HARMLESS = (".json", ".jsonl", ".md", ".txt", ".csv", ".yaml", ".png", ".jpg", ".jpeg", ".webp", ".gif")
_PLAIN_NAMES = (".gitattributes", ".gitignore", "LICENSE", "NOTICE")
_LIBRARIES = {
    "diffusers": (diffusers, ("ModelMixin", "SchedulerMixin")),
    "transformers": (transformers, ("PreTrainedModel",)),
}
_CLASSIFIER_LOADER = "AutoModelForImageClassification"
ONNX_LOADER = "onnxruntime.InferenceSession"
_SHARD_INDEX = ".safetensors.index.json"
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class Contents:
    """Contents of a folder that may be loaded; paths are relative to it."""

    loader: str
    """Class whose `from_pretrained` loads the folder, such as diffusers.DiffusionPipeline."""
    code: tuple[str, ...]
    weights: tuple[str, ...]
    release: str | None
    """Version of echoform that the code comes from; None if there is no code."""


def check_names(names: Iterable[str]) -> None:
    """Check the names of the files of a repository, before any of them is downloaded.

    Raises:
        ValueError: If a path points outside the repository, or a file is a pickle or of a kind that is not allowed.
    """
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise UserError(f"a file must lie in the repository, got {name!r:.200}")
        check_relative_path(name, "file", "the repository")
        suffix = path.suffix.lower()
        if suffix in _PICKLES:
            raise UserError(f"{name} may run code when it is read; weights must be safetensors")
        if suffix not in (*_HARMLESS, ".safetensors", ".onnx", ".py") and path.name not in _PLAIN_NAMES:
            raise UserError(f"{name} is neither weights, code that the repository names, text nor image")


def check_folder(folder: Path, names: Iterable[str], releases: Releases) -> Contents:
    """Check that a folder may be loaded.

    Args:
        folder: The folder.
        names: Paths of all files in it, relative to it, with /.
        releases: The known releases of echoform.

    Raises:
        FileNotFoundError: If it holds neither model_index.json nor config.json, or lacks code or weights.
        ValueError: If it holds something, or refers to something, that is not allowed.
    """
    names = sorted(names)
    check_names(names)
    parts = _named_parts(folder, names)
    code = _with_imports(folder, names, list(_named_code(folder, names, parts)))
    for name in names:
        if name.lower().endswith(".onnx"):
            check_onnx(folder / name)
    loader = "diffusers.DiffusionPipeline" if parts else _loader_of_model(folder, bool(code))
    if extra := [name for name in names if name.lower().endswith(".py") and name not in code]:
        raise UserError(f"{extra[0]} is code that nothing in the repository names")
    weights = (ONNX,) if loader == ONNX_LOADER else _check_weights(folder, names, parts)
    release = release_of({path: sha256_of(folder / path) for path in code}, releases) if code else None
    if FINGERPRINT not in names:
        raise MissingFileError(
            f"there is no {FINGERPRINT} to compare with; `echoform push` writes one beside the weights"
        )
    return Contents(loader, tuple(sorted(code)), weights, release)


def _named_parts(folder: Path, names: list[str]) -> dict[str, tuple[str, str]]:
    """(Library or file stem, class) by component of model_index.json; "" is the pipeline. Empty for a single model."""
    if MODEL_INDEX not in names:
        if MODEL_CONFIG not in names:
            raise MissingFileError(f"it holds neither {MODEL_INDEX} nor {MODEL_CONFIG}; is it an exported model?")
        return {}
    index = read_json_object(folder / MODEL_INDEX)
    check_index(index, MODEL_INDEX)
    parts = {"": _pair("_class_name", index.get("_class_name"))}
    for component, entry in index.items():
        if isinstance(entry, list) and not component.startswith("_") and entry != [None, None]:
            if not _NAME.fullmatch(component):
                raise UserError(f"model_index.json must name components plainly, got {component!r}")
            parts[component] = _pair(component, entry)
    return parts


def _pair(key: str, entry: Any) -> tuple[str, str]:
    if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(word, str) for word in entry)):
        raise UserError(f"{key} in model_index.json must be [library or file stem, class], got {json.dumps(entry)}")
    for word in entry:
        if not _NAME.fullmatch(word):
            raise UserError(
                f"{key} in model_index.json must name a library, or a file of the repository, and a class, got "
                f"{json.dumps(entry)}"
            )
    return entry[0], entry[1]


def _named_code(folder: Path, names: list[str], parts: Mapping[str, tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """Path and class of every code file that model_index.json or a config.json refers to."""
    for component, (library, class_name) in parts.items():
        if component and library in _LIBRARIES:
            _check_stock_class(component, library, class_name)
            continue
        path = f"{component}/{library}.py".lstrip("/")
        if path not in names:
            raise MissingFileError(
                f"{component or '_class_name'} in model_index.json is {library}.{class_name}, but there is no {path}, "
                f"and it is no class of {' or '.join(_LIBRARIES)}"
            )
        yield path, class_name
    for name in names:
        for reference in _references(folder / name) if name.endswith(MODEL_CONFIG) else []:
            module, _, class_name = reference.partition(".")
            if not (_NAME.fullmatch(module) and _NAME.fullmatch(class_name)):
                raise UserError(f"{name} must name code as file.Class, of a file beside it, got {reference!r}")
            path = f"{name.rpartition('/')[0]}/{module}.py".lstrip("/")
            if path not in names:
                raise MissingFileError(f"{name} names {reference}, but there is no {path}")
            yield path, class_name


def _references(path: Path) -> list[str]:
    """Code that a configuration makes diffusers or transformers import, as "file.Class"."""
    config = read_json_object(path, with_infinity=True)
    auto_map, tasks = config.get("auto_map") or {}, config.get("custom_pipelines") or {}
    if not (
        isinstance(auto_map, dict) and isinstance(tasks, dict) and all(isinstance(v, dict) for v in tasks.values())
    ):
        raise UserError(f"auto_map and custom_pipelines in {path.name} must be mappings")
    references = []
    for entry in (*auto_map.values(), *(task.get("impl") for task in tasks.values())):
        references += [str(one) for one in (entry if isinstance(entry, list) else [entry]) if one is not None]
    return references


def _with_imports(folder: Path, names: list[str], code: list[tuple[str, str]]) -> set[str]:
    """The given code files and the files beside them that they import; each must hold its class."""
    found: set[str] = set()
    waiting = []
    for path, class_name in code:
        if not any(isinstance(node, ast.ClassDef) and node.name == class_name for node in _parse(folder, path).body):
            raise UserError(f"{path} holds no class {class_name}, which the repository names")
        waiting.append(path)
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(_parse(folder, path)):
            if isinstance(node, ast.ImportFrom) and node.level:
                beside = f"{path.rpartition('/')[0]}/{node.module}.py".lstrip("/")
                if node.level > 1 or beside not in names:
                    raise MissingFileError(f"{path} imports {'.' * node.level}{node.module}, which is not beside it")
                waiting.append(beside)
    return found


def _parse(folder: Path, path: str) -> ast.Module:
    try:
        return ast.parse((folder / path).read_bytes())
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path} is no Python: {error}") from error


def _loader_of_model(folder: Path, has_code: bool) -> str:
    """Class that loads a single model; raises ValueError if there is no code and it is no model of diffusers."""
    config = read_json_object(folder / MODEL_CONFIG)
    if config.get("_class_name") == ADDED_USER:
        check_added_user(folder)
        return "diffusers.DiffusionPipeline"
    if config.get("_class_name") == ONNX_ENCODER and not has_code:
        check_onnx_encoder(folder)
        return ONNX_LOADER
    if has_code:
        if "model_type" not in config:
            return "diffusers.AutoModel"
        is_classifier = _CLASSIFIER_LOADER in (config.get("auto_map") or {})
        return f"transformers.{_CLASSIFIER_LOADER if is_classifier else 'AutoModel'}"
    name = config.get("_class_name")
    if not (isinstance(name, str) and _is_a("diffusers", name, "ModelMixin")):
        raise UserError(f"_class_name in config.json must be a model of diffusers where there is no code, got {name!r}")
    return f"diffusers.{name}"


def _check_stock_class(component: str, library: str, class_name: str) -> None:
    if not _is_a(library, class_name, *_LIBRARIES[library][1]):
        raise UserError(
            f"{component} in model_index.json must be a model or scheduler of {library}, got {library}.{class_name}"
        )


def _is_a(library: str, class_name: str, *bases: str) -> bool:
    module = _LIBRARIES[library][0]
    found = getattr(module, class_name, None)
    return isinstance(found, type) and issubclass(found, tuple(getattr(module, base) for base in bases))


def _check_weights(folder: Path, names: list[str], parts: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """Paths of the weights, which must be complete: every file with tensors, every shard, every component."""
    weights = tuple(name for name in names if name.endswith(".safetensors"))
    for name in weights:
        read_header(folder / name)
        check_finite(folder / name)
    for name in names:
        if name.endswith(_SHARD_INDEX):
            weight_files((folder / name).parent, PurePosixPath(name).name.removesuffix(_SHARD_INDEX))
    for component, (library, class_name) in parts.items():
        # Neither the pipeline itself nor a scheduler has weights.
        if not component or (library == "diffusers" and _is_a(library, class_name, "SchedulerMixin")):
            continue
        if not any(name.startswith(f"{component}/") for name in weights):
            raise MissingFileError(f"{component}/ holds no safetensors weights")
    if not weights:
        raise MissingFileError("there are no safetensors weights")
    return weights
