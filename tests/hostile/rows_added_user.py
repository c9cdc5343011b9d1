"""Hostile users that were added to a pipeline: config and weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from hostile.corpus import Row
from hostile.models import copied

GOOD: dict[str, Any] = {"_class_name": "DopplerUser", "user": "a", "base_model": "b", "base": {}, "axes": None}


def generate(config: Any, weights: bytes | None = None, embedding: float = 0.0) -> Callable[[Path], list[str]]:
    """Generate with a pipeline and a user whose files are these."""

    def make(folder: Path) -> list[str]:
        pipeline, user = copied("doppler", folder), folder / "user"
        user.mkdir()
        (user / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        save_file({"embedding": torch.full((4,), embedding)}, user / "user.safetensors")
        if weights is not None:
            (user / "user.safetensors").write_bytes(weights)
        words = ["generate", "--pipeline", str(pipeline), "--output-dir", str(folder / "out"), "--num-images", "1"]
        return [*words, "--user-file", str(user)]

    return make


def learn(name: str) -> Callable[[Path], list[str]]:
    """Learn a user of this name."""

    def make(folder: Path) -> list[str]:
        (folder / "data").mkdir()
        return ["add-user", str(copied("doppler", folder)), str(folder / "data"), str(folder / "out"), "--name", name]

    return make


ROWS = [
    Row("user-name-of-no-width", "add-user", learn("\u200b\ufeff"), "--name must not be empty or blank"),
    Row("user-name-not-of-a-model", "add-user", learn("a\u00a0b"), "printable characters alone .* U.00A0"),
    Row("user-no-json", "generate", generate("{"), "config.json"),
    Row("user-a-pipeline", "generate", generate({"_class_name": "UNet2DModel"}), "must hold a user that `echoform add"),
    Row("user-name-a-path", "generate", generate(GOOD | {"user": "../../up"}), "must not hold /"),
    Row("user-base-a-list", "generate", generate(GOOD | {"base": []}), "base in .* must tell the pipeline"),
    Row("user-axes-upside-down", "generate", generate(GOOD | {"axes": {"db_min": 0, "db_max": -9}}), "db_m"),
    Row("user-weights-cut", "generate", generate(GOOD, b"\x10"), "is truncated or no safetensors file"),
    Row("user-weights-nan", "generate", generate(GOOD, embedding=float("nan")), "must be finite numbers"),
    Row("user-of-another-pipeline", "generate", generate(GOOD), "was learned for b, this is another pipeline"),
]
