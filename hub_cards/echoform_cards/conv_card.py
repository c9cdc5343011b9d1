"""Facts of a run turned into the card of its convolutional autoencoder's pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from echoform_cards.facts import complete
from echoform_cards.rendering import render
from echoform_cards.scores import Metric, eval_results, score_table

TASK = "image-to-image"
TAGS = ["echoform", "autoencoder", "vgg", "segnet"]

REQUIRED = ("name", "latent_shape")
OPTIONAL = (
    "repo",
    "license",
    "parameters",
    "backbone",
    "torchvision_weights",
    "upsampling",
    "output_activation",
    "data_range",
    "variational",
    "sample_sheet",
    "sample_sheet_after",
    "stages",
    "scores",
)
GROUPS = {
    "image": ("height", "width", "channels"),
    "data": ("name", "hub_id", "people", "images", "split", "gap_windows"),
}

METRICS = {
    "psnr_db": Metric("PSNR", "decibels of the range 0..1, over all pixels; higher is better", hub_type="psnr"),
    "ssim": Metric("SSIM", "structural similarity, at most 1; higher is better", hub_type="ssim"),
    "brightness_shift": Metric("Brightness", "mean of the output less that of the input, of 255; 0 is ideal"),
    "detail_kept": Metric("Detail", "gradient energy of the output over that of the input; 1 is ideal", share=True),
}


def render_conv_card(facts: Mapping[str, Any]) -> str:
    """Markdown with a YAML block, as the README.md of an exported convolutional autoencoder.

    Args:
        facts: JSON-able. `name` and `latent_shape` must be there, everything else may be missing or None and is then
            not mentioned:

            - `name`: str, title of the model.
            - `latent_shape`: list [channels, height, width] of one image's latents.
            - `backbone`: str, such as "vgg16"; `torchvision_weights`: bool, whether its encoder started from them.
            - `upsampling`, `output_activation`, `data_range`, `variational`: as of `ConvAutoencoder`.
            - `parameters`: int.
            - `sample_sheet`: str, path inside the repository of a picture of random images; `sample_sheet_after`,
              images seen by the training when it was made.
            - `image`: `height`, `width` in pixels, `channels`, 1 or 3.
            - `repo`, `license`, `data`, `stages` and `scores`: as of `render_model_card`; the names of scores are those
              of METRICS, or others.

    Returns:
        The card. Its metadata hold a `model-index` only where the facts hold scores and the data's name.

    Raises:
        ValueError: If a fact that must be there is missing or empty, one is unknown, or a score is not finite.
    """
    facts = complete("a convolutional autoencoder's card", facts, required=REQUIRED, optional=OPTIONAL, groups=GROUPS)
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
    return render("conv_card.md.j2", metadata, facts | {"score_table": score_table(facts["scores"], METRICS)})
