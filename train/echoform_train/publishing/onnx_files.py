"""Writing models as one ONNX file with facts in its metadata, and checking such a file before it is run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from echoform_train.engine.errors import MissingFileError, UserError, refused_by
from echoform_train.engine.extras import needs_extra
from echoform_train.engine.files import MODEL_CONFIG, ONNX
from echoform_train.engine.json_files import read_json_object

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between the outputs of torch and of onnxruntime."""
LARGEST_FILE = 2 * 1024**3
"""Bytes that one ONNX file can have."""
_DOMAINS = ("", "ai.onnx")
"""Operators of ONNX itself; others are made by code that a file cannot bring along."""


def export_onnx(
    module: nn.Module,
    example: Tensor,
    path: Path,
    *,
    input_name: str,
    output_names: Sequence[str],
    metadata: Mapping[str, str],
    flag: str,
) -> None:
    """Write a module of one input as one ONNX file for batches of any size.

    Args:
        module: The module, in evaluation mode.
        example: Input for two images.
        path: File to write.
        input_name: Name of the input in the file, which is that of the argument of `forward`.
        output_names: Names of the outputs, in their order.
        metadata: Facts to keep in the file.
        flag: Flag that asks for ONNX, for the message.

    Raises:
        MissingPackageError: If the packages of the extra onnx are missing.
    """
    check_onnx_packages(flag)
    with needs_extra("onnx", flag):
        import onnx

    torch.onnx.export(
        module,
        (example,),
        path,
        input_names=[input_name],
        output_names=[*output_names],
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        dynamic_shapes={input_name: {0: torch.export.Dim("batch")}},
        verbose=False,
    )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


def check_onnx_packages(flag: str) -> None:
    """Check that ONNX files can be written, and tried.

    Args:
        flag: Flag that asks for ONNX, for the message.

    Raises:
        MissingPackageError: If the packages of the extra onnx are missing.
    """
    with needs_extra("onnx", flag):
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401


def open_onnx(path: Path) -> Any:
    """An onnxruntime session of a file, on the CPU.

    Raises:
        MissingPackageError: If onnxruntime is missing.
        UserError: If onnxruntime does not take the file.
    """
    with needs_extra("onnx", "an ONNX file"):
        import onnxruntime
    # Its errors are classes of its own, which are all made from one of Python.
    with refused_by(f"{path} must be an ONNX file that onnxruntime runs", (Exception,)):
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def check_onnx(path: Path) -> Any:
    """Check that a file of unknown source is one whole ONNX model: nothing outside it is read when it is opened.

    Returns:
        Its content, an `onnx.ModelProto`.

    Raises:
        MissingFileError: If there is no such file.
        MissingPackageError: If the packages of the extra onnx are missing.
        UserError: If it is no ONNX file, refers to other files or to operators that are not those of ONNX, or holds
            numbers that are not finite.
    """
    with needs_extra("onnx", "an ONNX file"):
        import onnx
        import onnxruntime  # noqa: F401  (what is checked is run afterwards)
        from onnx import numpy_helper
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}")
    if path.stat().st_size > LARGEST_FILE:
        raise UserError(f"{path} must have at most {LARGEST_FILE:,} bytes, it has {path.stat().st_size:,}")
    # Protobuf raises errors of its own.
    with refused_by(f"{path} must be an ONNX file", (Exception,)):
        model = onnx.load(path, load_external_data=False)
    if not model.graph.node:
        raise UserError(f"{path} must be an ONNX file with a network, it holds none")
    if foreign := [node.op_type for node in _nodes(model) if node.domain not in _DOMAINS]:
        raise UserError(f"{path} must hold operators of ONNX alone, it has {foreign[0][:80]}")
    for tensor in _tensors(model):
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise UserError(f"{path} must hold all of its numbers, {tensor.name[:80]} lies in another file")
        count = math.prod(tensor.dims)
        if any(side < 0 for side in tensor.dims) or count > LARGEST_FILE:
            raise UserError(f"{tensor.name[:80]} in {path} must be a table of numbers, its shape is {[*tensor.dims]}")
        with refused_by(f"{tensor.name[:80]} in {path} must be a table of numbers", (ValueError, TypeError, KeyError)):
            values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and not bool(torch.isfinite(torch.from_numpy(values.copy())).all()):
            raise UserError(f"weights must be finite numbers, {tensor.name[:80]} in {path} holds NaN or infinite ones")
    return model


def check_onnx_encoder(folder: Path) -> None:
    """Check that a folder holds a depth encoder for onnxruntime; nothing is run.

    Raises:
        MissingFileError: If model.onnx is missing.
        UserError: If a file breaks a rule, or the two do not fit.
    """
    config = read_json_object(folder / MODEL_CONFIG)
    model = check_onnx(folder / ONNX)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    for name, value in config.items():
        stored = metadata.get(name)
        if not name.startswith("_") and stored != (value if isinstance(value, str) else json.dumps(value)):
            raise UserError(f"{name} in {folder / MODEL_CONFIG} must be that in {ONNX}, got {str(value)[:80]}")
    size, channels = config.get("sample_size"), config.get("input_channels")
    if not (isinstance(size, int) and 32 <= size <= 2048 and channels in (1, 3)):
        raise UserError(f"{folder / MODEL_CONFIG} must tell sample_size and input_channels, got {size!r}, {channels!r}")
    # Weights may stand among the inputs in files of older versions.
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [(one.name, _shape(one)[1:]) for one in model.graph.input if one.name not in stored]
    if inputs != [("units", [channels, size, size])] or "embedding" not in [one.name for one in model.graph.output]:
        raise UserError(
            f"{folder / ONNX} must turn units [batch, {channels}, {size}, {size}] into an embedding, its inputs are "
            f"{str(inputs)[:80]}"
        )
    range_mm, per_mm = config.get("depth_range_mm"), config.get("units_per_mm")
    if not (
        isinstance(range_mm, dict)
        and all(isinstance(range_mm.get(end), int | float) for end in ("min", "max"))
        and isinstance(per_mm, int | float)
        and 0 < per_mm < 1e6
        and 0 <= range_mm["min"] < range_mm["max"] < 1e9
    ):
        raise UserError(f"{folder / MODEL_CONFIG} must tell depth_range_mm and units_per_mm, got {str(range_mm)[:80]}")


def _shape(value: Any) -> list[Any]:
    """Sides of an input or output; the first one is that of the batch."""
    return [side.dim_value for side in value.type.tensor_type.shape.dim]


def _graphs(graph: Any) -> list[Any]:
    """A graph, and those inside its nodes, such as the branches of a condition."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                found += _graphs(inner)
    return found


def _nodes(model: Any) -> list[Any]:
    inside = [node for function in model.functions for node in function.node]
    return [*(node for graph in _graphs(model.graph) for node in graph.node), *inside]


def _tensors(model: Any) -> list[Any]:
    """All stored numbers: weights, and constants in the attributes of nodes."""
    found = [tensor for graph in _graphs(model.graph) for tensor in graph.initializer]
    for node in _nodes(model):
        for attribute in node.attribute:
            found += [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
    return found
