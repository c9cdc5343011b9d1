import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from echoform_train import cli
from echoform_train.commands import quickstart
from echoform_train.engine.errors import UserError
from echoform_train.engine.sources import check_sources


@pytest.fixture(scope="module")
def finished(walkers, tmp_path_factory):
    config = quickstart.Config(
        output_dir=tmp_path_factory.mktemp("quickstart") / "out",
        data=str(walkers),
        resolution=32,
        images_per_user=6,
        sampling_seeds=(0, 1),
        num_inference_steps=2,
        first_stage="vq-vae",
        vq_train_images=160,
        ldm_train_images=160,
        judge_train_images=640,
    )
    quickstart.main(config)
    return config


@pytest.mark.parametrize(("train_images", "expected"), [(30, 40), (180, 60), (900, 100)])
def test_a_user_gets_as_many_images_as_there_are_to_train_on_within_limits(train_images, expected):
    data: Any = SimpleNamespace(train=range(train_images), id2label={0: "ID_1", 1: "ID_2", 2: "ID_3"})
    assert quickstart._images_per_user(data) == expected


def test_numbers_that_cannot_be_are_refused_before_anything_is_trained(tmp_path):
    wrong: list[tuple[str, Any, str]] = [
        ("images_per_user", 0, "--images-per-user must be a whole number in 1..1000000, got 0"),
        ("num_inference_steps", 0, "--num-inference-steps must be in 1..1000, got 0"),
        ("sampling_seeds", (-1,), "--sampling-seeds must be a whole number in 0..9223372036854775807, got -1"),
    ]
    for name, value, rule in wrong:
        with pytest.raises(UserError, match=re.escape(rule)):
            quickstart.Config(output_dir=tmp_path, **{name: value})


def test_the_card_and_the_page_show_the_mean_spectra(finished):
    card = (finished.output_dir / "ldm/pipeline/README.md").read_text()
    assert "](<spectra.png>)" in card
    with Image.open(finished.output_dir / "ldm/pipeline/spectra.png") as picture:
        assert picture.width > 2 * picture.height
    spectra = json.loads((finished.output_dir / "scores.json").read_text())["spectra"]
    assert spectra["time"]["cycles_per_pixel"][-1] == spectra["doppler"]["cycles_per_pixel"][-1] == 0.5
    page = (finished.output_dir / "report.html").read_text()
    assert "Spectrum along time" in page and "Spectrum along Doppler" in page


def test_the_page_needs_nothing_from_anywhere_and_says_what_the_scores_say(finished):
    page = (finished.output_dir / "report.html").read_text()
    scores = json.loads((finished.output_dir / "scores.json").read_text())["scores"]
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "@import" not in page
    for name in ("gan_test", "real_to_real"):
        assert f"{100 * scores[name]['mean']:.1f}" in page
    assert all(user in page for user in ("ID_1", "ID_2", "ID_3"))


def test_the_card_of_the_pipeline_holds_the_measured_scores(finished):
    card = (finished.output_dir / "ldm" / "pipeline" / "README.md").read_text()
    scores = json.loads((finished.output_dir / "scores.json").read_text())["scores"]
    assert f"{100 * scores['gan_test']['mean']:.1f} %" in card
    assert "model-index" in card


def test_the_judged_images_came_from_a_process_without_echoform(finished):
    # without_echoform.py makes every package of ours unimportable before it loads the pipeline, and writes these files.
    rows = (finished.output_dir / "generated" / "seed-1" / "metadata.jsonl").read_text().splitlines()
    assert len(rows) == 18
    assert {json.loads(row)["user"] for row in rows} == {"ID_1", "ID_2", "ID_3"}


def test_started_again_it_does_nothing_twice_and_finds_the_same_scores(finished):
    out = finished.output_dir
    files = [out / "vq-vae" / "log.jsonl", out / "ldm" / "log.jsonl", out / "generated" / "seed-0" / "metadata.jsonl"]
    before = [path.read_text() for path in files]
    first = json.loads((out / "scores.json").read_text())["scores"]
    quickstart.main(replace(finished))
    assert [path.read_text() for path in files] == before
    assert json.loads((out / "scores.json").read_text())["scores"] == first


def remade(config, capsys):
    """Stages that a run makes anew, in their order, and everything that it prints."""
    capsys.readouterr()
    quickstart.main(config)
    printed = capsys.readouterr().out
    return re.findall(r"\] (\S+) is made anew", printed), printed


@pytest.mark.parametrize(
    ("change", "stages", "message"),
    [
        ({"judge_train_images": 704}, ["scores"], "--judge-train-images was 640, is now 704"),
        ({"guidance_scale": 2.0}, ["generated", "scores"], "--guidance-scale was 1.0, is now 2.0"),
        pytest.param(
            {"num_inference_steps": 3},
            ["generated", "scores"],
            "--num-inference-steps was 2, is now 3",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"images_per_user": 7}, ["generated", "scores"], "--images-per-user was 6, is now 7", marks=pytest.mark.slow
        ),
        pytest.param(
            {"sampling_seeds": (0, 2)},
            ["generated", "scores"],
            "--sampling-seeds was [0, 1], is now [0, 2]",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"ldm_train_images": 176},
            ["ldm", "generated", "scores"],
            "--max-train-images was 160, is now 176",
            marks=pytest.mark.slow,
        ),
        ({"first_stage": "none"}, ["ldm", "generated", "scores"], "changed inputs: first stage was "),
        pytest.param(
            {"seed": 1},
            ["vq-vae", "ldm", "generated", "scores"],
            "--seed was 0, is now 1",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_other_settings_remake_what_depends_on_them_and_nothing_else(
    finished, tmp_path, capsys, change, stages, message
):
    again = replace(finished, output_dir=shutil.copytree(finished.output_dir, tmp_path / "out"))
    config = replace(again, **change)
    found, printed = remade(config, capsys)
    assert found == stages
    assert message in printed
    # Card and scores are those of the new settings, as a first run with them has them.
    card = (config.output_dir / "ldm" / "pipeline" / "README.md").read_text()
    scores = json.loads((config.output_dir / "scores.json").read_text())
    assert f"{100 * scores['scores']['gan_test']['mean']:.1f} %" in card
    assert scores["settings"]["generated_images"] == [3 * config.images_per_user] * 2
    assert f"{config.num_inference_steps} steps" in card
    assert remade(config, capsys)[0] == []


@pytest.mark.slow
def test_other_data_of_the_same_number_remake_everything(finished, walkers, tmp_path, capsys):
    again = replace(finished, output_dir=shutil.copytree(finished.output_dir, tmp_path / "out"))
    data = shutil.copytree(walkers, tmp_path / "data")
    # Images of the training side, so that the new pipeline differs and its images with it.
    split = json.loads(next(again.output_dir.rglob("split.json")).read_text())
    for name in split["train"]:
        with Image.open(data / name) as opened:
            opened.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(data / name)
    found, printed = remade(replace(again, data=str(data)), capsys)
    assert found == ["vq-vae", "ldm", "generated", "scores"]
    assert "--data (" in printed
    # The same images at another place are the same.
    moved = shutil.copytree(data, tmp_path / "moved")
    assert remade(replace(again, data=str(moved)), capsys)[0] == []


def test_a_card_that_a_person_wrote_into_makes_nothing_anew(finished, tmp_path, capsys):
    again = replace(finished, output_dir=shutil.copytree(finished.output_dir, tmp_path / "out"))
    card = again.output_dir / "ldm" / "pipeline" / "README.md"
    card.write_text(card.read_text() + "\nmine\n")
    assert remade(again, capsys)[0] == []
    assert card.read_text().endswith("mine\n")


def test_results_without_a_record_of_their_settings_are_not_reused(finished, tmp_path):
    again = replace(finished, output_dir=shutil.copytree(finished.output_dir, tmp_path / "out"))
    shutil.rmtree(again.output_dir / "stages")
    with pytest.raises(ValueError, match=r"a stage must begin with an empty folder, .*vq-vae holds files"):
        quickstart.main(again)


@pytest.mark.slow
def test_an_image_that_was_exchanged_is_generated_again(finished, tmp_path, capsys):
    again = replace(finished, output_dir=shutil.copytree(finished.output_dir, tmp_path / "out"))
    folder = again.output_dir / "generated" / "seed-0" / "ID_1"
    shutil.copyfile(folder / "00000.png", folder / "00001.png")
    assert remade(again, capsys)[0] == ["generated"]


def test_the_words_for_first_stages_are_no_folders(tmp_path):
    # As from the command line, which looks for the folders that settings name.
    for words in ([], ["--first-stage", "none"]):
        check_sources(
            cli.parse(quickstart, [*words, "--output-dir", str(tmp_path / "out")], prog="echoform quickstart")
        )
