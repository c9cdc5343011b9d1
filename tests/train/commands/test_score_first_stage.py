import json
import shutil

import pytest
import torch
from PIL import Image

from echoform_train.commands import score_first_stage
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.latent_diffusion.first_stage import decode_to_pixels, encode_pixels, load_first_stage
from echoform_train.latent_diffusion.quality_scores import score_table


def scored(folder, walkers, output):
    config = score_first_stage.Config(
        folder=folder, data=str(walkers), output=output, judge_seeds=(0, 1), judge_train_images=256, device="cpu"
    )
    result = score_first_stage.main(config)
    written = json.loads((output / "scores.json").read_text())
    assert result.folder == output and result.scores.items() <= written.items()
    return written


@pytest.fixture(scope="module")
def scores(walkers, first_stage, kl_first_stage, tmp_path_factory):
    output = tmp_path_factory.mktemp("scores")
    return {
        name: scored(folder, walkers, output / name) | {"folder": output / name}
        for name, folder in (("vq", first_stage), ("kl", kl_first_stage))
    }


@pytest.mark.parametrize("name", ["vq", "kl"])
def test_the_psnr_is_that_of_the_8_bit_reconstructions_of_the_test_part(name, scores, walkers, request):
    folder = request.getfixturevalue({"vq": "first_stage", "kl": "kl_first_stage"}[name])
    stage = load_first_stage(folder)
    pixels = load_spectrograms(str(walkers), split_file=folder / "split.json").test.pixels
    error = (
        (pixels.double() - decode_to_pixels(stage.model, encode_pixels(stage.model, pixels)).double()).square().mean()
    )
    told = scores[name]
    assert told["psnr_db"]["mean"] == pytest.approx(10 * torch.log10(255**2 / error).item())
    assert told["psnr_db"]["low"] < told["psnr_db"]["mean"] < told["psnr_db"]["high"]
    assert sum(told["error_spectrum"]["time"]["error"]) == pytest.approx(4 * error.item() / 255**2, rel=1e-4)
    assert sum(row["images"] for row in told["users"].values()) == told["images"]["test"] == len(pixels)
    assert told["noisy_latents_psnr_db"] < told["psnr_db"]["high"]


def test_another_split_than_that_of_the_training_is_refused(walkers, first_stage, tmp_path):
    split = json.loads((first_stage / "split.json").read_text())
    split["train"], split["test"] = split["test"], split["train"]
    (tmp_path / "other.json").write_text(json.dumps(split))
    config = score_first_stage.Config(folder=first_stage, data=str(walkers), split_file=tmp_path / "other.json")
    with pytest.raises(ValueError, match=r"another split than .*other\.json: \d+ of 48 images on another side"):
        score_first_stage.main(config)


def test_each_kind_has_the_numbers_of_its_kind(scores):
    vq, kl = scores["vq"], scores["kl"]
    assert vq["codebook"]["size"] == 16 and 1 <= vq["codebook"]["perplexity"] <= 16
    assert kl["codebook"] is None and len(kl["latents"]["posterior_deviation"]) == 4
    assert "posterior_deviation" not in vq["latents"]
    assert {check["passed"] for check in vq["verdict"]["checks"]} <= {True, False}
    assert "echoform" in vq["versions"] and vq["settings"]["judge_seeds"] == [0, 1]


def test_the_pictures_are_there(scores):
    for name in ("worst_and_best.png", "error_spectrum.png"):
        with Image.open(scores["vq"]["folder"] / name) as picture:
            assert min(picture.size) > 200


def test_the_table_names_lpips_where_its_weights_are_missing(scores):
    lines = list(score_table(scores["kl"]))
    assert scores["kl"]["lpips"] is not None or any("weights are not at hand" in line for line in lines)
    assert lines[-1] == scores["kl"]["verdict"]["sentence"]


def test_a_first_stage_without_its_split_is_not_scored_on_what_it_was_trained_on(first_stage, walkers, tmp_path):
    shutil.copytree(first_stage, tmp_path / "vq")
    (tmp_path / "vq" / "split.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no split\.json; --split-file must name the split"):
        scored(tmp_path / "vq", walkers, tmp_path / "scores")
