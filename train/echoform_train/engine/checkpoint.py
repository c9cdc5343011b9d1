"""Checkpoints of a training as safetensors and JSON files: no pickle, never half written, and damage is noticed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from echoform_train.engine.atomic_files import partial_folder, replace_folder, write_tensors
from echoform_train.engine.errors import DivergedError, MissingFileError, UserError
from echoform_train.engine.files import STATE
from echoform_train.engine.hashes import json_hash, sha256_of
from echoform_train.engine.json_files import read_json_object, write_json

PREFIX = "images-"

_NAME = re.compile(rf"{PREFIX}(\d+)")
# Keys of state.json that this file adds to the state that it is given.
_FILES, _HASH = "files", "sha256"


class Checkpoint(NamedTuple):
    """A checkpoint that was read and found whole."""

    folder: Path
    tensors: dict[str, dict[str, Tensor]]
    """By group, then by name."""
    state: dict[str, Any]
    """Everything that is not a tensor."""


def save_checkpoint(
    root: Path, seen: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], limit: int
) -> Path:
    """Write the folder `root/images-<seen>`, then remove the oldest checkpoints beyond `limit`.

    The folder gets its name only when all of it is on the disk. Its state.json holds a hash of every file.

    Args:
        root: Folder of the checkpoints of a training.
        seen: Images seen so far.
        tensors: By group, then by name; each group becomes one safetensors file.
        state: Everything else, JSON-able.
        limit: How many checkpoints to keep. The new one is kept even if damaged ones of more images are there.

    Returns:
        The folder of the new checkpoint.

    Raises:
        DivergedError: If a tensor holds a number that is not finite; nothing is written then.
    """
    for group, named in tensors.items():
        _check_finite(group, named, f"after {seen} images")
    for leftover in root.glob(f".{PREFIX}*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    folder = root / f"{PREFIX}{seen:09d}"
    partial = partial_folder(folder)
    for group, named in tensors.items():
        write_tensors(partial / _file_of(group), named)
    files = {_file_of(group): sha256_of(partial / _file_of(group)) for group in sorted(tensors)}
    content = {"seen": seen, **state, _FILES: files}
    write_json(partial / STATE, content | {_HASH: json_hash(content)})
    replace_folder(folder, partial)
    for old in list_checkpoints(root)[:-limit]:
        if old == folder:
            continue
        # Under another name first, so that a process killed meanwhile leaves no half checkpoint.
        hidden = old.rename(root / f".{old.name}.old")
        shutil.rmtree(hidden)
    return folder


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint that `save_checkpoint` wrote, and make sure that it is whole.

    Raises:
        MissingFileError: If the folder is no checkpoint, or one of its files is missing.
        UserError: If a file was truncated or changed since it was written.
    """
    if not (folder / STATE).is_file():
        raise MissingFileError(f"{folder} holds no {STATE}; is it a checkpoint?")
    state = _read_state(folder)
    tensors = {}
    for name, expected in state.pop(_FILES).items():
        path = folder / name
        if not path.is_file():
            raise MissingFileError(f"the checkpoint {folder} must hold {name}, which is missing")
        if sha256_of(path) != expected:
            raise UserError(f"{path} is damaged: it is not what was written, its sha256 is another")
        try:
            tensors[path.stem] = load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path} must be a safetensors file: {error}") from error
        _check_finite(path.stem, tensors[path.stem], f"in {folder}")
    return Checkpoint(folder, tensors, state)


def load_newest(folders: list[Path]) -> tuple[Checkpoint, list[str]]:
    """Read the newest whole checkpoint.

    Args:
        folders: Checkpoints, oldest first; at least one.

    Returns:
        The checkpoint, and for each newer one that is damaged a sentence that says why it was skipped.

    Raises:
        UserError: If all of them are damaged; the message tells why the newest is.
    """
    skipped: list[str] = []
    for folder in reversed(folders):
        try:
            return load_checkpoint(folder), skipped
        except UserError as error:
            skipped.append(str(error))
    raise UserError(f"{folders[0].parent} holds no whole checkpoint; the newest is damaged: {skipped[0]}")


def list_checkpoints(root: Path) -> list[Path]:
    """Folders with the name of a checkpoint below `root`, oldest first."""
    return sorted((path for path in root.glob(f"{PREFIX}*") if _NAME.fullmatch(path.name)), key=images_of)


def images_of(folder: Path) -> int:
    """The images seen that the name of a checkpoint tells; -1 if it has another name."""
    match = _NAME.fullmatch(folder.name)
    return -1 if match is None else int(match[1])


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


def _file_of(group: str) -> str:
    return f"{group}.safetensors"


def _read_state(folder: Path) -> dict[str, Any]:
    """Content of state.json, without its own hash."""
    path = folder / STATE
    state = read_json_object(path)
    seen, own_hash = state.get("seen"), state.pop(_HASH, None)
    if not isinstance(seen, int) or seen < 0:
        raise UserError(f"seen in {path} must be a number of images, at least 0, got {str(seen)[:40]}")
    if images_of(folder) not in (-1, seen):
        raise UserError(f"seen in {path} must be the number in the name of its folder, got {seen}")
    if own_hash != json_hash(state) or not isinstance(state.get(_FILES), dict):
        raise UserError(f"{path} is damaged or of another version of echoform: its {_HASH} does not fit its content")
    return state


def _check_finite(group: str, named: Mapping[str, Tensor], where: str) -> None:
    for name, tensor in named.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DivergedError(f"{name} of {group} holds numbers that are not finite {where}")
