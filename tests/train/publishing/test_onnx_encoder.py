"""A depth encoder as an ONNX file: the embeddings of torch, what it says of itself, and what `verify` refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline  # noqa: E402
from echoform_train import cli  # noqa: E402
from echoform_train.engine.errors import UserError  # noqa: E402
from echoform_train.publishing.fingerprint import write_fingerprint  # noqa: E402
from echoform_train.publishing.onnx_files import check_onnx  # noqa: E402
from echoform_train.publishing.push import push  # noqa: E402
from echoform_train.publishing.verify import verify  # noqa: E402
from hub_server import Hub  # noqa: E402


@pytest.fixture(scope="module")
def encoder(depth_ae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder of a tiny training, extracted by the command line."""
    folder = tmp_path_factory.mktemp("onnx") / "encoder"
    cli.main(["extract-encoder", str(depth_ae), "--output-dir", str(folder), "--format", "onnx"])
    return folder


@pytest.fixture(scope="module")
def pipeline(depth_ae: Path) -> DepthAutoencoderPipeline:
    return DepthAutoencoderPipeline.from_pretrained(depth_ae / "pipeline")


def depth_images(pipeline: DepthAutoencoderPipeline, count: int) -> np.ndarray:
    """uint16 [N, 1, size, size] with holes, and readings below and beyond the range."""
    size, span = pipeline.autoencoder.config["sample_size"], pipeline.config["depth_range_mm"]
    units = np.random.default_rng(count).integers(span["min"] // 2, int(span["max"] * 1.2), (count, 1, size, size))
    units[:, :, 3:9, 4:7] = 0
    return units.astype(np.uint16)


@pytest.mark.parametrize("count", [1, 3])
def test_onnxruntime_embeds_units_as_the_pipeline_does(count: int, encoder: Path, pipeline: DepthAutoencoderPipeline):
    units = depth_images(pipeline, count)
    session = onnxruntime.InferenceSession(encoder / "model.onnx")
    embedding, valid_share = session.run(["embedding", "valid_share"], {"units": units})
    assert np.abs(embedding - pipeline.encode(units).numpy()).max() < 1e-4
    span = pipeline.config["depth_range_mm"]
    in_range = (units >= span["min"]) & (units <= span["max"])
    assert np.allclose(valid_share, in_range.mean((1, 2, 3)), atol=1e-6)


def test_an_image_without_a_reading_in_range_says_so(encoder: Path, pipeline: DepthAutoencoderPipeline):
    units = np.full_like(depth_images(pipeline, 1), 65535)
    session = onnxruntime.InferenceSession(encoder / "model.onnx")
    assert session.run(["valid_share"], {"units": units})[0].tolist() == [0.0]


def test_the_file_says_what_goes_in_and_comes_out(encoder: Path, pipeline: DepthAutoencoderPipeline):
    session = onnxruntime.InferenceSession(encoder / "model.onnx")
    size, numbers = pipeline.autoencoder.config["sample_size"], pipeline.autoencoder.config["latent_dim"]
    (units,) = session.get_inputs()
    assert (units.name, units.type, units.shape[1:]) == ("units", "tensor(uint16)", [1, size, size])
    assert isinstance(units.shape[0], str), "batches of any length"
    assert [(one.name, one.shape[1:]) for one in session.get_outputs()] == [
        ("embedding", [numbers]),
        ("valid_share", []),
    ]
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["depth_range_mm"]) == pipeline.config["depth_range_mm"]
    assert json.loads(facts["units_per_mm"]) == pipeline.config["units_per_mm"]
    assert json.loads(facts["sample_size"]) == size
    assert facts["input"].startswith(f"units: uint16 [batch, 1, {size}, {size}]")


def test_the_readme_runs_in_the_folder(encoder: Path, monkeypatch: pytest.MonkeyPatch):
    readme = (encoder / "README.md").read_text(encoding="utf-8")
    assert "library_name: onnx" in readme
    code = readme.partition("```python\n")[2].partition("```")[0]
    assert "echoform" not in code and len(code.strip().splitlines()) <= 7
    monkeypatch.chdir(encoder)
    made: dict[str, np.ndarray] = {}
    exec(code, made)
    assert made["embedding"].shape[0] == 1 and made["valid_share"].tolist() == [1.0]


def test_a_pushed_encoder_is_verified(encoder: Path, hub: Hub, tmp_path: Path):
    repo = hub.repo_id("onnx-encoder")
    push(encoder, repo)
    (tmp_path / "home").mkdir()
    result = verify(repo, tmp_path / "home")
    assert result.differences == {"embedding": 0.0} and "weights in ONNX (1)" in result.summary()


def another(path: Path) -> None:
    """Other weights, and all else as it was."""
    model = onnx.load(path)
    weights = next(one for one in model.graph.initializer if one.data_type == TensorProto.FLOAT and len(one.dims) == 4)
    values = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(values + 1, weights.name))
    onnx.save(model, path)


def not_finite(path: Path) -> None:
    model = onnx.load(path)
    weights = next(one for one in model.graph.initializer if one.data_type == TensorProto.FLOAT and len(one.dims) == 4)
    values = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), weights.name))
    onnx.save(model, path)


def outside(path: Path) -> None:
    """Weights in a file that lies elsewhere."""
    model = onnx.load(path)
    weights = next(one for one in model.graph.initializer if len(one.dims) == 4)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../../../etc/passwd")
    path.write_bytes(model.SerializeToString())


def foreign(path: Path) -> None:
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Steal", ["units"], ["key"], domain="com.evil"))
    model.opset_import.append(helper.make_opsetid("com.evil", 1))
    path.write_bytes(model.SerializeToString())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def another_range(path: Path) -> None:
    config = json.loads((path.parent / "config.json").read_text())
    (path.parent / "config.json").write_text(json.dumps(config | {"units_per_mm": 10.0}))


REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (not_finite, "weights must be finite numbers, .* holds NaN"),
    (outside, "must hold all of its numbers, .* lies in another file"),
    (foreign, "must hold operators of ONNX alone, it has Steal"),
    (cut, "must be an ONNX file"),
    (empty, "must be an ONNX file"),
    (another_range, "units_per_mm in .* must be that in model.onnx"),
]


@pytest.mark.parametrize(("spoil", "message"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_spoilt_file_is_refused_before_it_is_run(
    spoil: Callable[[Path], None], message: str, encoder: Path, tmp_path: Path
):
    folder = shutil.copytree(encoder, tmp_path / "encoder")
    spoil(folder / "model.onnx")
    with pytest.raises(UserError, match=message):
        verify(str(folder), tmp_path / "home")


def test_other_weights_are_noticed(encoder: Path, tmp_path: Path):
    folder = shutil.copytree(encoder, tmp_path / "encoder")
    write_fingerprint(folder)
    another(folder / "model.onnx")
    check_onnx(folder / "model.onnx")
    with pytest.raises(UserError, match=r"model\.onnx was changed after the fingerprint was made"):
        verify(str(folder), tmp_path / "home")


def test_an_encoder_that_does_not_know_its_sensor_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from echoform.depth_autoencoder import DepthEncoder

    DepthEncoder(sample_size=32, latent_dim=64, block_out_channels=(8, 8, 16, 16)).save_pretrained(tmp_path / "alone")
    for format in ("onnx", "transformers"):
        out = tmp_path / format
        with pytest.raises(SystemExit):
            cli.main(["extract-encoder", str(tmp_path / "alone"), "--output-dir", str(out), "--format", format])
        err = capsys.readouterr().err
        assert "depth_range_mm" in err and f"--format {format}" in err and not out.exists()
