"""Facts of a run turned into the card of its depth model: the autoencoder's pipeline, or the encoder alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from echoform_cards.facts import complete
from echoform_cards.rendering import render
from echoform_cards.scores import Metric, eval_results, score_table

TASK = "image-feature-extraction"
TAGS = ["echoform", "depth", "16-bit", "autoencoder", "embedding"]
PARTS = ("autoencoder", "encoder")

REQUIRED = ("name", "latent_dim")
OPTIONAL = (
    "part",
    "repo",
    "license",
    "parameters",
    "depth_range_mm",
    "units_per_mm",
    "invalid_values",
    "sample_size",
    "sample_sheet",
    "sample_sheet_after",
    "stages",
    "scores",
)
GROUPS = {"data": ("name", "hub_id", "people", "images", "split", "gap_windows")}

METRICS = {
    "psnr_db": Metric("PSNR", "decibels, over valid pixels; higher is better", hub_type="psnr"),
    "rmse_mm": Metric("RMSE", "millimetres, over valid pixels; lower is better", hub_type="rmse"),
    "mae_mm": Metric("MAE", "millimetres, over valid pixels; lower is better", hub_type="mae"),
    "abs_rel": Metric("AbsRel", "mean of error over depth; lower is better", hub_type="abs_rel"),
    "delta_105": Metric("delta < 1.05", "share of valid pixels whose depth is right within 5 %", True, "delta_1.05"),
    "delta_125": Metric("delta < 1.25", "share of valid pixels whose depth is right within 25 %", True, "delta_1.25"),
    "edge_f1": Metric("Depth-edge F1", "edges found and right, one pixel of tolerance; 1 is ideal", hub_type="f1"),
    "validity_iou": Metric("Validity IoU", "where readings are, said and true; 1 is ideal", hub_type="iou"),
    "knn": Metric("k-NN", "share of held-out images whose class their nearest neighbours name", True, "accuracy"),
    "linear_probe": Metric(
        "Linear probe", "share of held-out images whose class a linear model of the embedding names", True, "accuracy"
    ),
}


def render_depth_card(facts: Mapping[str, Any]) -> str:
    """Markdown with a YAML block, as the README.md of an exported depth model.

    Args:
        facts: JSON-able. `name` and `latent_dim` must be there, everything else may be missing or None and is then not
            mentioned:

            - `name`: str, title of the model.
            - `latent_dim`: int, numbers in an embedding.
            - `part`: "autoencoder", a pipeline (the default), or "encoder", a lone model.
            - `repo`: str, the Hub id that the snippet loads; without it the snippet loads the folder of the card.
            - `license`: str, a licence identifier of the Hub.
            - `parameters`: int.
            - `depth_range_mm`: {"min", "max"}; `units_per_mm`: float; `invalid_values`: {units: what they mean}.
            - `sample_size`: int, pixels a side that the model sees.
            - `sample_sheet`: str, path inside the repository of a picture of reconstructions; `sample_sheet_after`,
              images seen by the training when it was made.
            - `data`, `stages` and `scores`: as of `render_model_card`; the names of scores are those of METRICS, or
              others. `baselines` of a score, such as {"PCA-768": 25.2}, stand in columns of their own.

    Returns:
        The card. Its metadata hold a `model-index` only where the facts hold scores and the data's name.

    Raises:
        ValueError: If a fact that must be there is missing or empty, one is unknown, `part` has another value, or a
            score is not finite.
    """
    facts = complete("a depth model's card", facts, required=REQUIRED, optional=OPTIONAL, groups=GROUPS)
    facts["part"] = facts["part"] or "autoencoder"
    if facts["part"] not in PARTS:
        raise ValueError(f"part of a depth model's card must be {' or '.join(PARTS)}, got {facts['part']!r}")
    data = facts["data"]
    results = eval_results(facts["scores"], METRICS, task=TASK, data_name=data["name"], data_id=data["hub_id"])
    metadata = ModelCardData(
        library_name="diffusers",
        pipeline_tag=TASK,
        license=facts["license"],
        tags=TAGS,
        datasets=[data["hub_id"]] if data["hub_id"] else None,
        model_name=facts["name"] if results else None,
        eval_results=results,
    )
    return render("depth_card.md.j2", metadata, facts | {"score_table": score_table(facts["scores"], METRICS)})
