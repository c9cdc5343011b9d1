"""Fingerprints: a small seeded output beside the weights, which shows later whether a folder still makes the same."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from echoform_train.engine.files import FINGERPRINT
from echoform_train.publishing.seeded_outputs import HOMES, seeded_outputs

ARGUMENTS = {"seed": 0, "num_inference_steps": 4, "guidance_scale": 1.0}
TOLERANCE = 1e-3
"""Largest `deviation` between two machines. Of trained pipelines 3e-6 was measured between 1 and 2 threads, SSE4 and
AVX-512, torch 2.6 and 2.15, diffusers 0.41 and 0.42; another seed, scheduler or training makes 0.1 and more."""

_CONFIGS = ("model_index.json", "config.json", "scheduler_config.json")


def write_fingerprint(folder: Path) -> None:
    """Write fingerprint.json: what the folder makes on this machine, and the sha256 of every file that this came from.

    Args:
        folder: An exported pipeline or model of ours, or a first stage; it is loaded with the installed class.

    Raises:
        FileNotFoundError: If the folder holds neither model_index.json nor config.json.
        ValueError: If its class is none that has a fingerprint.
    """
    name = class_name(folder)
    home = import_module(HOMES[name])  # not at the top: the script must start without echoform
    loaded = getattr(home, name).from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    outputs = seeded_outputs(loaded, **ARGUMENTS)
    facts = {
        "class": name,
        "versions": {package: version(package) for package in ("echoform", "torch", "diffusers")},
        "arguments": ARGUMENTS,
        "tolerance": TOLERANCE,
        "outputs": outputs,
        "files": {path: sha256_of(folder / path) for path in loaded_files(folder)},
    }
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items())
    (folder / FINGERPRINT).write_text(f"{{\n{lines}\n}}\n")


def deviation(stored: Sequence[float], made: Sequence[float]) -> float:
    """How far apart two outputs are, 0 for equal ones, as a share of the root mean square of the stored one.

    It is the difference that 98 % of the values stay below: where two codes of a codebook are as good as equally near,
    a rounding error decides between them, and a few pixels rightly differ. NaN where either holds one.

    Raises:
        ValueError: If they differ in length.
    """
    if len(stored) != len(made):
        raise ValueError(f"outputs must be of one length, got {len(stored)} and {len(made)} values")
    reference, other = np.asarray(stored, np.float64), np.asarray(made, np.float64)
    difference = float(np.quantile(np.abs(reference - other), 0.98))
    scale = math.sqrt(float(np.square(reference).mean()))
    return 0.0 if difference == 0 else difference / scale if scale else math.inf


def class_name(folder: Path) -> str:
    """Name of the class that a folder was saved from.

    Raises:
        FileNotFoundError: If it holds neither model_index.json nor config.json.
        ValueError: If the class is none that has a fingerprint.
    """
    paths = [folder / name for name in ("model_index.json", "config.json") if (folder / name).is_file()]
    if not paths:
        raise FileNotFoundError(f"{folder} holds neither model_index.json nor config.json; is it an exported folder?")
    config = json.loads(paths[0].read_text())
    name = config.get("_class_name", config.get("architectures"))  # diffusers has the one, transformers the other
    name = name[-1] if isinstance(name, list) else name
    if name not in HOMES:
        raise ValueError(f"the class of {paths[0]} must be among {', '.join(HOMES)}, got {name!r}")
    return name


def loaded_files(folder: Path) -> list[str]:
    """The files that loading reads: code, weights and configurations, sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix in (".py", ".safetensors")
        or path.name in _CONFIGS
        or path.name.endswith(".safetensors.index.json")
    )


def sha256_of(path: Path) -> str:
    """Digest of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
