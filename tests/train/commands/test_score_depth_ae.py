import json
import shutil

import numpy as np
import pytest
from PIL import Image

from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train import cli
from echoform_train.commands import score_depth_ae
from echoform_train.depth.config import DepthSourceConfig
from echoform_train.depth.score_table import METRIC_TITLES


@pytest.fixture(scope="module")
def scored(shapes, depth_ae, tmp_path_factory):
    """A copy of the training's output, scored through the command line."""
    folder = tmp_path_factory.mktemp("scored") / "shapes"
    shutil.copytree(depth_ae, folder)
    cli.main(["score", "depth-ae", str(folder / "pipeline"), "--data", str(shapes)])
    return folder


def test_every_number_stands_beside_every_baseline_that_can_have_it(scored):
    scores = json.loads((scored / "scores" / "scores.json").read_text())
    methods = scores["methods"]
    assert set(methods["model"]) == set(METRIC_TITLES)
    for name in ("pca", "dct"):
        assert set(methods[name]) == set(METRIC_TITLES) - {"validity_iou"}
    for name in ("pixels", "untrained"):
        assert set(methods[name]) == {"knn", "linear_probe"}
    for values in methods.values():
        for entry in values.values():
            assert entry["low"] <= entry["mean"] <= entry["high"]
    assert scores["settings"]["pca_components"] == 16
    assert "echoform" in scores["versions"]


def test_the_error_is_that_of_the_pipeline_on_the_files(shapes, scored):
    scores = json.loads((scored / "scores" / "scores.json").read_text())
    pipeline = DepthAutoencoderPipeline.from_pretrained(scored / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    files = json.loads((scored / "split.json").read_text())["test"]
    output = pipeline([shapes / file for file in files])
    pixels = [(np.array(Image.open(shapes / file)) > 0).sum() for file in files]
    pooled = np.sqrt(np.average(np.square(output.rmse_mm), weights=pixels))
    assert scores["methods"]["model"]["rmse_mm"]["mean"] == pytest.approx(pooled, rel=1e-3)
    peak = scores["settings"]["peak_mm"]
    assert scores["methods"]["model"]["psnr_db"]["mean"] == pytest.approx(20 * np.log10(peak / pooled), abs=0.01)
    assert peak == pipeline.config["depth_range_mm"]["max"] - pipeline.config["depth_range_mm"]["min"]


def test_the_pictures_are_there_and_the_card_tells_the_scores(scored):
    for name in ("reconstructions", "interpolations", "spectrum", "map"):
        with Image.open(scored / "scores" / f"{name}.png") as picture:
            assert min(picture.size) > 50
    card = (scored / "pipeline" / "README.md").read_text()
    assert "PCA-16" in card and "DCT-16" in card and "Linear probe" in card


def test_a_model_without_a_split_is_not_scored_on_what_it_was_trained_on(shapes, depth_ae, tmp_path):
    shutil.copytree(depth_ae / "pipeline", tmp_path / "alone" / "pipeline")
    config = score_depth_ae.Config(
        pipeline=str(tmp_path / "alone" / "pipeline"), data=DepthSourceConfig(data=str(shapes))
    )
    with pytest.raises(FileNotFoundError, match=r"there is no split\.json beside"):
        score_depth_ae.main(config)


def test_a_model_of_the_hub_needs_a_place_for_its_scores():
    with pytest.raises(ValueError, match="--output must name a folder for the scores"):
        score_depth_ae.main(score_depth_ae.Config(pipeline="user/model", data=DepthSourceConfig(data="rooms")))
