"""The identity of an exported model: a hash of its weights and configs, by which scores and images name their model."""

from __future__ import annotations

import math
from pathlib import Path

from echoform_train.engine.hashes import json_hash, sha256_of
from echoform_train.engine.json_files import read_json
from echoform_train.publishing.fingerprint import loaded_files


def model_identity(folder: Path) -> str:
    """sha256, in hexadecimal, of the weights and configs of an exported pipeline or model.

    Code files, cards and facts do not count, nor what libraries note in a config, such as their version: the same model
    saved by another version, or pushed and downloaded, keeps its identity.

    Raises:
        UserError: If a config is no JSON.
    """
    found = {}
    for name in loaded_files(folder):
        path = folder / name
        if path.suffix == ".safetensors":
            found[name] = sha256_of(path)
        elif path.suffix == ".json":
            found[name] = _without_notes(read_json(path, with_infinity=True))
    return json_hash(found)


def _without_notes(value: object) -> object:
    if not isinstance(value, dict):
        return value
    kept = {name: each for name, each in value.items() if name == "_class_name" or not name.startswith("_")}
    # Schedulers may have an infinite number, which is no JSON to hash.
    return {name: str(each) if isinstance(each, float) and math.isinf(each) else each for name, each in kept.items()}
