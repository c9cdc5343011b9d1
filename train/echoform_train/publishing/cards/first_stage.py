"""The card of a first stage on its own."""

from __future__ import annotations

from typing import cast

from echoform_cards.facts import Score
from echoform_cards.first_stage_card import render_first_stage_card
from echoform_train.data.facts import SpectrogramFacts
from echoform_train.engine.resolution import sides_of
from echoform_train.publishing.cards.common import ExportedModel, Training, base_model_of, data_of, stage_of

_SCORES = {"psnr": "psnr_db", "codebook_use": "codebook_use", "perplexity": "codebook_perplexity"}
"""Name on the card of each score that the training measures on its validation images."""


class FirstStageTraining(Training):
    """Content of facts.json of a first stage."""

    kind: str
    """vq-vae or kl-vae."""
    latent_shape: list[int]
    validation: dict[str, float]
    """Scores on the validation images."""


def first_stage_card(model: ExportedModel) -> str:
    """README.md of a `VQModel` or `AutoencoderKL` that was trained on spectrograms."""
    training = cast(FirstStageTraining, model.training)
    data = cast(SpectrogramFacts, training["data"])
    height, width = sides_of(data["resolution"])
    return render_first_stage_card(
        {
            "name": f"First stage for micro-Doppler spectrograms of {data['resolution']} pixels",
            "model_class": model.class_name,
            "repo": model.repo,
            "license": model.card.get("license"),
            "base_model": base_model_of(model),
            "latent_shape": training["latent_shape"],
            "image": {
                "height": height,
                "width": width,
                "channels": data["channels"],
                "colormap": data["colormap"],
                "reading": data.get("reading") or None,
            },
            "data": data_of(model),
            "stages": [stage_of("First stage", training)],
            "scores": first_stage_scores(training),
        }
    )


def first_stage_scores(training: FirstStageTraining) -> dict[str, Score]:
    """Scores of a first stage, by their names on a card."""
    return {_SCORES[name]: {"mean": value} for name, value in training["validation"].items() if name in _SCORES}
