"""Scores of generated sets whose worth is known beforehand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from echoform_train import cli
from echoform_train.data.colormap import paint
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, load_spectrograms, to_pixels
from echoform_train.data.split import Split
from echoform_train.scoring import generated
from echoform_train.scoring.generated import score_generated
from echoform_train.scoring.generated_images import read_generated, read_metadata
from echoform_train.scoring.judge import accuracy, train_judge
from echoform_train.scoring.scores import LABELS

USERS = {0: "ID_1", 1: "ID_2", 2: "ID_10"}
SIZE = 16


@pytest.fixture(scope="module", autouse=True)
def _short_two_sample_test():
    """The networks of the two-sample test have tests of their own; here they only have to give a number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generated, "TRAIN_IMAGES", 128)
        yield


def draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Lines that pulse: the row tells the person; brightness, pulse and its phase differ from image to image."""
    generator = torch.Generator().manual_seed(seed)
    users = torch.arange(count) % len(USERS)
    image = -0.8 + 0.05 * torch.randn(count, 1, SIZE, SIZE, generator=generator)
    for index, user in enumerate(users.tolist()):
        phase, depth, level = torch.rand(3, generator=generator).tolist()
        wave = torch.sin(2 * math.pi * (2 * torch.arange(SIZE) / SIZE + phase))
        image[index, 0, 2 + 4 * user : 4 + 4 * user] += 0.8 + 0.4 * level + 0.4 * depth * wave
    return to_pixels(image), users


def part(count: int, seed: int) -> Spectrograms:
    pixels, users = draw(count, seed)
    files = tuple(f"{seed}/{k}.png" for k in range(count))
    unknown = (None,) * count
    return Spectrograms(pixels=pixels, users=users, conditions={}, files=files, recordings=unknown, starts_s=unknown)


@pytest.fixture(scope="module")
def data() -> SpectrogramData:
    parts = {"train": part(60, 0), "validation": part(6, 1), "test": part(60, 2)}
    names = {side: images.files for side, images in parts.items()}
    return SpectrogramData(
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        left_out=part(0, 3),
        split=Split(**names, left_out=(), method="by recording", gap_windows=2, seed=0),
        split_file=None,
        images_sha256="",
        id2label=USERS,
        condition_labels={},
        colormap="jet",
        colormap_residual=0.0,
        axes=None,
        native_size=(SIZE, SIZE),
        source="drawn",
        skipped=(),
        other_files=(),
    )


def scored(data: SpectrogramData, *generated: tuple[Tensor, Tensor], seeds: tuple[int, ...] = (0,)) -> dict[str, Any]:
    return cast("dict[str, Any]", score_generated(data, generated, judge_train_images=2560, seeds=seeds))


@pytest.fixture(scope="module")
def of_more_real_ones(data) -> dict[str, Any]:
    return scored(data, draw(60, 4), draw(60, 5), seeds=(0, 1))


def test_more_real_images_score_as_well_as_real_ones_do(of_more_real_ones):
    scores = of_more_real_ones["scores"]
    assert scores["real_to_real"]["mean"] > 0.95
    for name in ("gan_test_ratio", "gan_train_ratio"):
        assert scores[name]["mean"] == pytest.approx(1, abs=0.05)
    assert scores["frechet"]["mean"] == pytest.approx(scores["frechet"]["floor"], rel=0.6)
    for name in ("precision", "recall", "coverage", "diversity_features", "diversity_pixels"):
        assert scores[name]["mean"] == pytest.approx(scores[name]["floor"], rel=0.2)
    assert scores["memorised"]["mean"] < 0.05
    assert scores["memorised"]["floor"] < 0.05


def test_scores_name_every_label_and_are_plain_json_with_intervals_around_the_mean(of_more_real_ones):
    again = json.loads(json.dumps(of_more_real_ones, allow_nan=False))
    assert again == of_more_real_ones
    assert set(again["scores"]) == set(LABELS)
    for entry in again["scores"].values():
        assert entry["n"] == 2
        assert entry["interval_over"] == "seeds"
        assert entry["low"] <= entry["mean"] <= entry["high"]
    assert list(again["users"]) == list(USERS.values())


def test_judges_that_were_there_already_give_the_scores_that_new_ones_give(data):
    judge = train_judge(data.train.pixels, data.train.users, len(USERS), seed=0, train_images=2560)
    sample = draw(60, 4)
    again = score_generated(data, [sample], judge_train_images=2560, seeds=(0,), judges={0: judge})
    assert again == scored(data, sample)


def test_copies_of_training_images_are_found_out_though_they_look_perfect(data):
    noise = torch.randint(-2, 3, data.train.pixels.shape, generator=torch.Generator().manual_seed(0))
    copies = (data.train.pixels.int() + noise).clamp(0, 255).to(torch.uint8)
    scores = scored(data, (copies, data.train.users))["scores"]
    assert scores["gan_test"]["mean"] > 0.95
    assert scores["memorised"]["mean"] > 0.95
    assert scores["memorised"]["floor"] < 0.05


def test_one_image_a_user_again_and_again_has_no_diversity(data):
    pixels, users = draw(60, 4)
    scores = scored(data, (pixels[users], users))["scores"]  # pixels[k] is of user k for the first three
    assert scores["gan_test"]["mean"] > 0.95
    assert scores["diversity_pixels"]["mean"] == pytest.approx(0, abs=1e-6)
    assert scores["recall"]["mean"] < 0.1 * scores["recall"]["floor"]
    assert scores["frechet"]["mean"] > 3 * scores["frechet"]["floor"]


def test_images_of_the_wrong_person_fail_both_judges_and_the_interval_counts_images(data):
    pixels, users = draw(60, 4)
    result = scored(data, (pixels, (users + 1) % 3))
    assert result["scores"]["gan_test"]["mean"] < 0.05
    assert result["scores"]["gan_train"]["mean"] < 0.05
    assert all(user["real"] > 0.9 and user["generated"] < 0.1 for user in result["users"].values())
    assert result["scores"]["gan_test"]["interval_over"] == "images"
    assert result["scores"]["gan_test"]["n"] == 60
    assert result["scores"]["frechet"]["low"] is None


def test_gan_test_is_the_accuracy_of_a_judge_trained_on_the_real_training_part(data):
    pixels, users = draw(30, 4)
    judge = train_judge(data.train.pixels, data.train.users, 3, seed=5, train_images=2560)
    scores = scored(data, (pixels, users), seeds=(5,))["scores"]
    assert scores["gan_test"]["mean"] == accuracy(judge, pixels, users)
    assert scores["real_to_real"]["mean"] == accuracy(judge, data.test.pixels, data.test.users)


@pytest.mark.parametrize(
    ("generated", "seeds", "message"),
    [
        ([], (0,), "at least one sample"),
        ([draw(30, 4)], (), "at least one sample and one judge seed"),
        ([(draw(30, 4)[0][..., :8], draw(30, 4)[1])], (0,), r"\[1, 16, 16\], got \[1, 16, 8\]"),
        ([(draw(30, 4)[0], torch.arange(30) % 2)], (0,), "there are none of ID_10"),
    ],
)
def test_what_cannot_be_scored_is_refused(data, generated, seeds, message):
    with pytest.raises(ValueError, match=message):
        scored(data, *generated, seeds=seeds)


def write_generated(folder: Path, seed: int, count: int = 12) -> tuple[Tensor, Tensor]:
    """A folder as `echoform generate` writes it."""
    pixels, users = draw(count, seed)
    rows = []
    for number, (index, user) in enumerate(zip(pixels[:, 0].numpy(), users.tolist(), strict=True)):
        name = f"{USERS[user]}/{number:05d}.png"
        (folder / USERS[user]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(paint(index, "jet")).save(folder / name)
        rows.append({"file_name": name, "user": USERS[user], "index": number, "seed": seed, "origin": "generated"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return pixels, users


def write_real(folder: Path) -> Path:
    """Five recordings of six windows of each user."""
    pixels, users = draw(90, 0)
    for user, label in USERS.items():
        (folder / label).mkdir(parents=True)
        for number, index in enumerate(pixels[users == user][:, 0].numpy()):
            name = f"r{number // 6}_t{300 * (number % 6):05d}.png"
            Image.fromarray(paint(index, "jet")).save(folder / label / name)
    return folder


def test_generated_files_come_back_as_the_scalar_that_was_painted(data, tmp_path):
    expected = write_generated(tmp_path, seed=4)
    write_generated(tmp_path / "other", seed=9)
    rows = [*read_metadata(tmp_path / "other"), *read_metadata(tmp_path)]
    (pixels, users), _ = read_generated(rows, data)  # in the order of the seeds
    assert torch.equal(users, expected[1])
    difference = pixels.int() - expected[0].int()
    assert difference.abs().max() <= 2  # jet paints 28 to 31 in one colour
    assert np.array_equal(paint(pixels.numpy(), "jet"), paint(expected[0].numpy(), "jet"))


def test_generated_files_that_do_not_fit_are_named(data, tmp_path):
    write_generated(tmp_path, seed=4)
    rows = read_metadata(tmp_path)
    rows[3].path.unlink()
    with pytest.raises(FileNotFoundError, match=r"00003\.png is in metadata\.jsonl but is no file"):
        read_generated(rows, data)
    Image.new("RGB", (8, 8)).save(rows[3].path)
    with pytest.raises(ValueError, match=r"size, 16x16, .*00003\.png has 8x8"):
        read_generated(rows, data)
    metadata = tmp_path / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("ID_10", "ID_11"))
    with pytest.raises(ValueError, match=r"among ID_1, ID_2, ID_10, .* is of ID_11"):
        read_generated(read_metadata(tmp_path), data)
    metadata.write_text('{"file_name": "a.png", "user": "ID_1"}\n')
    with pytest.raises(ValueError, match=r"line 1 of .* lacks seed"):
        read_metadata(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no metadata\.jsonl"):
        read_metadata(tmp_path / "nothing")


def test_the_verb_scores_folders_and_writes_what_it_prints(tmp_path, capsys):
    real = write_real(tmp_path / "real")
    split_file = tmp_path / "split.json"
    load_spectrograms(real).split.save(split_file)
    folders = [tmp_path / f"seed-{seed}" for seed in (4, 5)]
    for folder, seed in zip(folders, (4, 5), strict=True):
        write_generated(folder, seed, count=30)
    arguments = ["score", "generated", "--data", str(real), "--generated-dir", *map(str, folders)]
    settings = ["--judge-seeds", "0", "--judge-train-images", "2560", "--device", "cpu"]
    cli.main([*arguments, "--split-file", str(split_file), *settings])
    result = json.loads((folders[0] / "scores.json").read_text())
    assert result["settings"]["generated_images"] == [30, 30]
    assert result["settings"]["samples"] == 2
    assert result["scores"]["gan_test"]["mean"] > 0.9
    assert "machine" in result
    printed = capsys.readouterr().out
    assert f"{result['scores']['frechet']['mean']:.3f}" in printed
    assert "Chance: guessing one of 3 users at random is right for 33.3 %." in printed
    page = (folders[0] / "scores.html").read_text()
    assert f"{100 * result['scores']['gan_test']['mean']:.1f}" in page and page.count("<img ") == 3
    with pytest.raises(SystemExit):
        cli.main([*arguments, "--split-file", str(split_file), "--judge-seeds", "0", "0"])
    assert "--judge-seeds must be different seeds, got 0 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*arguments, "--split-file", str(tmp_path / "other.json"), *settings])
    assert "other.json does not exist; it must name a split" in capsys.readouterr().err


def test_equal_seeds_have_no_interval_of_zero_width(data):
    # One sample for two judges: what does not depend on the judge is measured twice and is the same.
    scores = scored(data, draw(60, 4), seeds=(0, 1))["scores"]
    for name in ("real_to_real", "gan_test", "gan_train", "gan_test_ratio", "memorised", "two_sample_auc"):
        assert scores[name]["high"] - scores[name]["low"] > 0.01, name
    assert scores["memorised"]["mean"] == 0 == scores["memorised"]["low"]
    assert scores["diversity_pixels"]["low"] is None and scores["diversity_pixels"]["interval_over"] is None
