"""The card of a data set against the Hub's own reader and the facts that went in."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from huggingface_hub import DatasetCard, DatasetCardData

from echoform_cards.dataset_card import render_dataset_card

FACTS: Any = {
    "name": "Walkers of a test",
    "kind": "spectrogram",
    "images": {"train": 700, "validation": 100, "test": 199, "left_out": 41},
    "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}],
    "dataset_info": {"features": [{"name": "image", "dtype": "image"}], "splits": []},
    "repo": "someone/walkers",
    "license": "cc-by-4.0",
    "people": "recorded",
    "classes": {
        "ID|1": {"train": 300, "validation": 50, "test": 99, "left_out": 20},
        "ID_2": {"train": 400, "validation": 50, "test": 100, "left_out": 21},
    },
    "conditions": {"condition": {"bag": 500, "normal": 540}},
    "columns": ["height_m"],
    "recordings": 24,
    "recording_unknown": 3,
    "formats": {"png": 1040},
    "image": {"height": 71, "width": 72, "colormap": "jet", "colormap_residual": 0.37},
    "axes": {"window_s": 3.0, "hop_s": 1.25, "carrier_hz": 7.7e10, "antenna_height_m": 1.125},
    "split": {"how": "contiguous with a gap", "gap_windows": 2, "seed": 7},
}
SEEN = {
    "repo": 'load_dataset("someone/walkers")',
    "license": "license: cc-by-4.0",
    "people": "2 recorded people",
    "classes": "| ID\\|1 | 300 | 50 | 99 | 20 |",
    "conditions": "`condition`: `bag` 500, `normal` 540",
    "columns": "further columns: `height_m`",
    "recordings": "24 recordings",
    "recording_unknown": "unknown for 3 images",
    "formats": "(PNG)",
    "image": "71 x 72 pixels",
    "axes": "share 1.75 s",
    "split": "Contiguous with a gap",
}


def test_the_hub_library_reads_the_card_and_writes_the_same_card_again():
    card = render_dataset_card(FACTS)
    assert str(DatasetCard(card)) == card
    data = DatasetCard(card).data
    assert isinstance(data, DatasetCardData)
    assert data.pretty_name == "Walkers of a test"
    assert data.size_categories == "1K<n<10K"
    assert data.task_categories == ["image-classification", "unconditional-image-generation"]
    assert data.to_dict()["configs"] == FACTS["configs"]


@pytest.mark.parametrize("fact", SEEN)
def test_a_fact_is_printed_where_it_is_known_and_nothing_where_it_is_not(fact: str):
    assert SEEN[fact] in render_dataset_card(FACTS)
    facts = copy.deepcopy(FACTS)
    del facts[fact]
    card = render_dataset_card(facts)
    assert SEEN[fact] not in card
    assert "None" not in card
    assert "\n\n\n" not in card


def test_gait_is_always_called_biometric_and_a_missing_licence_is_said():
    simulated = copy.deepcopy(FACTS) | {"people": "simulated"}
    unlicensed = copy.deepcopy(FACTS) | {"license": None}
    for facts in (FACTS, simulated, unlicensed):
        assert "biometric data" in render_dataset_card(facts)
    assert "no real person's gait is in here" in render_dataset_card(simulated)
    assert "No licence is named here" in render_dataset_card(unlicensed)
    assert "No licence" not in render_dataset_card(FACTS)


def test_depth_images_are_told_of_with_their_units_and_without_gait():
    facts: Any = FACTS | {
        "kind": "depth",
        "image": {"depth_min_units": 300, "depth_max_units": 5000, "units_per_mm": 5.0},
    }
    facts = {name: value for name, value in facts.items() if name not in ("people", "axes", "conditions")}
    card = render_dataset_card(facts)
    assert "valid depth: 300 to 5000 units" in card and "5 units per millimetre" in card
    assert "gait" not in card.replace("\n", " ").lower()
    assert re.search(r'row\["image"\]\.mode', card)
    assert "\n\n\n" not in card


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"images": {}}, "a data set's card needs name and kind and images .* got images={}"),
        ({"kind": "sound"}, "kind of a data set must be spectrogram or depth, got 'sound'"),
        ({"people": "invented"}, "people of the data must be simulated or recorded"),
        ({"split": {"kind": "random"}}, "split of a data set's card may hold how, gap_windows, seed, got kind"),
    ],
)
def test_what_is_missing_or_unknown_is_refused(facts: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        render_dataset_card(FACTS | facts)
