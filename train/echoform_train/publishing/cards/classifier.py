"""The card of a classifier of users."""

from __future__ import annotations

from typing import TypedDict, cast

from echoform_cards.classifier_card import render_classifier_card
from echoform_train.data.facts import SpectrogramFacts
from echoform_train.engine.files import ONNX
from echoform_train.engine.resolution import sides_of
from echoform_train.publishing.cards.common import ExportedModel, Training, base_model_of, data_of, stage_of


class _NobodyFacts(TypedDict):
    threshold: float
    """Distance from the nearest user beyond which an image shows nobody."""
    asked_rate: float
    """False-accept rate that the threshold was set for."""
    false_accept_rate: float | None
    false_reject_rate: float
    left_out: list[list[str]]


class _ClassifierFacts(TypedDict):
    augmentation: str
    temperature: float
    nobody: _NobodyFacts | None
    accuracy_by_user: dict[str, float]
    accuracy_by_condition: dict[str, dict[str, float]]
    confusion: list[list[int]]


class ClassifierTraining(Training):
    """Content of facts.json of a classifier."""

    classifier: _ClassifierFacts


def classifier_card(model: ExportedModel) -> str:
    """README.md of a `SpectrogramClassifier`."""
    training = cast(ClassifierTraining, model.training)
    data, facts = cast(SpectrogramFacts, training["data"]), training["classifier"]
    height, width = sides_of(data["resolution"])
    nobody = facts["nobody"]
    return render_classifier_card(
        {
            "name": f"Who walks? A classifier of {len(data['users'])} people",
            "users": data["users"],
            "repo": model.repo,
            "license": model.card.get("license"),
            "base_model": base_model_of(model),
            "parameters": training["parameters"],
            "image": {
                "height": height,
                "width": width,
                "channels": data["channels"],
                "colormap": data["colormap"],
                "reading": data["reading"] or None,
                "colormap_residual": data["colormap_residual"],
            },
            "data": data_of(model),
            "augmentation": facts["augmentation"],
            "temperature": facts["temperature"],
            "nobody": None
            if nobody is None
            else {name: nobody[name] for name in ("threshold", "asked_rate", "left_out")},  # pyright: ignore[reportArgumentType]
            "accuracy_by_user": facts["accuracy_by_user"],
            "accuracy_by_condition": facts["accuracy_by_condition"],
            "confusion": facts["confusion"],
            "onnx": (model.folder / ONNX).is_file(),
            "stages": [stage_of("Classifier", training)],
            "scores": model.card.get("scores"),
        }
    )
