"""A depth encoder as one ONNX file: from whole sensor units to the embedding, with what it needs to know in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from echoform.depth_autoencoder import DepthEncoder, units_between
from echoform_train.engine.errors import UserError, refused_by
from echoform_train.engine.files import MODEL_CONFIG, ONNX
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.publishing.model_folder import ONNX_ENCODER
from echoform_train.publishing.onnx_files import TOLERANCE, export_onnx, open_onnx

INPUT, EMBEDDING, VALID_SHARE = "units", "embedding", "valid_share"
_FACTS = ("depth_range_mm", "units_per_mm", "invalid_values", "float_unit", "encoding", "resize_rule")


class FromUnits(nn.Module):
    """An encoder whose input are whole units; `DepthEncoder.readings` raises errors, which a graph cannot."""

    def __init__(self, encoder: DepthEncoder) -> None:
        super().__init__()
        config: Mapping[str, Any] = encoder.config
        self.encoder = encoder
        span_mm = config["depth_range_mm"]
        self.low, self.high = units_between(span_mm["min"], span_mm["max"], config["units_per_mm"])
        self.invalid = [float(value) for value in config["invalid_values"] or {}]

    def forward(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding [B, latent_dim] and share of the pixels with a reading [B] of units uint16 [B, C, H, W]."""
        numbers = units.to(torch.float32)
        valid = (numbers >= self.low) & (numbers <= self.high)
        for value in self.invalid:
            valid = valid & (numbers != value)
        valid = valid.to(torch.float32).amin(dim=1, keepdim=True)  # a reading in every channel
        depth = ((numbers - self.low) * (2 / (self.high - self.low)) - 1) * valid
        return self.encoder(depth, valid), valid.mean(dim=(1, 2, 3))


class OnnxDepthEncoder:
    """The encoder of a folder, run by onnxruntime."""

    def __init__(self, folder: Path) -> None:
        self.config = read_json_object(folder / MODEL_CONFIG)
        self._file, self._session = folder / ONNX, open_onnx(folder / ONNX)

    @property
    def session(self) -> OnnxDepthEncoder:
        """Where its `run` is, as in a session."""
        return self

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs by name; raises UserError if onnxruntime does not compute them."""
        with refused_by(f"{self._file} must run in onnxruntime", (Exception,)):
            return self._session.run(outputs, inputs)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **_: Any) -> OnnxDepthEncoder:
        """Open the folder; other arguments are for models of torch."""
        return cls(Path(folder))


@torch.no_grad()
def write_onnx_encoder(encoder: DepthEncoder, folder: Path) -> float:
    """Write model.onnx and config.json, and compare their embeddings with those of torch.

    Args:
        encoder: In float32 and evaluation mode.
        folder: An existing folder.

    Returns:
        The largest difference of a number of an embedding, for batches of one and of three images.

    Raises:
        MissingPackageError: If the packages of the extra onnx are missing.
        UserError: If the encoder does not know its sensor.
        RuntimeError: If the difference is larger than TOLERANCE.
    """
    config: Mapping[str, Any] = encoder.config
    if not (config["depth_range_mm"] and config["units_per_mm"]):
        raise UserError(
            "--format onnx needs an encoder that knows its sensor (depth_range_mm, units_per_mm), as one of a pipeline "
            "or of a training does"
        )
    facts = _facts(config)
    graph = FromUnits(encoder).eval()
    probe = _probe(config)
    export_onnx(
        graph,
        probe[:2],
        folder / ONNX,
        input_name=INPUT,
        output_names=(EMBEDDING, VALID_SHARE),
        metadata={name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()},
        flag="--format onnx",
    )
    write_json(folder / MODEL_CONFIG, {"_class_name": ONNX_ENCODER, **facts})
    session = open_onnx(folder / ONNX)
    differences = []
    for count in (1, 3):
        expected = graph(probe[:count])
        found = session.run([EMBEDDING, VALID_SHARE], {INPUT: probe[:count].numpy()})
        differences += [
            float((torch.from_numpy(one) - other).abs().max()) for one, other in zip(found, expected, strict=True)
        ]
        # What the graph makes of units must be what the encoder makes of them.
        differences.append(float((encoder(*encoder.readings(probe[:count])) - expected[0]).abs().max()))
    if not max(differences) <= TOLERANCE:
        raise RuntimeError(
            f"{folder / ONNX} must give the embeddings of torch within {TOLERANCE:g}, they differ by "
            f"{max(differences):g}"
        )
    return max(differences)


def _facts(config: Mapping[str, Any]) -> dict[str, Any]:
    size, channels, numbers = config["sample_size"], config["input_channels"], config["latent_dim"]
    return {
        "sample_size": size,
        "input_channels": channels,
        "latent_dim": numbers,
        **{name: config[name] for name in _FACTS},
        "input": f"{INPUT}: uint16 [batch, {channels}, {size}, {size}], whole sensor units, 0 is no reading",
        "outputs": f"{EMBEDDING}: float32 [batch, {numbers}]; {VALID_SHARE}: float32 [batch], pixels with a reading",
    }


def _probe(config: Mapping[str, Any]) -> Tensor:
    """Random units uint16 [3, C, H, W], some of them out of range and some no reading."""
    span_mm, size = config["depth_range_mm"], config["sample_size"]
    _, high = units_between(span_mm["min"], span_mm["max"], config["units_per_mm"])
    shape = (3, config["input_channels"], size, size)
    numbers = np.random.default_rng(0).integers(0, min(65535, int(1.2 * high)), shape)
    numbers[:, :, : size // 4, : size // 4] = 0
    return torch.from_numpy(numbers.astype(np.uint16))
