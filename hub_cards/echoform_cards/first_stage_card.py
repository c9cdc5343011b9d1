"""The model card of a first stage on its own: a stock autoencoder of diffusers, trained on spectrograms."""

from __future__ import annotations

from typing import TypedDict

from huggingface_hub import ModelCardData

from echoform_cards.facts import Data, IndexedImage, Score, Stage, complete
from echoform_cards.model_card import FIRST_STAGE_METRICS
from echoform_cards.rendering import render
from echoform_cards.scores import score_table

TAGS = ["echoform", "radar", "micro-doppler", "spectrogram"]
TAG_OF_CLASS = {"VQModel": "vq-vae", "AutoencoderKL": "kl-vae"}


class _NameAndClass(TypedDict):
    name: str
    """Title of the model."""
    model_class: str
    """Class of diffusers, one of TAG_OF_CLASS."""


class FirstStageFacts(_NameAndClass, total=False):
    """Facts of a first stage; those that are missing or None are not mentioned in the card."""

    repo: str | None
    """Hub id that the snippet loads; without it the snippet loads the folder of the card."""
    license: str | None
    """Licence identifier of the Hub, such as "cc-by-4.0"."""
    base_model: str | None
    """Hub id of the model that this one was made from."""
    latent_shape: list[int] | None
    """[channels, height, width] of one image's latents."""
    stages: list[Stage]
    scores: dict[str, Score] | None
    """By name of FIRST_STAGE_METRICS; a score of another name is printed under that name."""
    image: IndexedImage
    data: Data


def render_first_stage_card(facts: FirstStageFacts) -> str:
    """Write the README.md of a first stage on its own: Markdown with a YAML block.

    Raises:
        ValueError: If `name` or `model_class` is missing or empty, a fact is unknown or has a value that is not
            allowed, or a score is not finite.
    """
    values = complete("a first stage's card", FirstStageFacts, facts)
    model_class, hub_id = values["model_class"], values["data"]["hub_id"]
    if model_class not in TAG_OF_CLASS:
        raise ValueError(f"model_class of a first stage must be {' or '.join(TAG_OF_CLASS)}, got {model_class!r}")
    metadata = ModelCardData(
        library_name="diffusers",
        license=values["license"],
        tags=[*TAGS, TAG_OF_CLASS[model_class]],
        datasets=[hub_id] if hub_id else None,
        base_model=values["base_model"],
    )
    table = score_table(values["scores"], FIRST_STAGE_METRICS)
    return render("first_stage_card.md.j2", metadata, values | {"score_table": table})
