"""The tab "Who walks?", called as a program would, against transformers; and classifiers that cannot be shown."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from safetensors.torch import load_file, save_file

from echoform.spectrogram_classifier import SpectrogramClassifier, SpectrogramImageProcessor
from echoform_train.commands import space

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def pictures(table: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three spectrograms in the colours of the classifier, one of them larger."""
    folder = tmp_path_factory.mktemp("walks")
    for number, side in enumerate((16, 16, 64)):
        indices = np.random.default_rng(number).integers(0, 256, (side, side))
        Image.fromarray(table[indices]).save(folder / f"walk_{number}.png")
    return sorted(folder.iterdir())


def classify(client: Client, paths: list[Path]) -> tuple[str, list[dict[str, Any]]]:
    return client.predict([handle_file(str(path)) for path in paths], api_name="/classify")


def test_the_answers_are_those_of_the_classifier(client: Client, classifier_folder: Path, pictures: list[Path]):
    shown, answers = classify(client, pictures)
    model = SpectrogramClassifier.from_pretrained(classifier_folder)
    processor = SpectrogramImageProcessor.from_pretrained(classifier_folder)
    with torch.inference_mode():
        shares = model(processor.preprocess(pictures)["pixel_values"]).logits.softmax(1)
    assert [one["file"] for one in answers] == [path.name for path in pictures]
    for row, answer in zip(shares.tolist(), answers, strict=True):
        expected = dict(zip(("ID_1", "ID_2", "ID_10", "nobody"), row, strict=True))
        assert {one["user"]: one["probability"] for one in answer["top"]} == pytest.approx(expected, abs=2e-6)
        assert answer["user"] == max(expected, key=expected.__getitem__)
    assert shown.count('<figure class="who">') == 3
    names = ["nobody I know" if one["user"] == "nobody" else one["user"] for one in answers]
    assert re.findall('<p class="answer">([^<]*)</p>', shown) == names


def test_a_file_name_cannot_act_as_html(client: Client, pictures: list[Path], tmp_path: Path):
    evil = tmp_path / "a<img src=x onerror=alert(1)>.png"
    evil.write_bytes(pictures[0].read_bytes())
    shown, _ = classify(client, [evil])
    assert "<img src=x" not in shown


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photo.png", "photo.png: pictures must be painted with the colour map jet, the colours of this one are"),
        ("wide.png", "wide.png: pictures must have the shape of the training pictures, 16 rows by 16 columns"),
        ("blank.png", "blank.png: a picture must show a spectrogram, all its pixels are equal"),
        ("depth.png", "depth.png: pictures must be grey or RGB of 8 bits, got mode I;16"),
        ("clear.png", "clear.png: pictures must be opaque"),
        ("text.png", "text.png is damaged, or not an image of the format PNG or JPEG"),
        ("gif.png", "gif.png is damaged, or not an image of the format PNG or JPEG"),
        ("drawing.svg", "Invalid file type"),
    ],
)
def test_what_is_no_spectrogram_is_refused_in_one_sentence(
    client: Client, table: np.ndarray, tmp_path: Path, name: str, message: str
):
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    path = tmp_path / name
    if name in ("text.png", "drawing.svg"):
        path.write_text("<svg><script>alert(1)</script></svg>")
    elif name == "gif.png":
        Image.fromarray(noise).save(path, "GIF")
    else:
        {
            "photo.png": Image.fromarray(noise // 4 + 100),
            "wide.png": Image.fromarray(table[np.random.default_rng(0).integers(0, 256, (16, 40))]),
            "blank.png": Image.new("RGB", (16, 16), "white"),
            "depth.png": Image.fromarray(noise[..., 0].astype(np.uint16)),
            "clear.png": Image.new("RGBA", (16, 16)),
        }[name].save(path)
    with pytest.raises(AppError, match=message):
        classify(client, [path])


def test_too_many_files_and_none_are_refused(client: Client, pictures: list[Path]):
    with pytest.raises(AppError, match="At most 16 files at once, got 17"):
        classify(client, pictures[:1] * 17)
    with pytest.raises(AppError, match="at least one file"):
        classify(client, [])


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (
            {"accuracy": {"mean": 0.9, "low": 0.8, "high": 1.0}, "ece": {"mean": 0.05}},
            "accuracy 90.0 % (80.0 to 100.0), calibration error (ECE) 5.0 %.",
        ),
        ({"ece": {"mean": 0.05}}, "no accuracy, calibration error (ECE) 5.0 %."),
        (None, "no accuracy, no calibration error (ECE)."),
        ({"accuracy": {"mean": "high"}, "ece": 7}, "no accuracy, no calibration error (ECE)."),
        ({"accuracy": {"mean": 90}, "ece": {"mean": True}}, "no accuracy, no calibration error (ECE)."),
    ],
)
def test_the_page_states_what_the_card_states_and_no_more(
    module: Any, monkeypatch: pytest.MonkeyPatch, scores: Any, sentence: str
):
    who = module("who")
    monkeypatch.setattr(who, "facts", lambda kind: {"card": {"scores": scores}})
    assert who.stated_scores() == f"Its card states, for test images: {sentence}"


def edited(name: str, **changed: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changed))

    return edit


def another_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "vit", "architectures": ["ViTModel"]}))


def not_finite(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["network.head.weight"].fill_(float("nan"))
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json; is it an exported classifier"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "holds no preprocessor_config.json"),
        (lambda folder: (folder / WEIGHTS).unlink(), "cannot be used as a classifier: .*safetensors"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "cannot be used as a classifier: "),
        (not_finite, "finite"),
        (another_model, "is no classifier of spectrograms, but .*vit"),
        (edited("config.json", width=10**9), "whole numbers in .* must be at most 1,000,000, got 1000000000"),
        (edited("config.json", softmax_temperature=float("nan")), "must hold one JSON object without NaN"),
        (edited("config.json", id2label={}), "cannot be used as a classifier: |must have names"),
        (edited("preprocessor_config.json", height=4000), "must have sides in 1..2048, got .4000"),
        (edited("preprocessor_config.json", colors="00"), "cannot be used as a classifier: .*colour map"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json must hold one JSON object"),
    ],
)
def test_a_damaged_classifier_gets_one_sentence(
    module: Any,
    classifier_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    sentence: str,
):
    folder = tmp_path / "who"
    shutil.copytree(classifier_folder, folder)
    damage(folder)
    monkeypatch.setenv("ECHOFORM_CLASSIFIER_REPO", str(folder))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    with pytest.raises(ValueError, match=sentence) as told:
        module("loading").load("classifier")
    assert "\n" not in str(told.value) and str(folder) in str(told.value)


@pytest.mark.parametrize("content", ["[]", "{", '{"card": 7}', '{"data": []}', "7"])
def test_facts_that_are_none_get_one_sentence(
    module: Any, classifier_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
):
    shutil.copytree(classifier_folder, tmp_path / "who")
    (tmp_path / "who" / "facts.json").write_text(content)
    monkeypatch.setenv("ECHOFORM_CLASSIFIER_REPO", str(tmp_path / "who"))
    with pytest.raises(ValueError, match=r"facts.json of .* must hold one JSON object"):
        module("loading").facts("classifier")


def test_the_command_takes_a_classifier_and_no_other_model_in_its_place(
    classifier_folder: Path, depth_folder: Path, doppler_folder: Path
):
    space._check_folder("classifier", str(classifier_folder))
    for kind, folder, sentence in (
        ("classifier", depth_folder, "--classifier must be a classifier of spectrograms, .* DepthAutoencoderPipeline"),
        ("doppler", classifier_folder, "--doppler must be a pipeline of that kind, .* SpectrogramClassifier"),
        ("depth", doppler_folder, "--depth must be a pipeline of that kind"),
    ):
        with pytest.raises(ValueError, match=sentence):
            space._check_folder(kind, str(folder))
