"""Names that try to become markup, YAML or HTML of a card are shown as the text that they are."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from echoform_cards.dataset_card import render_dataset_card
from echoform_cards.depth_card import render_depth_card
from echoform_cards.model_card import render_model_card

HOSTILE = [
    "--- \nlicense: x",
    "\n---\nlicense: x\n---\n",
    "<script>alert(1)</script>",
    "a\n\n<script>alert(1)</script>\n\nb",
    "`\n\n<img src=x onerror=alert(1)>",
    "``` \n# Owned",
    "[click](javascript:alert(1))",
    "![x](https://example.com/x.png)",
    "a | b | <b>c</b>",
    "\r\n# Owned\r\n",
    "\u2028# Owned",
    "*/ {{ 7 * 7 }} {% raw %}",
    "x' \" : {a: b} # c",
    "&lt;script&gt;",
    "\x1b[31mred",
]
STAGE = {"seconds": 1.0, "images_seen": 1, "parameters": 1}


def stage(name: str) -> dict[str, Any]:
    return {**STAGE, "name": name, "command": name, "commit": name, "machine": name, "versions": {name: name}}


def model_card(name: str) -> str:
    facts: Any = {
        "name": name,
        "users": [name, "ID_2"],
        "conditions": {name: [name, "b"]},
        "data": {"name": name, "split": name, "images": {name: 1}},
        "stages": [stage(name)],
        "scores": {name: {"mean": 0.5, "baselines": {name: 0.4}, "interval_over": name, "n": 3}},
        "axes": {name: 1.0},
        "image": {"height": 8, "width": 8, "channels": 1, "colormap": name},
        "license": name,
    }
    return render_model_card(facts)


def depth_card(name: str) -> str:
    facts: Any = {
        "name": name,
        "latent_dim": 8,
        "data": {"name": name, "split": name},
        "stages": [stage(name)],
        "invalid_values": {name: name},
        "license": name,
    }
    return render_depth_card(facts)


def dataset_card(name: str) -> str:
    facts: Any = {
        "name": name,
        "kind": "spectrogram",
        "images": {"train": 1},
        "configs": [{"config_name": "default"}],
        "dataset_info": {"features": []},
        "classes": {name: {"train": 1}},
        "conditions": {name: {name: 1}},
        "columns": [name],
        "formats": {"png": 1},
        "license": name,
    }
    return render_dataset_card(facts)


CARDS = {"model": model_card, "depth": depth_card, "dataset": dataset_card}


def headings(card: str) -> list[str]:
    """The headings of a card's text, as CommonMark reads them, without the name in them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text_of(card))
    return [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]


def text_of(card: str) -> str:
    return re.split(r"^---$", card, maxsplit=2, flags=re.MULTILINE)[2]


@pytest.mark.parametrize("kind", CARDS)
@pytest.mark.parametrize("name", HOSTILE, ids=[json.dumps(name)[:30] for name in HOSTILE])
def test_a_hostile_name_is_text_in_every_place_of_a_card(kind: str, name: str) -> None:
    card, plain = CARDS[kind](name), CARDS[kind]("plain")
    # The metadata are one YAML block with the same keys, and the licence is the name itself.
    metadata = yaml.safe_load(re.split(r"^---$", card, maxsplit=2, flags=re.MULTILINE)[1])
    assert metadata["license"] == name
    assert metadata.keys() == yaml.safe_load(plain.split("---")[1]).keys()
    # CommonMark finds the same headings, and no HTML, image or link that the plain card does not have.
    assert len(headings(card)) == len(headings(plain))
    html = MarkdownIt("commonmark").enable("table").render(text_of(card))
    expected = MarkdownIt("commonmark").enable("table").render(text_of(plain))
    for tag in ("<script", "<img", "<b>", "<a "):
        assert html.count(tag) == expected.count(tag), tag
