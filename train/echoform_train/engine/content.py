"""Hashes of what a model sees: images, labels and other models as they are in memory, wherever they were read from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn


def content_hash(value: Any) -> str:
    """sha256 of a value, its first 16 hexadecimal digits.

    Args:
        value: Tensors, texts, numbers, and models with a config; also dataclasses, mappings and sequences of them.
    """
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.hexdigest()[:16]


def pipeline_content(pipeline: DiffusionPipeline) -> str:
    """`content_hash` of the weights and configs of all parts of a pipeline, and of its own config."""
    parts = {
        name: part if isinstance(part, nn.Module) else public_config(part)
        for name, part in pipeline.components.items()
        if part is not None
    }
    own = {name: value for name, value in public_config(pipeline).items() if name not in pipeline.components}
    return content_hash([parts, own])


def public_config(model: Any) -> dict[str, Any]:
    """Config of a model or scheduler of diffusers, without what the library notes there, such as its version."""
    return {name: value for name, value in model.config.items() if not name.startswith("_")}


def _add(digest: Any, value: Any) -> None:
    """Feed a value to the digest, so that two different values never feed the same bytes."""
    if isinstance(value, Tensor):
        digest.update(f"tensor {value.dtype} {list(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, nn.Module):
        _add(digest, [type(value).__name__, public_config(value), value.state_dict()])
    elif is_dataclass(value):
        _add(digest, {field.name: getattr(value, field.name) for field in fields(value)})
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)} ".encode())
        for key in sorted(value, key=str):
            _add(digest, [str(key), value[key]])
    elif isinstance(value, Sequence) and not isinstance(value, str):
        digest.update(f"sequence {len(value)} ".encode())
        for each in value:
            _add(digest, each)
    else:
        digest.update(f"{json.dumps(value, default=str)} ".encode())
