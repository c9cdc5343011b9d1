"""The front matter of the Space against the Hub's own reader, and the README that the Space holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import SpaceCard

from echoform_cards.space_card import COLORS, ORDER, render_space_readme, update_space_readme
from hub_server import Hub

README = Path(__file__).parents[2] / "space_app" / "README.md"
FACTS: Any = {
    "title": "A Space",
    "emoji": "📡",
    "colorFrom": "blue",
    "colorTo": "gray",
    "sdk_version": "6.31.0",
    "app_file": "app.py",
    "pinned": False,
    "license": "apache-2.0",
    "short_description": "Sixty characters at most",
    "models": ["someone/model"],
    "datasets": ["someone/data"],
    "tags": ["radar"],
}


def test_the_readme_of_our_space_keeps_every_rule_and_says_what_the_renderer_prints():
    committed = SpaceCard(README.read_text(encoding="utf-8"))
    facts: Any = committed.data.to_dict()
    printed = SpaceCard(render_space_readme(facts, committed.text.lstrip("\n")))
    assert printed.data.to_dict() == facts
    assert printed.text == committed.text
    assert list(printed._original_order) == [name for name in ORDER if name in facts]


def test_the_hub_library_reads_the_front_matter(hub: Hub):
    card = SpaceCard(render_space_readme(FACTS, "What it does.\n"))
    assert card.data.to_dict() == FACTS | {"sdk": "gradio"}
    assert card.text == "\nWhat it does.\n"
    card.validate()


def test_models_and_data_sets_are_named_and_nothing_else_changes():
    readme = README.read_text(encoding="utf-8")
    updated = SpaceCard(update_space_readme(readme, models=["someone/walkers"], datasets=["someone/steps"]))
    committed = SpaceCard(readme)
    named = {"models": ["someone/walkers"], "datasets": ["someone/steps"]}
    assert updated.data.to_dict() == committed.data.to_dict() | named
    assert updated.text == committed.text
    assert "models" not in SpaceCard(update_space_readme(str(updated), models=[])).data.to_dict()


@pytest.mark.parametrize(
    ("fact", "value", "message"),
    [
        ("title", None, "a Space's README needs .* got title=None"),
        ("emoji", "walker", "emoji of a Space must be one emoji, got 'walker'"),
        ("colorTo", "orange", f"colorTo of a Space must be one of {', '.join(COLORS)}, got 'orange'"),
        ("sdk", "docker", "sdk of a Space must be gradio, got 'docker'"),
        ("sdk_version", "latest", "sdk_version of a Space must be a version"),
        ("short_description", "x" * 61, "at most 60 characters"),
        ("models", ["a model"], "Hub ids like user/name, got 'a model'"),
        ("colour", "red", "facts of a Space's README may hold .* got colour"),
    ],
)
def test_what_the_hub_would_refuse_is_refused_here(fact: str, value: Any, message: str):
    with pytest.raises(ValueError, match=message):
        render_space_readme(FACTS | {fact: value}, "")
