"""Facts of a run turned into the card of a lone first stage, a stock autoencoder of spectrograms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from echoform_cards.facts import complete
from echoform_cards.model_card import FIRST_STAGE_METRICS
from echoform_cards.rendering import render
from echoform_cards.scores import score_table

TAGS = ["echoform", "radar", "micro-doppler", "spectrogram"]
KINDS = {"VQModel": "vq-vae", "AutoencoderKL": "kl-vae"}

REQUIRED = ("name", "model_class")
OPTIONAL = ("repo", "license", "latent_shape", "stages", "scores")
GROUPS = {
    "image": ("height", "width", "channels", "colormap"),
    "data": ("name", "hub_id", "people", "images", "split", "gap_windows"),
}


def render_first_stage_card(facts: Mapping[str, Any]) -> str:
    """Markdown with a YAML block, as the README.md of a first stage on its own.

    Args:
        facts: JSON-able. `name` (title) and `model_class` (of diffusers, such as "VQModel") must be there; the others
            are `latent_shape`, a list [channels, height, width], and what `render_model_card` takes by these names.

    Raises:
        ValueError: If a fact that must be there is missing or empty, one is unknown, the class is no first stage, or a
            score is not finite.
    """
    facts = complete("a first stage's card", facts, required=REQUIRED, optional=OPTIONAL, groups=GROUPS)
    if facts["model_class"] not in KINDS:
        raise ValueError(f"model_class of a first stage must be {' or '.join(KINDS)}, got {facts['model_class']!r}")
    hub_id = facts["data"]["hub_id"]
    metadata = ModelCardData(
        library_name="diffusers",
        license=facts["license"],
        tags=[*TAGS, KINDS[facts["model_class"]]],
        datasets=[hub_id] if hub_id else None,
    )
    shown = {"score_table": score_table(facts["scores"], FIRST_STAGE_METRICS)}
    return render("first_stage_card.md.j2", metadata, facts | shown)
