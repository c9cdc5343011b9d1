"""Hostile folders of an encoder for onnxruntime, at the doors that verify and push them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hostile.corpus import Row

FACTS: dict[str, Any] = {
    "sample_size": 32,
    "input_channels": 1,
    "latent_dim": 4,
    "depth_range_mm": {"min": 300.0, "max": 5000.0},
    "units_per_mm": 1.0,
}
Spoil = Callable[[Path, onnx.ModelProto], None]


def network() -> onnx.ModelProto:
    """From units uint16 [batch, 1, 32, 32] to four numbers."""
    weights = numpy_helper.from_array(np.ones((1024, 4), np.float32), "weights")
    nodes = [
        helper.make_node("Cast", ["units"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    units = helper.make_tensor_value_info("units", TensorProto.UINT16, ["batch", 1, 32, 32])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "encoder", [units], [embedding], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {name: json.dumps(value) for name, value in FACTS.items()})
    return model


def written(folder: Path, config: dict[str, Any], model: onnx.ModelProto) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"_class_name": "OnnxDepthEncoder", **config}))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def of_model(spoil: Callable[[onnx.ModelProto], object], verb: str = "verify") -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        model = network()
        spoil(model)
        written(folder / "encoder", FACTS, model)
        return [verb, str(folder / "encoder"), *(["user/encoder"] if verb == "push" else [])]

    return make


def of_config(verb: str = "verify", **facts: Any) -> Callable[[Path], list[str]]:
    """Facts that the metadata repeat, so that only they are wrong."""

    def make(folder: Path) -> list[str]:
        model = network()
        helper.set_model_props(model, {name: json.dumps(value) for name, value in (FACTS | facts).items()})
        written(folder / "encoder", FACTS | facts, model)
        return [verb, str(folder / "encoder"), *(["user/encoder"] if verb == "push" else [])]

    return make


def of_bytes(content: bytes | None, verb: str = "verify") -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        written(folder / "encoder", FACTS, network())
        file = folder / "encoder" / "model.onnx"
        file.unlink() if content is None else file.write_bytes(content)
        return [verb, str(folder / "encoder"), *(["user/encoder"] if verb == "push" else [])]

    return make


def outside(model: onnx.ModelProto) -> None:
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../../../etc/passwd")


def foreign(model: onnx.ModelProto) -> None:
    model.graph.node[2].domain = "com.evil"
    model.opset_import.append(helper.make_opsetid("com.evil", 1))


def foreign_inside(model: onnx.ModelProto) -> None:
    """An operator of another domain in the branch of a condition."""
    value = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])
    branch = helper.make_graph([helper.make_node("Steal", [], ["out"], domain="com.evil")], "branch", [], [value])
    model.graph.node.append(helper.make_node("If", ["yes"], ["key"], then_branch=branch, else_branch=branch))


def not_finite(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((1024, 4), np.inf, np.float32), "weights"))


def promised(model: onnx.ModelProto) -> None:
    """A table of a million million numbers of which none is there."""
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([10**6, 10**6])


def negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -1


def other_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3


def does_not_run(model: onnx.ModelProto) -> None:
    """A table that does not fit the image; files need not tell the shapes inside."""
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((7, 4), np.float32), "weights"))


def unlike(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 1000


ROWS = [
    Row("weights in another file", "verify", of_model(outside), "weights lies in another file"),
    Row("weights in another file, pushed", "push", of_model(outside, "push"), "must hold all of its numbers"),
    Row("an operator of their own", "verify", of_model(foreign), "must hold operators of ONNX alone, it has MatMul"),
    Row("an operator in a branch", "verify", of_model(foreign_inside), "operators of ONNX alone, it has Steal"),
    Row("infinite weights", "verify", of_model(not_finite), "weights must be finite numbers"),
    Row("a promise of numbers", "verify", of_model(promised), "weights in .* must be a table of numbers"),
    Row("a negative side", "verify", of_model(negative), "weights in .* must be a table of numbers"),
    Row("too few numbers", "verify", of_model(unlike), "weights in .* must be a table of numbers"),
    Row("another input", "verify", of_model(other_input), r"must turn units \[batch, 1, 32, 32\] into an embedding"),
    Row("tables that do not fit", "push", of_model(does_not_run, "push"), "onnxruntime"),
    Row("an empty file", "verify", of_bytes(b""), "must be an ONNX file with a network"),
    Row("no file", "verify", of_bytes(None), "there is no file .*model.onnx"),
    Row("a page", "verify", of_bytes(b"<html>not found</html>"), "must be an ONNX file"),
    Row("a page, pushed", "push", of_bytes(b"<html>not found</html>", "push"), "must be an ONNX file"),
    Row("zeros", "verify", of_bytes(bytes(10**6)), "must be an ONNX file"),
    Row("a size of millions", "verify", of_config(sample_size=10**9), "must tell sample_size"),
    Row("a size in words", "push", of_config("push", sample_size="32"), "must be that in model.onnx"),
    Row("a range upside down", "verify", of_config(depth_range_mm={"min": 5, "max": 1}), "must tell depth_range_mm"),
    Row("no units", "verify", of_config(units_per_mm=None), "must tell depth_range_mm and units_per_mm"),
    Row("no fingerprint", "verify", of_config(), "there is no fingerprint.json to compare with"),
]
