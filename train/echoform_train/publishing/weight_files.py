"""Weights from outside: safetensors files that are whole, finite, and hold exactly the tensors of a model."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.json_files import read_json_object

LARGEST_HEADER_BYTES = 16 * 2**20
"""Largest header that is read; one of 100,000 tensors has some 10 MB."""

_FLOATS = ("F64", "F32", "F16", "BF16")
_WHOLE = ("I64", "I32", "I16", "I8", "U8", "BOOL")


class StoredTensor(NamedTuple):
    """A tensor as the header of a file describes it."""

    shape: tuple[int, ...]
    dtype: str
    """Name in safetensors, such as F32."""


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Names, shapes and types of the tensors of a safetensors file; the header is held against the file's size.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If it is no regular file, is truncated or no safetensors file, names a tensor twice or holds none.
    """
    if not path.exists():
        raise MissingFileError(f"there is no file {path}")
    # A pipe of this name would be waited for without end.
    if not path.is_file():
        raise UserError(f"{path} must be a regular file")
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 -- it is no mapping
            found = {name: StoredTensor(tuple(one.get_shape()), one.get_dtype()) for name, one in slices.items()}
    except SafetensorError as error:
        raise UserError(f"{path} is truncated or no safetensors file ({str(error)[:200]})") from error
    if not found:
        raise UserError(f"{path} holds no tensors")
    return found


def check_finite(path: Path) -> None:
    """Read every number of a safetensors file whose header was read already.

    Raises:
        UserError: If one is NaN or infinite, or a variance is negative.
    """
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 -- it is no mapping
            value = file.get_tensor(name)
            # A number of one byte cannot be tested directly.
            value = value.float() if value.is_floating_point() and value.element_size() == 1 else value
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise UserError(f"weights must be finite numbers, {name} in {path} holds NaN or infinite ones")
            # Its square root is taken in every call.
            if name.endswith("running_var") and bool((value < 0).any()):
                raise UserError(f"variances must not be negative, {name} in {path} holds negative ones")


def weight_files(folder: Path, stem: str) -> list[Path]:
    """The safetensors files that a library reads from the folder of a model: one, or the shards of an index.

    Args:
        folder: Folder of the model.
        stem: Name of the file without its suffix, diffusion_pytorch_model or model.

    Raises:
        MissingFileError: If there are none, or a shard is missing.
        UserError: If the index is malformed.
    """
    index = folder / f"{stem}.safetensors.index.json"
    if not index.exists():
        path = folder / f"{stem}.safetensors"
        if not path.exists():
            others = sorted(
                each.name for each in folder.iterdir() if each.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")
            )
            beside = f"; {others[0]} may run code when it is read" if others else ""
            raise MissingFileError(f"{folder} holds no safetensors weights, {path.name}{beside}")
        return [path]
    shards = read_json_object(index).get("weight_map")
    if not (isinstance(shards, dict) and shards and all(isinstance(shard, str) for shard in shards.values())):
        raise UserError(f"weight_map in {index} must name a file for each weight, got {json.dumps(shards)[:80]}")
    for shard in sorted(set(shards.values())):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise UserError(f"{index} must name safetensors files beside it, got {shard[:80]!r}")
        if not (folder / shard).is_file():
            raise MissingFileError(f"{index} names {shard!r}, which does not lie beside it")
    return [folder / shard for shard in sorted(set(shards.values()))]


def check_tensors(paths: list[Path], expected: Mapping[str, torch.Tensor], what: str) -> None:
    """Hold weights against the model that they are for.

    Args:
        paths: Its safetensors files.
        expected: State of the model, by name; its numbers are not read, so that it may be on the meta device.
        what: Class of the model, for the message.

    Raises:
        UserError: If a tensor is missing, unknown, of another shape or kind of number, twice there, NaN or infinite.
    """
    found: dict[str, StoredTensor] = {}
    origin: dict[str, Path] = {}
    for path in paths:
        for name, tensor in read_header(path).items():
            if name in found:
                raise UserError(f"{path} holds {name}, which {origin[name]} holds too")
            found[name], origin[name] = tensor, path
    where = paths[0] if len(paths) == 1 else paths[0].parent
    if missing := sorted(expected.keys() - found.keys()):
        raise UserError(f"{where} must hold the weights of a {what}, {len(missing)} are missing: {missing[0]}")
    if unknown := sorted(found.keys() - expected.keys()):
        raise UserError(f"{where} must hold the weights of a {what}, {len(unknown)} are unknown: {unknown[0][:80]}")
    for name, tensor in found.items():
        shape, kinds = tuple(expected[name].shape), _FLOATS if expected[name].is_floating_point() else _WHOLE
        if tensor.shape != shape:
            raise UserError(
                f"{name} in {origin[name]} must have the shape {list(shape)} of its config, it has {list(tensor.shape)}"
            )
        if tensor.dtype not in kinds:
            raise UserError(f"{name} in {origin[name]} must be of type {', '.join(kinds)}, it is {tensor.dtype}")
    for path in paths:
        check_finite(path)


def _check_header(path: Path) -> None:
    """The header is bounded and names each tensor once; everything else about it is checked by safetensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= size - 8:
            raise UserError(f"{path} is truncated or no safetensors file (header of {length} bytes in {size})")
        if length > LARGEST_HEADER_BYTES:
            raise UserError(f"the header of {path} must have at most {LARGEST_HEADER_BYTES} bytes, it has {length}")
        text = file.read(length)
    try:
        json.loads(text, object_pairs_hook=_without_twins)
    except _Twice as twice:
        raise UserError(f"{path} names {str(twice)[:80]!r} twice") from twice
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is truncated or no safetensors file (its header is no JSON)") from error


class _Twice(Exception):
    pass


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(name)
        found[name] = value
    return found
