"""Fingerprints: a small seeded output, stored beside the weights, that a later output of the folder must equal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

from echoform_train.engine.atomic_files import write_text
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import FINGERPRINT, MODEL_CONFIG, MODEL_INDEX
from echoform_train.engine.hashes import sha256_of
from echoform_train.engine.json_files import read_json_object
from echoform_train.publishing.exported import class_name
from echoform_train.publishing.families import load_installed, published_class
from echoform_train.publishing.seeded_outputs import seeded_outputs

ARGUMENTS = {"seed": 0, "num_inference_steps": 4, "guidance_scale": 1.0}
TOLERANCE = 1e-3
"""Largest `deviation` that two machines or versions of torch and diffusers may show: well above rounding (3e-6), and
well below another seed, scheduler or training (0.1)."""

_CONFIGS = (MODEL_INDEX, MODEL_CONFIG, "scheduler_config.json")

Fingerprint = TypedDict(
    "Fingerprint",
    {
        "class": str,  # name of the exported class
        "versions": dict[str, str],  # of each package
        "arguments": dict[str, float],  # members of `seeded_outputs.Sampling`
        "tolerance": float,  # largest `deviation` of each output
        "outputs": dict[str, list[float]],
        "files": dict[str, str],  # sha256 of every file that loading reads
    },
)
"""Content of fingerprint.json."""


def write_fingerprint(folder: Path, loaded: Any = None) -> None:
    """Write fingerprint.json: seeded outputs of the folder on this machine, and the sha256 of every file behind them.

    Args:
        folder: An exported pipeline or model, or a first stage.
        loaded: What was loaded from it; None: it is loaded with the installed class.

    Raises:
        FileNotFoundError: If the folder holds neither model_index.json nor config.json.
        ValueError: If echoform does not publish its class.
    """
    make_outputs = published_class(folder).outputs
    if loaded is None:
        loaded = load_installed(folder, dtype=torch.float32, use_safetensors=True)
    facts: Fingerprint = {
        "class": class_name(folder),
        "versions": {package: version(package) for package in ("echoform", "torch", "diffusers")},
        "arguments": ARGUMENTS,
        "tolerance": TOLERANCE,
        "outputs": seeded_outputs(loaded, make_outputs, **ARGUMENTS),
        "files": {path: sha256_of(folder / path) for path in loaded_files(folder)},
    }
    _write(folder, facts)


def update_file_hash(folder: Path, name: str) -> None:
    """Write the hash of a file that was changed into the fingerprint; only for what changes no output."""
    facts = read_json_object(folder / FINGERPRINT)
    _write(folder, facts | {"files": facts["files"] | {name: sha256_of(folder / name)}})


def _write(folder: Path, facts: Mapping[str, Any]) -> None:
    # One line per fact: a file with one number per line would be too long to look at.
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items())
    write_text(folder / FINGERPRINT, f"{{\n{lines}\n}}\n")


def deviation(stored: Sequence[float], made: Sequence[float]) -> float:
    """Difference between two outputs as a share of the root mean square of the stored one; 0 for equal ones.

    The difference is the 98 % quantile over all values: where two codes of a codebook are about equally near, a
    rounding error decides between them, so that a few pixels may differ. NaN in either output makes the result NaN.

    Raises:
        ValueError: If they differ in length.
    """
    if len(stored) != len(made):
        raise UserError(f"outputs must be of one length, got {len(stored)} and {len(made)} values")
    reference, other = np.asarray(stored, np.float64), np.asarray(made, np.float64)
    difference = float(np.quantile(np.abs(reference - other), 0.98))
    scale = math.sqrt(float(np.square(reference).mean()))
    return 0.0 if difference == 0 else difference / scale if scale else math.inf


def loaded_files(folder: Path) -> list[str]:
    """Sorted paths of the files that loading reads: code, weights and configurations."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix in (".py", ".safetensors", ".onnx")
        or path.name in _CONFIGS
        or path.name.endswith(".safetensors.index.json")
    )
