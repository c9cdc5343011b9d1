import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from echoform import ConvAutoencoderPipeline
from echoform_train.commands import score_conv_ae
from echoform_train.commands.score_conv_ae import Config
from echoform_train.conv.score_table import METRIC_TITLES
from echoform_train.data.image_config import ImageDataConfig, ImageSourceConfig
from echoform_train.publishing.push import push
from echoform_train.publishing.verify import verify
from echoform_train.trainers import conv_ae as train_conv_ae
from tiny_conv import tiny_conv_ae, write_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "data"
    write_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def scored(pictures, tmp_path_factory):
    """A training's output, scored."""
    folder = tmp_path_factory.mktemp("scored") / "conv"
    train_conv_ae.main(tiny_conv_ae(pictures, folder))
    score_conv_ae.main(Config(pipeline=str(folder / "pipeline"), data=ImageSourceConfig(data=str(pictures))))
    return folder


def test_every_number_is_that_of_the_pipeline_on_the_files(pictures, scored):
    scores = json.loads((scored / "scores" / "scores.json").read_text())
    files = json.loads((scored / "split.json").read_text())["test"]
    pipeline = ConvAutoencoderPipeline.from_pretrained(scored / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    given = pipeline.preprocess([pictures / file for file in files]).numpy().astype(np.float64)
    output = pipeline([pictures / file for file in files], output_type="pt")
    made = output.images.numpy().astype(np.float64)
    assert [row["file"] for row in scores["images"]] == files
    assert [row["psnr_db"] for row in scores["images"]] == pytest.approx(output.psnr_db, abs=1e-3)
    model = scores["methods"]["model"]
    assert model["psnr_db"]["mean"] == pytest.approx(-10 * np.log10(np.square(made - given).mean()), abs=1e-3)
    assert model["brightness_shift"]["mean"] == pytest.approx(255 * (made - given).mean(), abs=1e-2)

    def energy(images):
        return np.square(np.diff(images, axis=2)).mean() + np.square(np.diff(images, axis=3)).mean()

    assert model["detail_kept"]["mean"] == pytest.approx(energy(made) / energy(given), rel=1e-3)
    alone = pipeline.decode(output.latents, output_type="pt").images.numpy().astype(np.float64)
    assert scores["methods"]["alone"]["psnr_db"]["mean"] == pytest.approx(
        -10 * np.log10(np.square(alone - given).mean()), abs=1e-3
    )
    train = pipeline.preprocess([pictures / file for file in json.loads((scored / "split.json").read_text())["train"]])
    mean = np.square(train.double().mean(dim=0).numpy() - given).mean()
    assert scores["methods"]["mean"]["psnr_db"]["mean"] == pytest.approx(-10 * np.log10(mean), abs=1e-2)


def test_every_method_has_every_number_with_its_interval_and_what_goes_around_the_latents_is_counted(scored):
    scores = json.loads((scored / "scores" / "scores.json").read_text())
    assert set(scores["methods"]) == {"model", "alone", "mean", "resized"}
    for values in scores["methods"].values():
        assert set(values) == set(METRIC_TITLES)
        assert all(entry["low"] <= entry["mean"] <= entry["high"] for entry in values.values())
    # Two levels of 8 and 16 maps; of each square of four one place, 2 bits.
    assert scores["settings"]["bits_around_the_latents"] == 2 * (8 * 8 * 8 + 16 * 4 * 4)
    assert scores["settings"]["numbers"] == 16 * 4 * 4 and scores["settings"]["values_of_an_image"] == 3 * 16 * 16
    assert "echoform" in scores["versions"]


def test_the_pictures_are_there_and_the_card_tells_the_scores(scored):
    for name in ("reconstructions", "brightness_detail"):
        with Image.open(scored / "scores" / f"{name}.png") as picture:
            assert min(picture.size) > 50
    card = (scored / "pipeline" / "README.md").read_text()
    assert "| score | value | mean image | latents alone | resized | over |" in card and "| SSIM |" in card


def test_a_perfect_transposed_model_would_lose_nothing_and_has_no_latents_beside_it(pictures, tmp_path, monkeypatch):
    train_conv_ae.main(tiny_conv_ae(pictures, tmp_path, upsampling="transpose"))
    # The real pipeline around a model whose output is its input.
    from echoform.conv_autoencoder import ConvAutoencoder, ConvAutoencoderOutput

    def same(model, images, noise=None):
        return ConvAutoencoderOutput(sample=images, latents=model.encode(images).latents)

    monkeypatch.setattr(ConvAutoencoder, "forward", same)
    config = Config(pipeline=str(tmp_path / "pipeline"), data=ImageSourceConfig(data=str(pictures)), card=False)
    score_conv_ae.main(config)
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert "alone" not in scores["methods"] and scores["settings"]["bits_around_the_latents"] == 0
    model = scores["methods"]["model"]
    assert model["psnr_db"]["mean"] > 100
    assert model["ssim"]["mean"] == pytest.approx(1) and model["detail_kept"]["mean"] == pytest.approx(1)
    assert model["brightness_shift"]["mean"] == pytest.approx(0, abs=1e-3)


def test_a_model_without_a_split_is_not_scored_on_what_it_was_trained_on(pictures, scored, tmp_path):
    shutil.copytree(scored / "pipeline", tmp_path / "alone" / "pipeline")
    data = ImageSourceConfig(data=str(pictures))
    with pytest.raises(FileNotFoundError, match=r"there is no split\.json beside"):
        score_conv_ae.main(Config(pipeline=str(tmp_path / "alone" / "pipeline"), data=data))
    with pytest.raises(ValueError, match="--output must name a folder for the scores"):
        score_conv_ae.main(Config(pipeline="user/model", data=data))


def test_a_pushed_model_is_verified_and_its_cards_snippet_runs(scored, pictures, hub, tmp_path, capsys):
    repo = hub.repo_id("conv")
    push(scored, repo)
    assert not any("reconstructions" in name or name.endswith("curves.png") for name in hub.files(repo))
    told = verify(repo, tmp_path / "home").summary()
    assert "pipeline_conv_autoencoder" in told and "same output as when it was pushed" in told
    snippet = hub.files(repo)["README.md"].decode().split("```python\n")[1].split("```")[0]
    shutil.copyfile(pictures / "a" / "000.png", tmp_path / "image.png")
    from without_echoform import UNINSTALLED, run_alone

    run_alone(UNINSTALLED + snippet + "\nassert len(between) == len(random) == 4", tmp_path)
    assert (tmp_path / "reconstruction.png").is_file()


def test_a_grey_model_is_scored_on_the_luminance_of_colours(pictures, tmp_path):
    data = ImageDataConfig(data=str(pictures), resolution=16, color="grey")
    train_conv_ae.main(tiny_conv_ae(pictures, tmp_path, data=data))
    result = score_conv_ae.main(Config(pipeline=str(tmp_path / "pipeline"), data=ImageSourceConfig(data=str(pictures))))
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert result.to_json().items() <= scores.items()
    assert scores["settings"]["values_of_an_image"] == 16 * 16
    assert torch.tensor([row["brightness_in"] for row in scores["images"]]).std() > 0
