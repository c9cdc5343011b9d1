"""The whole study on three simulated people, small enough for a test; its numbers mean nothing, their relations do."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from echoform.spectrogram_classifier import SpectrogramClassifier
from echoform_train.cli import parse
from echoform_train.commands import augment, classify
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.errors import UserError
from echoform_train.engine.json_files import write_json
from echoform_train.engine.provenance import code_name, code_state
from echoform_train.publishing.push import copy_for_push
from echoform_train.publishing.verify import verify
from echoform_train.study import stage_cache
from echoform_train.study.config import GeneratorConfig, StudyConfig
from echoform_train.study.images import selection
from echoform_train.study.make_plan import PER_USER
from echoform_train.study.stages import accuracies
from echoform_train.trainers import classifier as trainers_classifier

# A generator that was trained for a moment makes no walks.
TINY = StudyConfig(
    only_walks=False,
    seeds=2,
    classifier_train_images=64,
    judge_seeds=(0, 1),
    judge_train_images=640,
    keep_share=0.5,
    max_duplicate=1.0,
)
SAMPLING = GeneratorConfig(num_inference_steps=2)


def given(walkers: Path, first_stage: Path, second_stage: Path, output_dir: Path, **settings: Any) -> augment.Config:
    """A study of a given pipeline."""
    defaults: dict[str, Any] = {
        "pipeline": str(second_stage / "pipeline"),
        "split_file": first_stage / "split.json",
        "per_user": 4,
        "workers": 1,
        "study": TINY,
        "generator": SAMPLING,
    }
    return augment.Config(data=str(walkers), output_dir=output_dir, **(defaults | settings))


@pytest.fixture(scope="module")
def finished(walkers, first_stage, second_stage, tmp_path_factory) -> augment.Config:
    config = given(walkers, first_stage, second_stage, tmp_path_factory.mktemp("augment") / "out")
    augment.main(config)
    return config


def report_of(config: augment.Config) -> dict[str, Any]:
    return json.loads((config.output_dir / "report.json").read_text())


def numbers_of(report: dict[str, Any]) -> dict[str, Any]:
    """What must come out again: all but the cost and how it was called."""
    return {name: value for name, value in report.items() if name not in ("cost", "provenance")}


def test_a_given_pipeline_is_measured_at_all_images_only_and_the_page_says_why(finished):
    report = report_of(finished)
    assert [size["size"] for size in report["sizes"]] == ["all"]
    page = (finished.output_dir / "report.html").read_text()
    assert "The given generator was trained on all training images" in page
    assert report["verdict"]["sentence"].partition(": ")[0] in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_the_data_set_holds_the_training_images_and_four_generated_ones_a_user(finished, walkers):
    real = load_spectrograms(walkers, split_file=finished.split_file)
    augmented = load_spectrograms(finished.output_dir / "dataset")
    assert len(augmented.train) == len(real.train) + 12
    assert (len(augmented.validation), len(augmented.test)) == (len(real.validation), len(real.test))
    rows = [
        json.loads(line) for line in (finished.output_dir / "dataset/train/metadata.jsonl").read_text().splitlines()
    ]
    made = [row for row in rows if row["origin"] == "generated"]
    assert sorted(row["user"] for row in made) == ["ID_1"] * 4 + ["ID_2"] * 4 + ["ID_3"] * 4
    assert all(0 <= row["agreement"] <= 1 and row["nearest_train_distance"] > 0 and row["seed"] >= 0 for row in made)


def test_the_card_of_the_pipeline_says_what_the_report_says(finished):
    card = (finished.output_dir / "pipeline" / "README.md").read_text()
    report = report_of(finished)
    assert "## Did it help?" in card and report["verdict"]["sentence"] in card
    assert f"{100 * report['sizes'][0]['classical']['all']['mean']:.1f} %" in card
    assert f"{100 * report['scores']['drawn']['scores']['gan_test']['mean']:.1f} %" in card


def test_the_classifier_at_the_end_is_trained_in_the_recommended_way_and_report_and_card_name_it(finished):
    report, folder = report_of(finished), finished.output_dir / "classifier"
    facts = json.loads((folder / "facts.json").read_text())["classifier"]
    size = report["sizes"][-1]
    # The recommendation of the ResNet, which is what is exported.
    rows = [row for row in report["rows"] if row["family"] == "ResNet"]
    share = next(row["share"] for row in rows if row["arm"] == "best classical + generated")
    used = "ResNet" in size["recommended"] or size["recommended"] != "none"
    assert facts["augmentation"] == report["classifier"]["way"]
    assert ("generated images as" in facts["augmentation"]) <= used and 0 < share <= 0.5
    sentence = report["classifier"]["sentence"]
    assert f"{100 * report['classifier']['scores']['accuracy']['mean']:.1f} % of held-out spectrograms" in sentence
    assert 0 <= report["classifier"]["scores"]["ece"]["mean"] <= 1
    assert facts["nobody"]["asked_rate"] == 0.05
    assert sentence in (finished.output_dir / "report.html").read_text().replace("&#34;", '"')
    assert sentence in (finished.output_dir / "pipeline" / "README.md").read_text()
    assert not (folder / "model.onnx").exists() and not (folder / "checkpoints").exists()


def test_recipes_are_measured_beside_their_rivals_and_stand_in_one_table(finished, tmp_path, capsys):
    config = replace(finished, output_dir=shutil.copytree(finished.output_dir, tmp_path / "out"))
    config = replace(config, study=replace(TINY, recipes=True))
    augment.main(config)
    report, made = report_of(config), len(report_of(finished)["cost"]["stages"])
    assert capsys.readouterr().out.count("(made before in") == made  # nothing else is made again
    assert [(row["recipe"].split()[0], row["size"]) for row in report["recipes"]] == [
        ("Generated", "all"),
        ("Pre-trained", "all"),
    ]
    for row in report["recipes"]:
        assert set(row["rivals"]) == {"ResNet", "GRU over columns"}
        assert row["gain"]["low"] <= row["gain"]["mean"] <= row["gain"]["high"]
    measured = [row for row in report["rows"] if row["arm"] in ("teachers label", "pre-trained on generated")]
    assert {row["seen"] for row in measured} == {64} and len(measured) == 2 * 2 * 2
    assert "Other uses of generated images" in (config.output_dir / "report.html").read_text()
    assert report_of(finished)["recipes"] == []


def test_the_classifier_at_the_end_is_loaded_pushed_and_used_like_any_other(finished, walkers, tmp_path):
    folder = finished.output_dir / "classifier"
    model = SpectrogramClassifier.from_pretrained(folder)
    assert [model.config.id2label[index] for index in range(4)] == ["ID_1", "ID_2", "ID_3", "nobody"]
    answers = classify.main(classify.Config(sources=(walkers / "ID_1",), model=str(folder)))
    assert len(answers) == len([*(walkers / "ID_1").rglob("*.png")])
    assert {answer.user for answer in answers} <= {"ID_1", "ID_2", "ID_3", "nobody"}
    copy_for_push(folder, tmp_path / "copy", "someone/who")
    found = verify(str(tmp_path / "copy"), tmp_path / "home")
    assert max(found.differences.values()) < 1e-3


def test_a_classifier_that_is_interrupted_goes_on_to_the_same_weights(finished, tmp_path, capsys, monkeypatch):
    config = replace(finished, output_dir=shutil.copytree(finished.output_dir, tmp_path / "out"))
    config = replace(config, study=replace(config.study, false_accept_rate=0.2))  # changes the threshold alone
    fit, calls = trainers_classifier.fit_classifier, []

    def stop_at_second(*arguments, **settings):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **settings)

    monkeypatch.setattr(trainers_classifier, "fit_classifier", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        augment.main(config)
    augment.main(config)
    printed = capsys.readouterr().out
    assert "] classifier goes on after" in printed and "resumed: 1 trainings are done already" in printed
    assert len(calls) == 2 + 3  # the classifier, and one without each of three users
    one, two = (load_file(each.output_dir / "classifier/model.safetensors") for each in (finished, config))
    assert all(torch.equal(one[name], two[name]) for name in one if name.startswith("network."))
    facts = json.loads((config.output_dir / "classifier/facts.json").read_text())
    assert facts["classifier"]["nobody"]["asked_rate"] == 0.2


def test_started_again_it_makes_nothing_twice_and_finds_the_same_numbers(finished, capsys):
    out = finished.output_dir
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.parent != out}
    first = report_of(finished)
    augment.main(replace(finished))
    printed = capsys.readouterr().out
    assert printed.count("(made before in") == len(first["cost"]["stages"])
    assert numbers_of(report_of(finished)) == numbers_of(first)
    assert report_of(finished)["cost"] == first["cost"]
    copies = {out / "pipeline", out / "classifier"}
    kept = [path for path in before if not copies & {*path.parents}]
    assert all(path.stat().st_mtime_ns == before[path] for path in kept)


def test_rows_that_other_code_measured_are_published_under_its_commit(finished, tmp_path, monkeypatch):
    config = replace(finished, output_dir=shutil.copytree(finished.output_dir, tmp_path / "out"))
    measured_by = code_name(code_state())
    monkeypatch.setattr(stage_cache, "code_state", lambda: {"commit": "fedcba987654", "sources": "0"})
    augment.main(config)
    report = report_of(config)
    assert {stage["code"] for stage in report["cost"]["stages"]} == {measured_by}
    note = next(note for note in report["notes"] if "fedcba987654" in note)
    assert measured_by in note and "classical-all" in note
    for text in ("report.html", "pipeline/README.md"):
        assert measured_by in (config.output_dir / text).read_text()


@pytest.mark.slow
def test_a_selection_without_the_gait_limits_that_were_asked_for_says_so_in_report_and_card(
    finished, tmp_path, monkeypatch
):
    def unreadable(images, axes):
        raise UserError("a torso can be seen in too few images")

    monkeypatch.setattr(selection.WalkCheck, "learn", unreadable)
    augment.main(replace(finished, output_dir=tmp_path / "out", study=replace(TINY, only_walks=True)))
    sentence = "without gait limits, although --only-walks asks for them, for all: a torso can be seen in too few"
    assert any(sentence in note for note in report_of(replace(finished, output_dir=tmp_path / "out"))["notes"])
    for text in ("report.html", "pipeline/README.md"):
        assert sentence in (tmp_path / "out" / text).read_text()


def test_a_file_of_a_person_in_the_data_set_is_not_removed_with_it(finished, tmp_path):
    config = replace(finished, output_dir=shutil.copytree(finished.output_dir, tmp_path / "out"))
    (config.output_dir / "dataset" / "thesis.txt").write_text("mine")
    (config.output_dir / "pipeline" / "mine.py").write_text("mine")
    augment.main(replace(config, per_user=3))
    assert (config.output_dir / "dataset-set-aside" / "thesis.txt").read_text() == "mine"
    assert not (config.output_dir / "dataset" / "thesis.txt").exists()
    assert (config.output_dir / "pipeline" / "mine.py").read_text() == "mine"


def interrupt_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ctrl-C does, once so many accuracies are on disk; some shells have jobs ignore the signal itself."""

    def write_and_interrupt(path: Path, value: Any) -> None:
        write_json(path, value)
        if path.name == accuracies.ROWS and len(value) == count:
            raise KeyboardInterrupt

    monkeypatch.setattr(accuracies, "write_json", write_and_interrupt)


def test_interrupted_in_the_middle_of_a_stage_it_goes_on_and_finds_the_same_numbers(
    finished, walkers, first_stage, second_stage, tmp_path, capsys, monkeypatch
):
    config = given(walkers, first_stage, second_stage, tmp_path / "out")
    rows = config.output_dir / "stages" / "classical-all" / "rows.json"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(5, patch)
        augment.main(config)
    there = json.loads(rows.read_text())
    assert 5 == len(there) < len(report_of(finished)["rows"])
    assert not (config.output_dir / "report.json").exists()
    augment.main(config)
    assert "classical-all goes on after" in capsys.readouterr().out
    assert json.loads(rows.read_text())[: len(there)] == there
    assert numbers_of(report_of(config)) == numbers_of(report_of(finished))


def test_filling_up_to_a_number_of_images_makes_only_the_data_set_anew(finished, capsys):
    config = replace(finished, per_user=None, balance_to=10)
    before = load_spectrograms(config.output_dir / "dataset")
    study = augment.plan(config)
    assert study.to_add == {0: 2, 1: 2, 2: 2}
    assert study.images_per_user == dict.fromkeys(range(3), PER_USER)
    assert len(before.train) == 36


def refused(message: str, config: augment.Config) -> None:
    with pytest.raises(ValueError, match=message):
        augment.plan(config)
    assert not (config.output_dir / "stages").exists()


def test_a_given_pipeline_needs_the_split_of_its_training(walkers, first_stage, second_stage, tmp_path):
    # Beside its folder lies the split of its training, which is used unless --split-file names one.
    study = augment.plan(given(walkers, first_stage, second_stage, tmp_path, split_file=None))
    assert study.data.split_file == second_stage / "split.json"
    shutil.copytree(second_stage / "pipeline", tmp_path / "alone/pipeline")
    alone: dict[str, Any] = {"pipeline": str(tmp_path / "alone/pipeline")}
    refused("needs --split-file", given(walkers, first_stage, second_stage, tmp_path, split_file=None, **alone))
    split = json.loads((first_stage / "split.json").read_text())
    split["train"], split["left_out"] = split["train"][1:], split["train"][:1]
    (tmp_path / "other.json").write_text(json.dumps(split))
    other = given(walkers, first_stage, second_stage, tmp_path, split_file=tmp_path / "other.json")
    refused("was trained with another split than the split .*other.json: 1 of 48 images on another side", other)
    refused("was trained with another split than .*: that one had .* images", replace(other, **alone))


def test_a_pipeline_of_other_people_is_refused(walkers, first_stage, second_stage, tmp_path):
    shutil.copytree(second_stage / "pipeline", tmp_path / "pipeline")
    index = json.loads((tmp_path / "pipeline" / "model_index.json").read_text())
    index["id2label"] = {"0": "ID_1", "1": "ID_3", "2": "ID_2"}
    (tmp_path / "pipeline" / "model_index.json").write_text(json.dumps(index))
    config = given(walkers, first_stage, second_stage, tmp_path / "out", pipeline=str(tmp_path / "pipeline"))
    refused("must have the users of the data, ID_1, ID_2, ID_3; it has ID_1, ID_3, ID_2", config)


def test_a_distilled_pipeline_is_refused_with_other_steps_than_its_own(walkers, first_stage, second_stage, tmp_path):
    shutil.copytree(second_stage / "pipeline", tmp_path / "pipeline")
    facts = json.loads((tmp_path / "pipeline/facts.json").read_text())
    (tmp_path / "pipeline/facts.json").write_text(json.dumps(facts | {"distilled": {"steps": 8}}))
    config = given(walkers, first_stage, second_stage, tmp_path / "out", pipeline=str(tmp_path / "pipeline"))
    refused("was distilled to --num-inference-steps 8 and --guidance-scale 1.5, got 2 and 1", config)


def test_generated_images_are_never_taken_for_real_ones(finished, tmp_path):
    dataset = finished.output_dir / "dataset"
    refused("holds images of origin generated", augment.Config(data=str(dataset), output_dir=tmp_path))


def test_too_few_images_to_compare_are_noticed_before_anything_trains(walkers, first_stage, second_stage, tmp_path):
    refused("sets of more than 5 images are needed", given(walkers, first_stage, second_stage, tmp_path, per_user=1))


def test_asking_for_both_kinds_of_numbers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not both, got 3 and 4"):
        augment.Config(data="walkers", output_dir=tmp_path, per_user=3, balance_to=4)
    with pytest.raises(ValueError, match="must go with --push-to-hub"):
        augment.Config(data="walkers", output_dir=tmp_path, license="mit")


def test_every_preset_is_a_study_that_flags_can_change():
    for preset in augment.PRESETS:
        config = parse(
            augment, ["walkers", "out", "--preset", preset, "--sizes", "5", "all", "--copies", "3"], "augment"
        )
        assert (config.preset, config.study.sizes, config.generator.copies) == (preset, ("5", "all"), 3)


@pytest.mark.slow
def test_two_processes_find_the_numbers_that_one_finds(finished, tmp_path, capfd):
    config = replace(finished, output_dir=tmp_path / "out", workers=2)
    alone = replace(config, output_dir=tmp_path / "alone", workers=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the two have
    try:
        augment.main(alone)
    finally:
        torch.set_num_threads(threads)
    capfd.readouterr()
    augment.main(config)
    printed = capfd.readouterr().out
    assert "classical-all begins" in printed and "classical-all: " in printed
    assert numbers_of(report_of(config)) == numbers_of(report_of(alone))


@pytest.mark.slow
def test_one_generator_a_size_is_trained_on_the_images_of_that_size_alone(walkers, tmp_path, hub):
    repo = hub.repo_id("augmented")
    config = augment.Config(
        data=str(walkers),
        output_dir=tmp_path / "out",
        per_user=4,
        push_to_hub=repo,
        study=replace(TINY, sizes=("3", "all", "50"), across=("direction:away:towards",)),
        generator=GeneratorConfig(copies=2, vq_train_images=160, ldm_train_images=160, num_inference_steps=2),
    )
    augment.main(config)
    report = report_of(config)
    assert [(size["size"], size["images_a_user"], size["images"]) for size in report["sizes"]] == [
        ("3", "3", 9),
        ("all", "8 (all)", 24),
    ]
    assert "50 real images per user were requested" in report["notes"][0]
    assert [row["condition"] for row in report["conditions"]] == ["away -> towards"]
    # With 3 images per user the trainings saw 9, in 2 versions each.
    facts = json.loads((tmp_path / "out/stages/generator-3/ldm/pipeline/facts.json").read_text())
    assert facts["data"]["images"]["validation"] == 9
    assert "- train: 24 images" in (tmp_path / "out/pipeline/README.md").read_text()
    given_back = replace(config, pipeline=str(tmp_path / "out/pipeline"), split_file=tmp_path / "out/split.json")
    assert augment.plan(replace(given_back, push_to_hub=None)).pipeline == tmp_path / "out/pipeline"
    assert len(load_spectrograms(repo).train) == 24 + 12
