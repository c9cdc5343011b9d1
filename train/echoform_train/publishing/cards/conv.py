"""The card of a convolutional autoencoder's pipeline."""

from __future__ import annotations

from typing import cast

from echoform_cards.conv_card import render_conv_card
from echoform_train.engine.files import AUTOENCODER, MODEL_CONFIG
from echoform_train.engine.json_files import read_json_object
from echoform_train.publishing.cards.common import ExportedModel, Training, base_model_of, data_of, sheet_of, stage_of


class ConvTraining(Training):
    """Content of facts.json of a convolutional autoencoder."""

    latent_shape: list[int]
    backbone: str
    """Network that the layers of the encoder come from, such as "vgg16"."""
    torchvision_weights: bool
    """Whether the training started from the weights of the backbone."""


def conv_card(model: ExportedModel) -> str:
    """README.md of a `ConvAutoencoderPipeline`."""
    training = cast(ConvTraining, model.training)
    config = read_json_object(model.folder / AUTOENCODER / MODEL_CONFIG)
    size, kind = config["sample_size"], "Variational autoencoder" if config["variational"] else "Autoencoder"
    return render_conv_card(
        {
            "name": f"{kind} for images of {size} x {size} pixels",
            "latent_shape": training["latent_shape"],
            "repo": model.repo,
            "license": model.card.get("license"),
            "base_model": base_model_of(model),
            "parameters": training["parameters"],
            "backbone": training["backbone"],
            "torchvision_weights": training["torchvision_weights"],
            "upsampling": config["upsampling"],
            "output_activation": config["output_activation"],
            "data_range": config["data_range"],
            "variational": config["variational"],
            "image": {"height": size, "width": size, "channels": config["in_channels"]},
            "data": data_of(model),
            "stages": [stage_of("Convolutional autoencoder", training)],
            "scores": model.card.get("scores"),
            **sheet_of(model),
        }
    )
