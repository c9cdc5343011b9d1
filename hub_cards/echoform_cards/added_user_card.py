"""The model card of a user that was added to a pipeline."""

from __future__ import annotations

from typing import TypedDict

from huggingface_hub import ModelCardData

from echoform_cards.facts import Data, IndexedImage, Score, Stage, complete
from echoform_cards.model_card import METRICS
from echoform_cards.rendering import render
from echoform_cards.scores import score_table

TAGS = ["echoform", "radar", "micro-doppler", "spectrogram", "lora"]


class _Names(TypedDict):
    name: str
    """Title."""
    user: str
    """Name of the user."""
    base_model: str
    """Hub id, or name of the folder, of the pipeline that the user was learned for."""


class AddedUserFacts(_Names, total=False):
    """Facts of an added user; those that are missing or None are not mentioned in the card."""

    base_is_on_the_hub: bool
    repo: str | None
    """Hub id that the snippet loads; without it the snippet loads the folder of the card."""
    license: str | None
    """Licence identifier of the Hub, such as "cc-by-4.0"."""
    rank: int
    """Rank of the updates of linear layers; 0: there are none."""
    loss_before: float
    """Denoising loss on the images with the mean of all known users."""
    loss: float
    """The same after the training."""
    psnr_db: float | None
    """PSNR with which the first stage of the pipeline gives the spectrograms back; None where nothing is lost."""
    known_psnr_db: float | None
    """That of held-out spectrograms of the people whom it was trained on."""
    draws_pixels: bool
    """Whether the pipeline has no first stage: what is lost then lies below the floor of its images."""
    stages: list[Stage]
    scores: dict[str, Score] | None
    image: IndexedImage
    data: Data


def render_added_user_card(facts: AddedUserFacts) -> str:
    """Write the README.md of an added user: Markdown with a YAML block.

    Raises:
        ValueError: If a name is missing or empty, a fact is unknown or has a value that is not allowed, or a score is
            not finite.
    """
    values = complete("an added user's card", AddedUserFacts, facts)
    hub_id = values["data"]["hub_id"]
    metadata = ModelCardData(
        library_name="diffusers",
        license=values["license"],
        tags=TAGS,
        base_model=values["base_model"].partition("@")[0] if values["base_is_on_the_hub"] else None,
        datasets=[hub_id] if hub_id else None,
    )
    return render("added_user_card.md.j2", metadata, values | {"score_table": score_table(values["scores"], METRICS)})
