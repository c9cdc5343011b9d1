"""The card of a user that was added to a pipeline."""

from __future__ import annotations

from typing import TypedDict, cast

from echoform_cards.added_user_card import render_added_user_card
from echoform_train.data.facts import SpectrogramFacts
from echoform_train.engine.files import MODEL_CONFIG
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.resolution import sides_of
from echoform_train.engine.sources import is_hub_id
from echoform_train.publishing.cards.common import ExportedModel, Training, data_of, stage_of


class _FirstStageFacts(TypedDict, total=False):
    psnr_db: float | None
    """PSNR with which the first stage gives the images back; None where nothing is lost."""
    known_psnr_db: float | None
    """That of held-out images of the people whom it was trained on."""
    draws_pixels: bool
    """Whether there is no first stage: what is lost then lies below the floor of the pipeline's images."""


class _LearningFacts(_FirstStageFacts):
    rank: int
    """Rank of the updates of linear layers; 0: there are none."""
    loss_before: float
    """Denoising loss on the images with the mean of all known users."""
    loss: float
    """The same after the training."""


class AddedUserTraining(Training):
    """Content of facts.json of an added user."""

    added_user: _LearningFacts
    learned_pixels: list[str]
    """Hash of each image that the user was learned from."""


def added_user_card(model: ExportedModel) -> str:
    """README.md of a user that was added to a `VQLDMDopplerPipeline`."""
    training, config = cast(AddedUserTraining, model.training), read_json_object(model.folder / MODEL_CONFIG)
    data, learning = cast(SpectrogramFacts, training["data"]), training["added_user"]
    height, width = sides_of(data["resolution"])
    base = config["base_model"]
    return render_added_user_card(
        {
            "name": f"{config['user']}: one more user for {base}",
            "user": config["user"],
            "base_model": base,
            "base_is_on_the_hub": is_hub_id(base),
            "repo": model.repo,
            "license": model.card.get("license"),
            "image": {
                "height": height,
                "width": width,
                "channels": data["channels"],
                "colormap": data["colormap"],
                "reading": data.get("reading") or None,
            },
            "data": data_of(model),
            "rank": learning["rank"],
            "loss_before": learning["loss_before"],
            "loss": learning["loss"],
            "psnr_db": learning.get("psnr_db"),
            "known_psnr_db": learning.get("known_psnr_db"),
            "draws_pixels": learning.get("draws_pixels", False),
            "stages": [stage_of("One more user", training)],
            "scores": model.card.get("scores"),
        }
    )
