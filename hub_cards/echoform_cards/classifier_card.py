"""The model card of a classifier of the users of spectrograms."""

from __future__ import annotations

from typing import TypedDict

from echoform_cards.facts import Data, Score, Spectrogram, Stage, complete
from echoform_cards.rendering import render
from echoform_cards.scores import Metric, pipeline_metadata, score_table

TASK = "image-classification"
TAGS = ["echoform", "radar", "micro-doppler", "gait"]

METRICS = {
    "accuracy": Metric("Accuracy", "share of images whose user has the largest probability", True, "accuracy"),
    "ece": Metric("Calibration error", "mean difference between probability and accuracy (ECE); 0 is ideal", True),
    "false_accept_rate": Metric(
        "False accepts", "share of images of people left out of a training that it takes for a user", True
    ),
    "false_reject_rate": Metric("False rejects", 'share of images of the users that it calls "nobody"', True),
}


class Nobody(TypedDict, total=False):
    """How the answer "nobody" was made."""

    threshold: float
    """Distance from the nearest user beyond which an image shows nobody."""
    asked_rate: float
    """False-accept rate that the threshold was set for."""
    left_out: list[list[str]]
    """Users whom each further training left out."""


class _Users(TypedDict):
    users: list[str]
    """Labels of the users, in the order of their class ids."""


class ClassifierFacts(_Users, total=False):
    """Facts of a classifier; those that are missing or None are not mentioned in the card."""

    repo: str | None
    """Hub id that the snippet loads; without it the snippet loads the folder of the card."""
    license: str | None
    """Licence identifier of the Hub, such as "cc-by-4.0"."""
    base_model: str | None
    """Hub id of the model that this one was made from."""
    name: str
    """Title of the model."""
    parameters: int | None
    image: Spectrogram
    data: Data
    augmentation: str | None
    temperature: float | None
    nobody: Nobody | None
    accuracy_by_user: dict[str, float]
    """On test images, 0..1."""
    accuracy_by_condition: dict[str, dict[str, float]]
    confusion: list[list[int]]
    """Number of test images by their user (row) and the user that the model names (column)."""
    onnx: bool | None
    """Whether the folder holds model.onnx."""
    stages: list[Stage]
    scores: dict[str, Score] | None


def render_classifier_card(facts: ClassifierFacts) -> str:
    """Write the README.md of an exported classifier: Markdown with a YAML block.

    Raises:
        ValueError: If `users` is missing or empty, a fact is unknown or has a value that is not allowed, or a score is
            not finite.
    """
    values = complete("a classifier's card", ClassifierFacts, facts)
    metadata = pipeline_metadata(values, METRICS, task=TASK, tags=TAGS, library="transformers")
    return render("classifier_card.md.j2", metadata, values | {"score_table": score_table(values["scores"], METRICS)})
