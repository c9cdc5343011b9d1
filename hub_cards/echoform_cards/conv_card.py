"""The model card of a convolutional autoencoder's pipeline."""

from __future__ import annotations

from typing import TypedDict

from echoform_cards.facts import Data, Image, Score, Stage, complete
from echoform_cards.rendering import render
from echoform_cards.scores import Metric, pipeline_metadata, score_table

TASK = "image-to-image"
TAGS = ["echoform", "autoencoder", "vgg", "segnet"]

METRICS = {
    "psnr_db": Metric("PSNR", "decibels, for pixels in 0..1; higher is better", hub_type="psnr"),
    "ssim": Metric("SSIM", "structural similarity, at most 1; higher is better", hub_type="ssim"),
    "brightness_shift": Metric("Brightness", "mean of output minus mean of input, in steps of 1/255; 0 is ideal"),
    "detail_kept": Metric("Detail", "gradient energy of output divided by that of input; 100 % is ideal", share=True),
}


class _NameAndLatents(TypedDict):
    name: str
    """Title of the model."""
    latent_shape: list[int]
    """[channels, height, width] of one image's latents."""


class ConvFacts(_NameAndLatents, total=False):
    """Facts of a convolutional autoencoder; those that are missing or None are not mentioned in the card."""

    repo: str | None
    """Hub id that the snippet loads; without it the snippet loads the folder of the card."""
    license: str | None
    """Licence identifier of the Hub, such as "cc-by-4.0"."""
    base_model: str | None
    """Hub id of the model that this one was made from."""
    parameters: int | None
    """Number of parameters."""
    backbone: str | None
    """Network that the layers of the encoder come from, such as "vgg16"."""
    torchvision_weights: bool | None
    """Whether the training of the encoder started from torchvision's weights."""
    upsampling: str | None
    """Argument of `ConvAutoencoder`."""
    output_activation: str | None
    """Argument of `ConvAutoencoder`."""
    data_range: str | None
    """Argument of `ConvAutoencoder`."""
    variational: bool | None
    """Argument of `ConvAutoencoder`."""
    sample_sheet: str | None
    """Path inside the repository of a sheet of images decoded from random latents."""
    sample_sheet_after: int | None
    """Images seen by the training when the sheet was made."""
    picture: str | None
    """What the sheet shows, if not what the training drew."""
    stages: list[Stage]
    scores: dict[str, Score] | None
    """By name of METRICS; a score of another name is printed under that name."""
    image: Image
    data: Data


def render_conv_card(facts: ConvFacts) -> str:
    """Write the README.md of an exported convolutional autoencoder: Markdown with a YAML block.

    The metadata hold a `model-index` only if the facts hold scores and the name of the data.

    Raises:
        ValueError: If `name` or `latent_shape` is missing or empty, a fact is unknown or has a value that is not
            allowed, or a score is not finite.
    """
    values = complete("a convolutional autoencoder's card", ConvFacts, facts)
    metadata = pipeline_metadata(values, METRICS, task=TASK, tags=TAGS)
    return render("conv_card.md.j2", metadata, values | {"score_table": score_table(values["scores"], METRICS)})
