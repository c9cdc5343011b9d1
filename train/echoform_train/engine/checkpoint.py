"""Checkpoints of a training as safetensors and JSON files; no pickle, and never a checkpoint that is half written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import CHECKPOINTS, STATE
from echoform_train.engine.json_files import read_json_object, write_json

PREFIX = "images-"


def save_checkpoint(
    root: Path, seen: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any], limit: int
) -> Path:
    """Write the folder `root/images-<seen>`, then remove the oldest checkpoints beyond `limit`.

    The folder gets its name only when it is complete.

    Args:
        root: Folder of the checkpoints of a training.
        seen: Images seen so far.
        tensors: By group, then by name; each group becomes one safetensors file.
        state: Everything else, JSON-able.
        limit: How many checkpoints to keep.

    Returns:
        The folder of the new checkpoint.
    """
    folder = root / f"{PREFIX}{seen:09d}"
    partial = root / f".{folder.name}.partial"
    # An interrupted process may have left a part of this checkpoint.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for group, named in tensors.items():
        # clone() separates tensors that share memory, which safetensors refuses to save.
        own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in named.items()}
        save_file(own, partial / f"{group}.safetensors")
    write_json(partial / STATE, state)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    for old in list_checkpoints(root)[:-limit]:
        shutil.rmtree(old)
    return folder


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read a checkpoint that `save_checkpoint` wrote.

    Returns:
        Its tensors by group and name, and its state.

    Raises:
        FileNotFoundError: If the folder is not a checkpoint.
    """
    if not (folder / STATE).is_file():
        raise MissingFileError(f"{folder} holds no {STATE}; is it a checkpoint?")
    tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    return tensors, read_json_object(folder / STATE)


def list_checkpoints(root: Path) -> list[Path]:
    """Complete checkpoints below `root`, oldest first."""
    return sorted(root.glob(f"{PREFIX}*"))


def find_checkpoint(output_dir: Path, resume_from: str | None) -> Path | None:
    """The checkpoint to resume from, or None to train from the start.

    Args:
        output_dir: Output folder of the training.
        resume_from: The flag --resume-from-checkpoint: "latest", the folder of a checkpoint, or None.

    Raises:
        ValueError: If the output folder already holds a training and the flag is not given.
    """
    found = list_checkpoints(output_dir / CHECKPOINTS)
    if resume_from is None:
        if found:
            raise UserError(
                f"{output_dir} holds a run of {found[-1].name}; continue it with "
                "--resume-from-checkpoint latest, or choose another --output-dir"
            )
        return None
    if resume_from == "latest":
        return found[-1] if found else None
    return Path(resume_from)


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
