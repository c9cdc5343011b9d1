"""Cards of convolutional autoencoders: the Hub's reader, Python's parser, and the facts that went in."""

from __future__ import annotations

import ast
import copy
import re
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData

from echoform_cards.conv_card import METRICS, render_conv_card

FACTS: Any = {
    "name": "Autoencoder of blobs",
    "latent_shape": [512, 7, 7],
    "repo": "someone/blobs",
    "license": "cc0-1.0",
    "parameters": 29_432_000,
    "backbone": "vgg16",
    "torchvision_weights": True,
    "upsampling": "unpool",
    "output_activation": "sigmoid",
    "data_range": "unit",
    "variational": True,
    "sample_sheet": "samples.png",
    "sample_sheet_after": 12_345,
    "image": {"height": 224, "width": 224, "channels": 3},
    "data": {"name": "Blobs", "hub_id": "someone/pictures", "images": {"train": 90, "test": 10}},
    "stages": [{"name": "Autoencoder", "command": "echoform train conv-ae --data blobs", "seconds": 61.0}],
    "scores": {
        "psnr_db": {
            "mean": 31.25, "low": 31.0, "high": 31.5, "n": 10, "baselines": {"mean image": 15.25, "resized": 24.5}
        },
        "detail_kept": {"mean": 0.8125},
    },
}  # fmt: skip


def test_the_hub_library_reads_the_card_and_its_model_index():
    card = render_conv_card(FACTS)
    assert str(ModelCard(card)) == card
    data = ModelCard(card).data
    assert isinstance(data, ModelCardData)
    assert (data.library_name, data.license, data.datasets) == ("diffusers", "cc0-1.0", ["someone/pictures"])
    assert data.eval_results is not None
    assert [(one.metric_name, one.metric_value) for one in data.eval_results] == [(METRICS["psnr_db"].label, 31.25)]
    assert "| PSNR | 31.2 (31.0 to 31.5) | 15.2 | 24.5 | 10 |" in card
    assert "| Detail | 81.2 % |" in card


def test_the_snippet_is_python_and_loads_the_repository_or_the_folder():
    folder: Any = {name: value for name, value in FACTS.items() if name != "repo"}
    for facts, place in ((FACTS, "someone/blobs"), (folder, ".")):
        found = re.search(r"```python\n(.*?)```", render_conv_card(facts), re.DOTALL)
        assert found is not None
        ast.parse(found[1])
        assert f'from_pretrained("{place}", trust_remote_code=True)' in found[1]


@pytest.mark.parametrize(
    ("fact", "seen"),
    {
        "license": "license: cc0-1.0",
        "parameters": "29,432,000 parameters",
        "backbone": "layers of VGG16",
        "torchvision_weights": "started from torchvision's weights",
        "upsampling": "upper left corner of its square",
        "output_activation": "output activation `sigmoid`, for data of range `unit`",
        "data_range": "output activation `sigmoid`, for data of range `unit`",
        "variational": "a normal distribution",
        "image": "224 x 224 pixels, RGB",
        "sample_sheet": "samples.png",
        "sample_sheet_after": "12,345 images of training",
        "data": "Trained on Blobs",
        "stages": "echoform train conv-ae --data blobs",
        "scores": "## Numbers",
    }.items(),
)
def test_a_fact_is_printed_where_it_is_known_and_nothing_where_it_is_not(fact: str, seen: str):
    assert seen in render_conv_card(FACTS)
    facts = copy.deepcopy(FACTS)
    del facts[fact]
    card = render_conv_card(facts)
    assert seen not in card
    assert "None" not in card
    assert "\n\n\n" not in card


def test_a_card_of_little_says_little_and_what_is_unknown_is_refused():
    card = render_conv_card({"name": "Autoencoder", "latent_shape": [4, 2, 2], "upsampling": "transpose"})
    assert "by transposed convolutions and uses only the latents" in card and "\n\n\n" not in card
    shapeless: Any = {"name": "x"}
    with pytest.raises(ValueError, match="needs name and latent_shape, got latent_shape=None"):
        render_conv_card(shapeless)
    with pytest.raises(ValueError, match=r"facts of a convolutional autoencoder's card may hold .* got colour"):
        render_conv_card(FACTS | {"colour": 3})
