"""Cards of depth models and of a lone first stage: the Hub's reader, Python's parser, and the facts that went in."""

from __future__ import annotations

import ast
import copy
import re
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData

from echoform_cards.depth_card import METRICS, render_depth_card
from echoform_cards.first_stage_card import FirstStageFacts, render_first_stage_card

FACTS: Any = {
    "name": "Rooms",
    "latent_dim": 768,
    "repo": "someone/rooms",
    "license": "cc0-1.0",
    "parameters": 4_321_000,
    "depth_range_mm": {"min": 300, "max": 5000},
    "units_per_mm": 5.0,
    "invalid_values": {"0": "no reading", "65535": "too far"},
    "sample_size": 128,
    "sample_sheet": "samples.png",
    "sample_sheet_after": 12_345,
    "data": {"name": "Invented rooms", "hub_id": "someone/invented", "images": {"train": 90, "test": 10}},
    "stages": [{"name": "Depth autoencoder", "command": "echoform train depth-ae --data rooms", "seconds": 61.0}],
    "scores": {
        "psnr_db": {
            "mean": 31.25, "low": 31.0, "high": 31.5, "n": 10, "baselines": {"PCA-768": 25.25, "DCT-768": 24.5}
        },
        "linear_probe": {"mean": 0.8125, "baselines": {"PCA-768": 0.7}},
    },
}  # fmt: skip


def metadata_of(card: str) -> ModelCardData:
    data = ModelCard(card).data
    assert isinstance(data, ModelCardData)
    return data


def snippet_of(card: str) -> str:
    found = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert found is not None
    ast.parse(found[1])
    return found[1]


def test_every_number_stands_beside_the_linear_ways_to_get_as_many_numbers():
    card = render_depth_card(FACTS)
    assert "| score | value | PCA-768 | DCT-768 | over |" in card
    assert "| PSNR | 31.2 (31.0 to 31.5) | 25.2 | 24.5 | 10 |" in card
    assert "| Linear probe | 81.2 % | 70.0 % |  |  |" in card
    assert "floor" not in card


def test_the_hub_library_reads_the_card_and_its_model_index():
    card = render_depth_card(FACTS)
    assert str(ModelCard(card)) == card
    data = metadata_of(card)
    assert (data.library_name, data.license, data.datasets) == ("diffusers", "cc0-1.0", ["someone/invented"])
    assert data.eval_results is not None
    assert [(result.metric_name, result.metric_value) for result in data.eval_results] == [
        (METRICS["psnr_db"].label, 31.25),
        (METRICS["linear_probe"].label, 0.8125),
    ]


@pytest.mark.parametrize(
    ("fact", "seen"),
    {
        "repo": '"someone/rooms"',
        "license": "license: cc0-1.0",
        "parameters": "4,321,000 parameters",
        "depth_range_mm": "300 to 5000 mm",
        "units_per_mm": "5 units of the sensor per millimetre",
        "invalid_values": "- 65535: too far",
        "sample_size": "128 x 128 pixels",
        "sample_sheet": "samples.png",
        "sample_sheet_after": "12,345 images of training",
        "data": "Trained on Invented rooms",
        "stages": "echoform train depth-ae --data rooms",
        "scores": "## Numbers",
    }.items(),
)
def test_a_fact_is_printed_where_it_is_known_and_nothing_where_it_is_not(fact: str, seen: str):
    assert seen in render_depth_card(FACTS)
    facts = copy.deepcopy(FACTS)
    del facts[fact]
    card = render_depth_card(facts)
    assert seen not in card
    assert "None" not in card
    assert "\n\n\n" not in card


def test_the_encoder_alone_has_a_snippet_of_its_own():
    pipeline, encoder = render_depth_card(FACTS), render_depth_card(FACTS | {"part": "encoder"})
    assert 'DiffusionPipeline.from_pretrained("someone/rooms", trust_remote_code=True)' in snippet_of(pipeline)
    assert 'AutoModel.from_pretrained("someone/rooms", trust_remote_code=True)' in snippet_of(encoder)
    assert "\n\n\n" not in encoder


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"latent_dim": 0}, "needs name and latent_dim, got latent_dim=0"),
        ({"part": "decoder"}, "must be autoencoder or encoder, got 'decoder'"),
        ({"range": 3}, "facts of a depth model's card may hold .* got range"),
        ({"scores": {"rmse_mm": {"mean": 3.0, "baselines": {"PCA-768": float("nan")}}}}, "got rmse_mm baseline PCA"),
    ],
)
def test_what_is_missing_unknown_or_not_measured_is_refused(facts: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        render_depth_card(FACTS | facts)


def test_a_first_stage_card_loads_the_stock_class_and_claims_only_what_it_was_told():
    facts: FirstStageFacts = {
        "name": "First stage",
        "model_class": "VQModel",
        "repo": "someone/first",
        "latent_shape": [4, 16, 16],
        "image": {"height": 64, "width": 64, "channels": 1, "colormap": "jet"},
        "scores": {"psnr_db": {"mean": 33.3}},
    }
    card = render_first_stage_card(facts)
    assert str(ModelCard(card)) == card
    assert 'VQModel.from_pretrained("someone/first")' in snippet_of(card)
    assert "latents: 4 x 16 x 16" in card and "| PSNR of the first stage | 33.3 |" in card
    assert "\n\n\n" not in card
    least = render_first_stage_card({"name": "First stage", "model_class": "AutoencoderKL"})
    assert "- vq-vae" in card and "- kl-vae" in least and "- vq-vae" not in least
    assert "latent_dist" in snippet_of(least)
    assert "## Numbers" not in least and "## Data" not in least and "\n\n\n" not in least
