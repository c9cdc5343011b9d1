"""Checkpoints of a training run as safetensors and JSON: nothing pickled, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from echoform_train.engine.files import STATE

PREFIX = "images-"


def save_checkpoint(
    root: Path, seen: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any], limit: int
) -> Path:
    """Write `root/images-<seen>`, one safetensors file a group, then remove the oldest beyond `limit`.

    The folder appears under its name only when it is complete.
    """
    folder = root / f"{PREFIX}{seen:09d}"
    partial = root / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for group, named in tensors.items():
        # clone() parts tensors that share storage, which safetensors refuses.
        own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in named.items()}
        save_file(own, partial / f"{group}.safetensors")
    (partial / STATE).write_text(json.dumps(state, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    for old in list_checkpoints(root)[:-limit]:
        shutil.rmtree(old)
    return folder


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Raises:
        FileNotFoundError: If the folder is no checkpoint.
    """
    if not (folder / STATE).is_file():
        raise FileNotFoundError(f"{folder} holds no {STATE}; is it a checkpoint?")
    tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    return tensors, json.loads((folder / STATE).read_text())


def list_checkpoints(root: Path) -> list[Path]:
    """Complete checkpoints below `root`, oldest first."""
    return sorted(root.glob(f"{PREFIX}*"))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimizer's state (AdamW: step, exp_avg, exp_avg_sq) into named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`, for an optimizer over the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
