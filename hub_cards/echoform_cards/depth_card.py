"""The model card of a depth model: the pipeline of an autoencoder, or its encoder alone."""

from __future__ import annotations

from typing import Literal, TypedDict, get_args

from echoform_cards.facts import Data, Score, Stage, complete
from echoform_cards.rendering import render
from echoform_cards.scores import Metric, pipeline_metadata, score_table

TASK = "image-feature-extraction"
TAGS = ["echoform", "depth", "16-bit", "autoencoder", "embedding"]
Part = Literal["autoencoder", "encoder"]

METRICS = {
    "psnr_db": Metric("PSNR", "decibels, over valid pixels; higher is better", hub_type="psnr"),
    "rmse_mm": Metric("RMSE", "millimetres, over valid pixels; lower is better", hub_type="rmse"),
    "mae_mm": Metric("MAE", "millimetres, over valid pixels; lower is better", hub_type="mae"),
    "abs_rel": Metric("AbsRel", "mean of absolute error divided by depth; lower is better", hub_type="abs_rel"),
    "delta_105": Metric("delta < 1.05", "share of valid pixels whose depth is right within 5 %", True, "delta_1.05"),
    "delta_125": Metric("delta < 1.25", "share of valid pixels whose depth is right within 25 %", True, "delta_1.25"),
    "edge_f1": Metric("Depth-edge F1", "depth edges that agree within one pixel; 1 is ideal", hub_type="f1"),
    "validity_iou": Metric("Validity IoU", "overlap of predicted and real readings; 1 is ideal", hub_type="iou"),
    "knn": Metric("k-NN", "share of held-out images classified correctly by nearest neighbours", True, "accuracy"),
    "linear_probe": Metric(
        "Linear probe",
        "share of held-out images that a linear model of the embedding classifies correctly",
        True,
        "accuracy",
    ),
}


class _NameAndSize(TypedDict):
    name: str
    """Title of the model."""
    latent_dim: int
    """Numbers per embedding."""


class DepthFacts(_NameAndSize, total=False):
    """Facts of a depth model; those that are missing or None are not mentioned in the card."""

    part: Part | None
    """What the repository holds: the pipeline of an autoencoder (the default), or an encoder alone."""
    repo: str | None
    """Hub id that the snippet loads; without it the snippet loads the folder of the card."""
    license: str | None
    """Licence identifier of the Hub, such as "cc-by-4.0"."""
    base_model: str | None
    """Hub id of the model that this one was made from."""
    parameters: int | None
    """Number of parameters."""
    depth_range_mm: dict[str, float] | None
    """{"min": ..., "max": ...}."""
    units_per_mm: float | None
    """The sensor's units per millimetre."""
    invalid_values: dict[str, str] | None
    """Sensor values that mean no reading, with their meaning."""
    float_unit: str | None
    """Unit of floating-point files, such as "m"."""
    encoding: str | None
    """How whole numbers stand for units: "linear", "rotated" or "disparity"."""
    resize_rule: str | None
    """Which resized pixels have a reading: "half", "any" or "nearest"."""
    sample_size: int | None
    """Height and width of the images that the model sees, pixels."""
    sample_sheet: str | None
    """Path inside the repository of a sheet of reconstructions."""
    sample_sheet_after: int | None
    """Images seen by the training when the sheet was made."""
    picture: str | None
    """What the sheet shows, if not what the training drew."""
    stages: list[Stage]
    scores: dict[str, Score] | None
    """By name of METRICS; a score of another name is printed under that name."""
    data: Data


def render_depth_card(facts: DepthFacts) -> str:
    """Write the README.md of an exported depth model: Markdown with a YAML block.

    The metadata hold a `model-index` only if the facts hold scores and the name of the data.

    Raises:
        ValueError: If `name` or `latent_dim` is missing or empty, a fact is unknown or has a value that is not allowed,
            or a score is not finite.
    """
    values = complete("a depth model's card", DepthFacts, facts)
    values["part"] = values["part"] or "autoencoder"
    if values["part"] not in get_args(Part):
        parts = " or ".join(get_args(Part))
        raise ValueError(f"part of a depth model's card must be {parts}, got {values['part']!r}")
    metadata = pipeline_metadata(values, METRICS, task=TASK, tags=TAGS)
    return render("depth_card.md.j2", metadata, values | {"score_table": score_table(values["scores"], METRICS)})
