"""Hostile settings of the classifier's training, and hostile pictures and models at `classify`."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from safetensors.torch import load_file, save_file

from hostile.corpus import Row
from hostile.image_bytes import png
from hostile.inputs import spectrograms

Make = Callable[[Path], list[str]]


def _train(*flags: str, change: Callable[[Path], object] = lambda data: None) -> Make:
    def make(folder: Path) -> list[str]:
        data = spectrograms(folder / "data")
        change(data)
        return ["train", "classifier", "--data", str(data), "--output-dir", str(folder / "out"), *flags]

    return make


@cache
def _model() -> Path:
    """A classifier with random weights, as its trainer exports it."""
    from echoform.spectrogram_classifier import SpectrogramImageProcessor
    from echoform.spectrogram_resnet import SpectrogramResNet
    from echoform_train.data.colormap import lookup_table
    from echoform_train.publishing.classifier_export import make_classifier

    folder = Path(tempfile.mkdtemp()) / "model"
    make_classifier(SpectrogramResNet(1, 2), ["ID_1", "ID_2"], temperature=1.0).save_pretrained(folder)
    colors = lookup_table("jet").tobytes().hex()
    SpectrogramImageProcessor(32, 32, colormap="jet", colors=colors, native_size=(32, 32)).save_pretrained(folder)
    return folder


def _classify(change: Callable[[Path], object] = lambda model: None, *flags: str, picture: bytes | None = None) -> Make:
    def make(folder: Path) -> list[str]:
        data = spectrograms(folder / "data")
        if picture is not None:
            (data / "ID_1" / "walk_t0000.png").write_bytes(picture)
        model = folder / "model"
        shutil.copytree(_model(), model)
        change(model)
        return ["classify", str(data), "--model", str(model), *flags]

    return make


def _config(**changes: object) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def _nan(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    first = next(name for name, value in weights.items() if value.is_floating_point())
    weights[first] = weights[first] * float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


def _truncated(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])


def _space(change: Callable[[Path], object], flag: str = "--classifier") -> Make:
    def make(folder: Path) -> list[str]:
        model = folder / "model"
        shutil.copytree(_model(), model)
        change(model)
        return ["space", flag, str(model)]

    return make


def _facts(content: str) -> Callable[[Path], object]:
    return lambda model: (model / "facts.json").write_text(content)


ROWS = [
    Row("rate of nothing", "train classifier", _train("--false-accept-rate", "0"), r"--false-accept-rate must be"),
    Row("rate of NaN", "train classifier", _train("--false-accept-rate", "nan"), r"--false-accept-rate must be"),
    Row("batch of one", "train classifier", _train("--train-batch-size", "1"), r"--train-batch-size must be"),
    Row("no images", "train classifier", _train("--max-train-images", "0"), r"--max-train-images must be"),
    Row("unknown augmentation", "train classifier", _train("--augmentation", "x"), r"augmentation"),
    Row("one user", "train classifier", _train(change=lambda d: shutil.rmtree(d / "ID_2")), r"at least 2 users"),
    Row("no model", "classify", lambda f: ["classify", str(spectrograms(f / "d")), "--model", str(f / "x")], r"x"),
    Row("no pictures", "classify", lambda f: ["classify", str(f / "none"), "--model", str(_model())], r"none"),
    Row("picture that promises", "classify", _classify(picture=png(13_000, 13_000)), r"at most 16,777,216 pixels"),
    Row("picture of text", "classify", _classify(picture=b"walk " * 99), r"cannot be decoded"),
    Row("output of another kind", "classify", _classify(lambda m: None, "--output", "a.xlsx"), r"\.csv or \.jsonl"),
    Row("batch of nothing", "classify", _classify(lambda m: None, "--batch-size", "0"), r"--batch-size must be"),
    Row("weights cut short", "classify", _classify(_truncated), r"model\.safetensors"),
    Row("weights that are NaN", "classify", _classify(_nan), r"finite"),
    Row("config of a list", "classify", _classify(lambda m: (m / "config.json").write_text("[]")), r"config\.json"),
    Row("another model", "classify", _classify(_config(model_type="bert", architectures=["Bert"])), r"classif|[Bb]ert"),
    Row("space: NaN", "space", _space(_nan), r"finite"),
    Row("space: no image processor", "space", _space(lambda m: (m / "preprocessor_config.json").unlink()), r"preproc"),
    Row("space: a wide model", "space", _space(_config(width=10**9)), r"width must be|at most 1,000,000"),
    Row("space: facts of a list", "space", _space(_facts("[]")), r"facts.json must"),
    Row("space: in the place of a pipeline", "space", _space(lambda m: None, "--depth"), r"--depth must be a pipe"),
]
