"""Whether a folder of somebody else may be loaded: every check reads, none runs anything that lies in the folder."""

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
from safetensors import SafetensorError, safe_open

from echoform_train.engine.files import FINGERPRINT
from echoform_train.publishing.fingerprint import sha256_of
from echoform_train.publishing.released import Releases, release_of

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
_HARMLESS = (".json", ".jsonl", ".md", ".txt", ".csv", ".yaml", ".png", ".jpg", ".jpeg", ".webp", ".gif")
_NAMES = (".gitattributes", ".gitignore", "LICENSE", "NOTICE")
_LIBRARIES = {
    "diffusers": (diffusers, ("ModelMixin", "SchedulerMixin")),
    "transformers": (transformers, ("PreTrainedModel",)),
}
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class Contents:
    """What a folder that may be loaded holds; paths as in the repository."""

    loader: str
    """Class whose `from_pretrained` loads it, such as diffusers.DiffusionPipeline."""
    code: tuple[str, ...]
    weights: tuple[str, ...]
    release: str | None
    """Version of echoform that the code is of; None where there is no code."""


def check_names(names: Iterable[str]) -> None:
    """Refuse a repository by the names of its files alone, before any of them is downloaded.

    Raises:
        ValueError: If a name leaves the repository, or is that of a pickle or of no kind of file that belongs there.
    """
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise ValueError(f"a file must lie in the repository, got {name!r}")
        suffix = path.suffix.lower()
        if suffix in _PICKLES:
            raise ValueError(f"{name} may run code when it is read; weights must be safetensors")
        if suffix not in (*_HARMLESS, ".safetensors", ".py") and path.name not in _NAMES:
            raise ValueError(f"{name} is neither weights, code that the repository names, text nor picture")


def check_folder(folder: Path, names: Iterable[str], releases: Releases) -> Contents:
    """Refuse a folder that may not be loaded.

    Args:
        folder: Where the files lie.
        names: Paths of all files in it, with /.
        releases: sha256 of the code files of each known release of echoform.

    Raises:
        FileNotFoundError: If it holds neither model_index.json nor config.json, or code or weights are missing.
        ValueError: If it holds or names what it must not.
    """
    names = sorted(names)
    check_names(names)
    parts = _named_parts(folder, names)
    code = _with_imports(folder, names, list(_named_code(folder, names, parts)))
    loader = "diffusers.DiffusionPipeline" if parts else _loader_of_model(folder, bool(code))
    if extra := [name for name in names if name.lower().endswith(".py") and name not in code]:
        raise ValueError(f"{extra[0]} is code that nothing in the repository names")
    weights = _check_weights(folder, names, parts)
    release = release_of({path: sha256_of(folder / path) for path in code}, releases) if code else None
    if FINGERPRINT not in names:
        raise FileNotFoundError(
            f"there is no {FINGERPRINT} to compare with; `echoform push` writes one beside the weights"
        )
    return Contents(loader, tuple(sorted(code)), weights, release)


def _named_parts(folder: Path, names: list[str]) -> dict[str, tuple[str, str]]:
    """By folder of model_index.json (the root is "") the library or file stem and the class; empty of a lone model."""
    if "model_index.json" not in names:
        if "config.json" not in names:
            raise FileNotFoundError("it holds neither model_index.json nor config.json; is it an exported model?")
        return {}
    index = read_json(folder / "model_index.json")
    parts = {"": _pair("_class_name", index.get("_class_name"))}
    for component, entry in index.items():
        if isinstance(entry, list) and not component.startswith("_") and entry != [None, None]:
            if not _NAME.fullmatch(component):
                raise ValueError(f"model_index.json must name components plainly, got {component!r}")
            parts[component] = _pair(component, entry)
    return parts


def _pair(key: str, entry: Any) -> tuple[str, str]:
    if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(word, str) for word in entry)):
        raise ValueError(f"{key} in model_index.json must be [library or file stem, class], got {json.dumps(entry)}")
    for word in entry:
        if not _NAME.fullmatch(word):
            raise ValueError(
                f"{key} in model_index.json must name a library, or a file of the repository, and a class, got "
                f"{json.dumps(entry)}"
            )
    return entry[0], entry[1]


def _named_code(folder: Path, names: list[str], parts: Mapping[str, tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """Path and class of every code file that model_index.json or an auto_map names."""
    for component, (library, class_name) in parts.items():
        if component and library in _LIBRARIES:
            _check_stock_class(component, library, class_name)
            continue
        path = f"{component}/{library}.py".lstrip("/")
        if path not in names:
            raise FileNotFoundError(
                f"{component or '_class_name'} in model_index.json is {library}.{class_name}, but there is no {path}, "
                f"and it is no class of {' or '.join(_LIBRARIES)}"
            )
        yield path, class_name
    for name in names:
        for reference in _references(folder / name) if name.endswith("config.json") else []:
            module, _, class_name = reference.partition(".")
            if not (_NAME.fullmatch(module) and _NAME.fullmatch(class_name)):
                raise ValueError(f"{name} must name code as file.Class, of a file beside it, got {reference!r}")
            path = f"{name.rpartition('/')[0]}/{module}.py".lstrip("/")
            if path not in names:
                raise FileNotFoundError(f"{name} names {reference}, but there is no {path}")
            yield path, class_name


def _references(path: Path) -> list[str]:
    """What a configuration tells diffusers or transformers to import."""
    config = read_json(path)
    auto_map, tasks = config.get("auto_map") or {}, config.get("custom_pipelines") or {}
    if not (
        isinstance(auto_map, dict) and isinstance(tasks, dict) and all(isinstance(v, dict) for v in tasks.values())
    ):
        raise ValueError(f"auto_map and custom_pipelines in {path.name} must be mappings")
    references = []
    for entry in (*auto_map.values(), *(task.get("impl") for task in tasks.values())):
        references += [str(one) for one in (entry if isinstance(entry, list) else [entry]) if one is not None]
    return references


def _with_imports(folder: Path, names: list[str], code: list[tuple[str, str]]) -> set[str]:
    """The named code files, which must hold their classes, and the files beside them that they import."""
    found: set[str] = set()
    waiting = []
    for path, class_name in code:
        if not any(isinstance(node, ast.ClassDef) and node.name == class_name for node in _parse(folder, path).body):
            raise ValueError(f"{path} holds no class {class_name}, which the repository names")
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
                    raise FileNotFoundError(f"{path} imports {'.' * node.level}{node.module}, which is not beside it")
                waiting.append(beside)
    return found


def _parse(folder: Path, path: str) -> ast.Module:
    try:
        return ast.parse((folder / path).read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is no Python: {error}") from error


def _loader_of_model(folder: Path, has_code: bool) -> str:
    """What loads a model on its own.

    Raises:
        ValueError: If it has no code and is no model of diffusers.
    """
    config = read_json(folder / "config.json")
    if has_code:
        return "transformers.AutoModel" if "model_type" in config else "diffusers.AutoModel"
    name = config.get("_class_name")
    if not (isinstance(name, str) and _is_a("diffusers", name, "ModelMixin")):
        raise ValueError(
            f"_class_name in config.json must be a model of diffusers where there is no code, got {name!r}"
        )
    return f"diffusers.{name}"


def _check_stock_class(component: str, library: str, class_name: str) -> None:
    if not _is_a(library, class_name, *_LIBRARIES[library][1]):
        raise ValueError(
            f"{component} in model_index.json must be a model or scheduler of {library}, got {library}.{class_name}"
        )


def _is_a(library: str, class_name: str, *bases: str) -> bool:
    module = _LIBRARIES[library][0]
    found = getattr(module, class_name, None)
    return isinstance(found, type) and issubclass(found, tuple(getattr(module, base) for base in bases))


def _check_weights(folder: Path, names: list[str], parts: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    weights = tuple(name for name in names if name.endswith(".safetensors"))
    for name in weights:
        try:
            with safe_open(folder / name, framework="numpy") as file:
                count = len(file.keys())
        except SafetensorError as error:
            raise ValueError(f"{name} is truncated or no safetensors file ({error})") from error
        if count == 0:
            raise ValueError(f"{name} holds no tensors")
    for name in names:
        if name.endswith(".safetensors.index.json"):
            shards = read_json(folder / name).get("weight_map", {})
            beside = name.rpartition("/")[0]
            for shard in sorted(set(shards.values())):
                if f"{beside}/{shard}".lstrip("/") not in weights:
                    raise FileNotFoundError(f"{name} names {shard!r}, which does not lie beside it")
    for component, (library, class_name) in parts.items():
        if not component or (library == "diffusers" and _is_a(library, class_name, "SchedulerMixin")):
            continue
        if not any(name.startswith(f"{component}/") for name in weights):
            raise FileNotFoundError(f"{component}/ holds no safetensors weights")
    if not weights:
        raise FileNotFoundError("there are no safetensors weights")
    return weights


def read_json(path: Path) -> dict[str, Any]:
    """The mapping that a file holds.

    Raises:
        ValueError: If it is no JSON, or no mapping.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} must hold a mapping, got {type(content).__name__}")
    return content
