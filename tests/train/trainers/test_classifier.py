"""A classifier is trained, loads where echoform is not installed, and says the same everywhere."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from echoform.spectrogram_classifier import SpectrogramClassifier, SpectrogramImageProcessor
from echoform_train import cli
from echoform_train.data.config import DataConfig
from echoform_train.data.spectrograms import load_spectrograms, to_model
from echoform_train.publishing.fingerprint import write_fingerprint
from echoform_train.publishing.push import copy_for_push
from echoform_train.publishing.verify import verify
from echoform_train.trainers import classifier
from hub_server import Hub
from without_echoform import UNINSTALLED, run_alone


@pytest.fixture(scope="module")
def trained(walkers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "who"
    classifier.main(
        classifier.Config(
            data=DataConfig(data=str(walkers)), output_dir=folder, max_train_images=1_600, augmentation="time roll"
        )
    )
    return folder


@pytest.fixture(scope="module")
def facts(trained: Path) -> dict:
    return json.loads((trained / "facts.json").read_text())


def pictures(walkers: Path) -> list[Path]:
    return sorted(walkers.rglob("*.png"))


def test_the_image_processor_reads_pictures_as_the_training_did(walkers, trained):
    data = load_spectrograms(walkers)
    processor = SpectrogramImageProcessor.from_pretrained(trained)
    values = processor([walkers / file for file in data.train.files])["pixel_values"]
    assert torch.equal(values, to_model(data.train.pixels))


def test_pictures_of_another_size_and_jpeg_are_read_nearly_alike(walkers, trained, tmp_path):
    processor = SpectrogramImageProcessor.from_pretrained(trained)
    picture = Image.open(pictures(walkers)[0]).convert("RGB")
    picture.resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    picture.save(tmp_path / "small.jpg", quality=95, subsampling=0)
    exact = processor(picture)["pixel_values"]
    assert torch.equal(processor(tmp_path / "large.png")["pixel_values"], exact)
    assert (processor(tmp_path / "small.jpg")["pixel_values"] - exact).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda image: image.convert("L"), "painted with the colour map .*, got a grey one"),
        (lambda image: image.resize((64, 32)), "shape of the training pictures, 32 rows by 32 columns"),
        (lambda image: Image.new("RGB", image.size, (9, 200, 30)), "all its pixels are equal"),
        (lambda image: Image.fromarray(255 - np.asarray(image)), "RGB units from it"),
        (lambda image: image.convert("L").convert("I;16"), "8 bits, got mode I;16"),
    ],
)
def test_pictures_that_the_model_was_not_trained_for_are_refused(walkers, trained, spoil, message):
    processor = SpectrogramImageProcessor.from_pretrained(trained)
    with pytest.raises(ValueError, match=message):
        processor(spoil(Image.open(pictures(walkers)[0]).convert("RGB")))


def test_a_process_without_echoform_gives_the_answers_of_classify(walkers, trained, tmp_path):
    files = pictures(walkers)[::9]
    run_alone(
        UNINSTALLED
        + f"""
import json
from transformers import AutoModelForImageClassification, pipeline
model = AutoModelForImageClassification.from_pretrained({str(trained)!r}, trust_remote_code=True)
assert type(model).__name__ == "SpectrogramClassifier"
who = pipeline("image-classification", model={str(trained)!r}, trust_remote_code=True)
json.dump(who({[str(file) for file in files]!r}, top_k=3), open("answers.json", "w"))
assert not any(name.partition(".")[0] == "echoform" for name in sys.modules)
""",
        tmp_path,
    )
    alone = json.loads((tmp_path / "answers.json").read_text())
    for name in ("answers.jsonl", "answers.csv"):
        words = ["classify", *map(str, files), "--model", str(trained), "--output", str(tmp_path / name)]
        cli.main(words)
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    table = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == [row["file"] for row in table] == [str(file) for file in files]
    for row, line, answer in zip(rows, table, alone, strict=True):
        assert [top["user"] for top in row["top"]] == [each["label"] for each in answer]
        assert [top["probability"] for top in row["top"]] == pytest.approx([each["score"] for each in answer], abs=1e-5)
        assert line["user"] == row["user"] == answer[0]["label"]


def test_nobody_is_the_answer_exactly_beyond_the_threshold(walkers, trained):
    model = SpectrogramClassifier.from_pretrained(trained).eval()
    pixels = to_model(load_spectrograms(walkers).test.pixels)
    noise = 2 * torch.rand(20, *pixels.shape[1:], generator=torch.Generator().manual_seed(0)) - 1
    with torch.no_grad():
        images = torch.cat([pixels, noise])
        logits = model(images).logits
        distance = model.distance(model.network.features(images))
        plain = model.network(images) / model.config.softmax_temperature
    far = distance > model.config.nobody_threshold
    assert model.config.id2label[3] == "nobody"
    assert torch.equal(logits.argmax(1) == 3, far) and far.any() and not far.all()
    # Probabilities among the users are those of the calibrated network.
    assert torch.allclose(logits[:, :3].softmax(1), plain.softmax(1), atol=1e-6)


def test_the_facts_agree_with_one_another_and_with_the_card(trained, facts):
    confusion = np.array(facts["classifier"]["confusion"])
    assert confusion.sum() == facts["data"]["images"]["test"]
    by_user = dict(zip(facts["data"]["users"], confusion.diagonal() / confusion.sum(1), strict=True))
    assert facts["classifier"]["accuracy_by_user"] == pytest.approx(by_user)
    assert facts["card"]["scores"]["accuracy"]["mean"] == pytest.approx(confusion.trace() / confusion.sum())
    left_out = [user for group in facts["classifier"]["nobody"]["left_out"] for user in group]
    assert sorted(left_out) == sorted(facts["data"]["users"])
    card = (trained / "README.md").read_text()
    assert "pipeline_tag: image-classification" in card and "library_name: transformers" in card
    assert "Calibration error" in card and "False accepts" in card


def test_a_pushed_classifier_is_verified_and_a_changed_one_is_not(trained, tmp_path):
    staged = tmp_path / "staged"
    copy_for_push(trained, staged, "someone/who")
    assert not (staged / "split.json").exists()
    found = verify(str(staged), tmp_path / "home")
    assert max(found.differences.values()) < 1e-3 and len(found.contents.code) == 2
    code = staged / "spectrogram_classifier.py"
    code.write_text(code.read_text() + "\n")
    with pytest.raises(ValueError, match="is not the code of a released echoform"):
        write_fingerprint(staged)
        verify(str(staged), tmp_path / "other")


def test_onnxruntime_gives_the_scores_of_torch(walkers, trained, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from echoform_train.publishing.classifier_export import write_onnx

    model = SpectrogramClassifier.from_pretrained(trained).eval()
    write_onnx(model, tmp_path / "model.onnx", 32, 32)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    images = to_model(load_spectrograms(walkers).test.pixels)
    found = torch.from_numpy(session.run(["logits"], {"pixel_values": images.numpy()})[0])
    with torch.no_grad():
        expected = model(images).logits
    assert (found.softmax(1) - expected.softmax(1)).abs().max() < 1e-4


def test_what_cannot_be_trained_is_refused_in_one_sentence(walkers, trained, tmp_path):
    config = classifier.Config(data=DataConfig(data=str(walkers)), output_dir=tmp_path / "out")
    with pytest.raises(ValueError, match="--false-accept-rate must be in"):
        replace(config, false_accept_rate=1.0)
    with pytest.raises(ValueError, match="must be a new or an empty folder"):
        classifier.main(replace(config, output_dir=trained))
    with pytest.raises(ValueError, match="--max-train-images must be at least --train-batch-size"):
        classifier.main(replace(config, max_train_images=2))


class Interrupted(BaseException):
    """As a signal ends the process."""


def test_an_interrupted_training_goes_on_to_the_same_weights_and_scores(walkers, tmp_path, monkeypatch):
    whole = classifier.Config(
        data=DataConfig(data=str(walkers)), output_dir=tmp_path / "whole", max_train_images=96, augmentation="auto"
    )
    classifier.main(whole)
    assert not (tmp_path / "whole" / "checkpoints").exists()
    cut = replace(whole, output_dir=tmp_path / "cut")
    fit, calls = classifier.fit_classifier, []

    def stop_at_fifth(*arguments, **settings):
        calls.append(1)
        if len(calls) == 5:  # three short trainings, the classifier, and the first one without a user
            raise Interrupted
        return fit(*arguments, **settings)

    monkeypatch.setattr(classifier, "fit_classifier", stop_at_fifth)
    with pytest.raises(Interrupted):
        classifier.main(cut)
    with pytest.raises(ValueError, match="interrupted; continue it with --resume-from-checkpoint latest"):
        classifier.main(cut)
    resumed = replace(cut, resume_from_checkpoint="latest")
    with pytest.raises(ValueError, match="--seed was 0, is now 1"):
        classifier.main(replace(resumed, seed=1))
    # A damaged checkpoint is trained again.
    newest = sorted((tmp_path / "cut" / "checkpoints").iterdir())[-1]
    (newest / "network.safetensors").write_bytes(b"damaged")
    classifier.main(resumed)
    assert len(calls) == 5 + 4  # four of seven trainings were left
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one.keys() | two.keys())
    same = [json.loads((tmp_path / name / "facts.json").read_text()) for name in ("whole", "cut")]
    assert same[0]["classifier"] == same[1]["classifier"] and same[0]["images_seen"] == same[1]["images_seen"]
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }


@pytest.mark.slow
def test_a_training_pushes_its_classifier_and_verify_accepts_it(walkers, hub: Hub, tmp_path, capsys):
    repo = hub.repo_id("who")
    config = classifier.Config(
        data=DataConfig(data=str(walkers)), output_dir=tmp_path / "who", max_train_images=64, augmentation="time roll"
    )
    classifier.main(replace(config, nobody=False, license="cc-by-4.0", push_to_hub=repo))
    assert f"pushed: {hub.url}/{repo}" in capsys.readouterr().out
    files = hub.files(repo)
    assert b"license: cc-by-4.0" in files["README.md"] and "fingerprint.json" in files
    cli.main(["verify", repo])
    assert "verified" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--private is for the Hub: it must go with --push-to-hub"):
        replace(config, private=True)


def test_one_more_user_is_added_in_closed_form_and_the_others_keep_their_logits(
    walkers: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    # Walks of one user that look like nobody's: moved by a quarter of the Doppler axis.
    other = tmp_path / "anna"
    other.mkdir()
    for path in sorted((walkers / "ID_1").rglob("*.png"))[:8]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        Image.fromarray(np.roll(pixels, 8, axis=0)).save(other / path.name)
    cli.main(["add-user", str(trained), str(other), str(tmp_path / "wider"), "--name", "anna"])
    assert "anna: 8 images; learned from a half" in capsys.readouterr().out
    before, after = (SpectrogramClassifier.from_pretrained(folder).eval() for folder in (trained, tmp_path / "wider"))
    known = list(before.config.id2label.values())[:-1]
    assert list(after.config.id2label.values()) == [*known, "anna", "nobody"]
    processor = SpectrogramImageProcessor.from_pretrained(tmp_path / "wider")
    own, others = (
        processor([Image.open(path) for path in sorted(folder.rglob("*.png"))[:8]])["pixel_values"]
        for folder in (other, walkers / "ID_2")
    )
    with torch.no_grad():
        assert torch.allclose(after(others).logits[:, : len(known)], before(others).logits[:, : len(known)], atol=1e-5)
        # Among the users; the threshold of "nobody" stays as it was calibrated.
        assert (after(own).logits[:, :-1].argmax(1) == len(known)).float().mean() > 0.5
    # The rows of the others are theirs to the bit.
    assert torch.equal(after.network.head.weight[:-1], before.network.head.weight)
    with pytest.raises(SystemExit):
        cli.main(["add-user", str(trained), str(other), str(tmp_path / "again"), "--name", known[0]])
    assert "--name must be that of a new user" in capsys.readouterr().err
