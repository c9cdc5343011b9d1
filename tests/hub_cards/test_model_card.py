"""The model card against the Hub's own reader of cards, Python's parser and the facts that went in."""

from __future__ import annotations

import ast
import copy
import json
import re
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData

from echoform_cards.model_card import METRICS, render_model_card

FACTS: Any = {
    "name": "Walkers: a test #1",
    "repo": "someone/walkers",
    "license": "cc-by-4.0",
    "users": ["ID_1", "ID_2", "ID_10"],
    "conditions": {"condition": ["normal", "backpack"], "direction": ["towards", "away"]},
    "sample_sheet": "samples of all.png",
    "image": {"height": 71, "width": 72, "channels": 1, "colormap": "jet", "colormap_residual": 0.37},
    "axes": {
        "window_s": 3.0,
        "hop_s": 1.25,
        "doppler_min_hz": -2100.5,
        "doppler_max_hz": 2200.5,
        "db_min": -63.0,
        "db_max": 7.0,
        "carrier_hz": 7.7e10,
        "antenna_height_m": 1.125,
    },
    "data": {
        "name": "Invented walkers",
        "hub_id": "someone/invented-walkers",
        "people": "recorded",
        "images": {"train": 811, "validation": 152, "test": 203},
        "split": "contiguous with a gap",
        "gap_windows": 2,
    },
    "stages": [
        {
            "name": "VQ-VAE",
            "command": "echoform train vq-vae --data walkers",
            "commit": "0123456789ab",
            "versions": {"torch": "9.8.7", "diffusers": "6.5.4"},
            "machine": "3 cores of a mainframe",
            "seconds": 660.0,
            "images_seen": 61_234,
            "parameters": 1_234_567,
        }
    ],
    "sampling": {"scheduler": "UniPCMultistepScheduler", "num_inference_steps": 9, "guidance_scale": 1.75},
    "scores": {
        "real_to_real": {"mean": 0.925, "low": 0.91, "high": 0.94, "n": 6},
        "gan_test": {"mean": 0.875, "low": 0.85, "high": 0.9, "n": 6, "interval_over": "seeds", "floor": 0.925},
        "frechet": {"mean": 1.234, "low": 1.1, "high": 1.3, "n": 6, "floor": 0.0456},
        "own_score": {"mean": 12.3},
    },
    "spectra": "spectra of all.png",
    "augmentation": {
        "notes": ["Images for 5 were selected without gait limits."],
        "verdict": "helps",
        "sentence": "Generated images add 2.3 points at 10 real ones.",
        "over": "4 draws",
        "rows": [
            {
                "images_a_user": "8 to 10",
                "real": 0.251,
                "classical": 0.762,
                "generated": 0.583,
                "both": 0.785,
                "difference": 0.023,
                "low": 0.004,
                "high": 0.042,
            },
            {"images_a_user": "all", "real": 0.911},
        ],
    },
}
MINIMAL: Any = {"name": "walkers", "users": ["ID_1", "ID_2"]}
# What a reader sees of each fact that may be missing.
SEEN = {
    ("repo",): '"someone/walkers"',
    ("license",): "license: cc-by-4.0",
    ("conditions",): "`backpack`",
    ("sample_sheet",): "samples of all.png",
    ("spectra",): "](<spectra of all.png>)",
    ("image", "height"): "71 x 72 pixels",
    ("image", "channels"): "1 channel\n",
    ("image", "colormap"): "`jet`",
    ("image", "colormap_residual"): "from that map: 0.37 of 255",
    ("axes", "window_s"): "left to right: 3 s",
    ("axes", "hop_s"): "every 1.25 s",
    ("axes", "doppler_min_hz"): "-2100.5 Hz to 2200.5 Hz",
    ("axes", "doppler_max_hz"): "-2100.5 Hz to 2200.5 Hz",
    ("axes", "db_min"): "-63 dB to 7 dB",
    ("axes", "db_max"): "-63 dB to 7 dB",
    ("axes", "carrier_hz"): "77 GHz",
    ("axes", "antenna_height_m"): "`antenna_height_m`: 1.125",
    ("data", "name"): "Trained on Invented walkers",
    ("data", "hub_id"): "datasets:\n- someone/invented-walkers",
    ("data", "people"): "3 recorded people",
    ("data", "images"): "- validation: 152 images",
    ("data", "split"): "split: contiguous with a gap",
    ("data", "gap_windows"): "2 windows left out",
    ("stages", 0, "command"): "echoform train vq-vae --data walkers",
    ("stages", 0, "commit"): "`0123456789ab`",
    ("stages", 0, "versions"): "torch 9.8.7, diffusers 6.5.4",
    ("stages", 0, "machine"): "3 cores of a mainframe",
    ("stages", 0, "seconds"): "- 11 min",
    ("stages", 0, "images_seen"): "61,234 images seen",
    ("stages", 0, "parameters"): "1,234,567 parameters",
    ("sampling", "scheduler"): "UniPCMultistepScheduler",
    ("sampling", "num_inference_steps"): "9 steps",
    ("sampling", "guidance_scale"): "guidance 1.75",
    ("scores", "real_to_real"): "| 92.5 % (91.0 % to 94.0 %) |",
    ("scores", "gan_test"): "| 87.5 % (85.0 % to 90.0 %) | 92.5 % | 6 seeds |",
    ("scores", "frechet"): "| 1.23 (1.10 to 1.30) | 0.0456 | 6 |",
    ("scores", "own_score"): "| own_score | 12.3 |  |  |",
    ("scores", "gan_test", "interval_over"): "| 6 seeds |",
    ("scores", "gan_test", "low"): "(85.0 % to",
    ("scores", "gan_test", "floor"): "| 92.5 % | 6 seeds |",
    ("augmentation",): "## Did it help?",
    ("augmentation", "sentence"): "Generated images add 2.3 points at 10 real ones.",
    ("augmentation", "notes"): "Images for 5 were selected without gait limits.",
    ("augmentation", "over"): "95 % interval over 4 draws is in brackets.",
    ("augmentation", "rows"): "| 8 to 10 | 25.1 % | 76.2 % | 58.3 % | 78.5 % | +2.3 points (+0.4 to +4.2) |",
    ("augmentation", "rows", 1): "| all | 91.1 % |  |  |  |  |",
    ("augmentation", "rows", 0, "low"): "(+0.4 to +4.2)",
}


def without(facts: Any, path: tuple[str | int, ...]) -> Any:
    facts = copy.deepcopy(facts)
    holder: Any = facts
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    return facts


def metadata_of(card: str) -> ModelCardData:
    data = ModelCard(card).data
    assert isinstance(data, ModelCardData)
    return data


def snippet_of(card: str) -> ast.Module:
    found = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert found is not None
    return ast.parse(found[1])


def call_in(snippet: ast.Module, name: str) -> ast.Call:
    calls = [node for node in ast.walk(snippet) if isinstance(node, ast.Call)]
    return next(call for call in calls if ast.unparse(call.func) == name)


def test_the_hub_library_reads_the_card_and_writes_the_same_card_again():
    card = render_model_card(FACTS)
    assert str(ModelCard(card)) == card
    data = metadata_of(card)
    assert data.library_name == "diffusers"
    assert data.license == "cc-by-4.0"
    assert data.datasets == ["someone/invented-walkers"]
    assert data.model_name == "Walkers: a test #1"


def test_the_model_index_holds_the_measured_scores_of_the_model_and_no_other():
    results = metadata_of(render_model_card(FACTS)).eval_results
    assert results is not None
    assert [(result.metric_name, result.metric_value) for result in results] == [
        (METRICS["gan_test"].label, 0.875),
        (METRICS["frechet"].label, 1.234),
    ]
    assert {result.dataset_type for result in results} == {"someone/invented-walkers"}
    assert "model-index" not in render_model_card(without(FACTS, ("scores",)))


@pytest.mark.parametrize("path", SEEN, ids=lambda path: "-".join(map(str, path)))
def test_a_fact_is_printed_where_it_is_known_and_nothing_where_it_is_not(path: tuple[str | int, ...]):
    assert SEEN[path] in render_model_card(FACTS)
    card = render_model_card(without(FACTS, path))
    assert SEEN[path] not in card
    assert "None" not in card
    assert "\n\n\n" not in card


def test_a_card_of_two_facts_claims_no_number_data_set_or_licence():
    card = render_model_card(MINIMAL)
    assert metadata_of(card).to_dict().keys() == {"library_name", "pipeline_tag", "tags"}
    assert re.findall(r"\d+(?:\.\d+)? ?(?:%|Hz|dB|min|images)", card) == []
    assert "## Numbers" not in card
    assert "\n\n\n" not in card


def test_facts_survive_json_as_a_run_writes_them():
    assert render_model_card(json.loads(json.dumps(FACTS))) == render_model_card(FACTS)


def test_the_snippet_loads_the_named_repository_and_asks_for_a_person_of_the_model():
    snippet = snippet_of(render_model_card(FACTS))
    load = call_in(snippet, "DiffusionPipeline.from_pretrained")
    assert ast.literal_eval(load.args[0]) == "someone/walkers"
    assert [(keyword.arg, ast.literal_eval(keyword.value)) for keyword in load.keywords] == [
        ("trust_remote_code", True)
    ]
    arguments = {keyword.arg: keyword.value for keyword in call_in(snippet, "pipe").keywords}
    assert ast.literal_eval(arguments["users"]) == ["ID_1"]
    assert ast.literal_eval(arguments["conditions"]) == {"condition": "normal", "direction": "towards"}
    assert ast.literal_eval(arguments["num_inference_steps"]) == 9
    assert ast.literal_eval(arguments["guidance_scale"]) == 1.75


def test_labels_with_quotes_and_backticks_break_neither_snippet_nor_code_span():
    label = 'O"Neil ``the`` |walker|'
    card = render_model_card({"name": "walkers", "users": [label]})
    arguments = {keyword.arg: keyword.value for keyword in call_in(snippet_of(card), "pipe").keywords}
    assert ast.literal_eval(arguments["users"]) == [label]
    assert f"``` {label} ```" in card  # CommonMark: a span ends at a run of backticks of the length that opened it


def test_the_card_says_whose_gait_it_is():
    recorded, simulated = copy.deepcopy(FACTS), copy.deepcopy(FACTS)
    simulated["data"]["people"] = "simulated"
    assert "no real person's gait is in it" in render_model_card(simulated)
    for facts in (recorded, MINIMAL):
        card = render_model_card(facts)
        assert "biometric data" in card
        assert "no real person's gait is in it" not in card


@pytest.mark.parametrize("name", ["name", "users"])
def test_a_card_without_name_or_people_is_refused(name: str):
    with pytest.raises(ValueError, match=f"needs name and users, got {name}=None"):
        render_model_card(without(FACTS, (name,)))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"licence": "mit"}, "facts of a model card may hold .* got licence"),
        ({"image": {"size": 64}}, "image of a model card may hold .* got size"),
        ({"data": {"people": "invented"}}, "people of the data must be simulated or recorded, got 'invented'"),
        ({"stages": [{"minutes": 3.0}]}, "stages of a model card may hold .* got minutes"),
        ({"scores": {"kid": {"value": 3.0}}}, "kid of a model card may hold .* got value"),
        ({"augmentation": {"verdict": "wins", "rows": []}}, "verdict on augmentation must be .* got 'wins'"),
        ({"augmentation": {"verdict": "helps", "rows": [{"real": float("nan")}]}}, "must be finite, got real=nan"),
        ({"augmentation": {"gain": 3.0}}, "augmentation of a model card may hold .* got gain"),
    ],
)
def test_a_fact_that_the_card_does_not_know_is_refused(facts: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        render_model_card(MINIMAL | facts)


@pytest.mark.parametrize("score", [{"mean": float("nan")}, {"mean": 0.5, "low": float("-inf"), "high": 1.0}, {}])
def test_a_score_that_was_not_measured_is_refused(score: dict[str, float]):
    with pytest.raises(ValueError, match="score must be finite, got kid"):
        render_model_card(MINIMAL | {"scores": {"kid": score}})


def test_a_pipeline_of_pixels_is_not_tagged_as_diffusion_of_latents():
    latents = metadata_of(render_model_card(FACTS | {"first_stage": "VQ-VAE"})).tags or []
    pixels = metadata_of(render_model_card(FACTS | {"first_stage": None})).tags or []
    assert "latent-diffusion" in latents and "pixel-diffusion" not in latents
    assert "pixel-diffusion" in pixels and "latent-diffusion" not in pixels
