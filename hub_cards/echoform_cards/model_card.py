"""The model card of a spectrogram pipeline."""

from __future__ import annotations

from typing import TypedDict

from echoform_cards.augmentation import Augmentation, augmentation_rows
from echoform_cards.facts import Axes, Data, GalleryImage, Score, Spectrogram, Stage, complete, with_all_axes
from echoform_cards.rendering import render
from echoform_cards.scores import Metric, pipeline_metadata, score_table

TASK = "unconditional-image-generation"
TAGS = ["echoform", "radar", "micro-doppler", "spectrogram", "gait", "data-augmentation"]

FIRST_STAGE_METRICS = {
    "psnr_db": Metric("PSNR of the first stage", "decibels, on the validation part; higher is better"),
    "codebook_use": Metric("Codebook use", "share of the codes that held-out images use", share=True),
    "codebook_perplexity": Metric("Codebook perplexity", "number of equally used codes with the same entropy"),
}
METRICS = {
    "real_to_real": Metric(
        "Real to real accuracy",
        "share of held-out real images whose user a judge trained on real images names",
        share=True,
    ),
    "gan_test": Metric(
        "GAN-test accuracy",
        "share of generated images whose requested user a judge trained on real images names",
        share=True,
        hub_type="accuracy",
    ),
    "gan_test_ratio": Metric(
        "GAN-test ratio", "GAN-test divided by real to real; 1 is ideal", hub_type="gan_test_ratio"
    ),
    "gan_train": Metric(
        "GAN-train accuracy",
        "share of held-out real images whose user a judge trained on generated images alone names",
        share=True,
        hub_type="accuracy",
    ),
    "gan_train_ratio": Metric(
        "GAN-train ratio", "GAN-train divided by real to real; 1 is ideal", hub_type="gan_train_ratio"
    ),
    "frechet": Metric(
        "Fréchet distance", "in the judge's features; lower is better", hub_type="frechet_distance_judge_features"
    ),
    "kid": Metric("Kernel distance", "in the judge's features; lower is better", hub_type="kid_judge_features"),
    "precision": Metric("Precision", "share of generated images that lie among real ones", True, "precision"),
    "recall": Metric("Recall", "share of real images that lie among generated ones", True, "recall"),
    "density": Metric("Density", "how densely generated images lie among real ones; 1 is ideal", hub_type="density"),
    "coverage": Metric("Coverage", "share of real images with a generated one near by", True, "coverage"),
    "memorised": Metric(
        "Memorised share",
        "share of images whose nearest training image is nearer than a third of the second nearest; lower is better",
        share=True,
        hub_type="memorised_share",
    ),
    "diversity_features": Metric(
        "Diversity, features", "mean distance between images of one user, in the judge's features; the floor is ideal"
    ),
    "diversity_pixels": Metric(
        "Diversity, pixels", "mean distance between images of one user, in pixels; the floor is ideal"
    ),
    "two_sample_auc": Metric(
        "Two-sample AUC",
        "of a network that tells generated from held-out real images by their texture; 0.5 means it cannot",
        hub_type="two_sample_auc",
    ),
    "fine_energy_ratio": Metric(
        "Fine detail", "energy above half of the highest spatial frequency, divided by that of real images; 1 is ideal"
    ),
    "log_spectral_distance": Metric("Log-spectral distance", "to held-out real images, decibels; the floor is ideal"),
    **FIRST_STAGE_METRICS,
}


WITHOUT_JUDGE = ("memorised", "two_sample_auc", *FIRST_STAGE_METRICS)
"""Scores that no judge has a part in."""


class Sampling(TypedDict, total=False):
    """How the images were generated that the scores were measured on."""

    scheduler: str | None
    num_inference_steps: int | None
    guidance_scale: float | None


class _NameAndUsers(TypedDict):
    name: str
    """Title of the model."""
    users: list[str]
    """Labels of the users in the order of their class ids."""


class ModelFacts(_NameAndUsers, total=False):
    """Facts of a spectrogram pipeline; those that are missing or None are not mentioned in the card."""

    repo: str | None
    """Hub id that the snippet loads; without it the snippet loads the folder of the card."""
    license: str | None
    """Licence identifier of the Hub, such as "cc-by-4.0"."""
    base_model: str | None
    """Hub id of the model that this one was made from."""
    first_stage: str | None
    """Name of the autoencoder that compresses spectrograms to latents, such as "VQ-VAE"."""
    conditions: dict[str, list[str]] | None
    """Values of each condition in the order of their ids."""
    sample_sheet: str | None
    """Path inside the repository of a sheet of generated images, one row per user."""
    sample_sheet_after: int | None
    """Images seen by the training when the sheet was made."""
    picture: str | None
    """What the sheet shows, if not what the training drew."""
    gallery: list[GalleryImage]
    """Single images, some of each user."""
    scores: dict[str, Score] | None
    """By name of METRICS; a score of another name is printed under that name."""
    spectra: str | None
    """Path inside the repository of a picture of the mean spectra of held-out real and of generated images."""
    stages: list[Stage]
    image: Spectrogram
    axes: Axes | None
    data: Data
    sampling: Sampling | None
    augmentation: Augmentation | None


def prompt_of(image: GalleryImage) -> str:
    """What was asked for: the user, the seed and the settings, which make the same image again."""
    steps, guidance = image["num_inference_steps"], image["guidance_scale"]
    return f"user {image['user']}, seed {image['seed']}, {steps} steps, guidance {guidance:g}"


def render_model_card(facts: ModelFacts) -> str:
    """Write the README.md of an exported spectrogram pipeline: Markdown with a YAML block.

    The metadata hold a `model-index` only if the facts hold scores and the name of the data.

    Raises:
        ValueError: If `name` or `users` is missing or empty, a fact is unknown or has a value that is not allowed, or
            a score is not finite.
    """
    values = complete("a model card", ModelFacts, facts)
    augmentation, first_stage = values["augmentation"], values["first_stage"]
    axes, other_axes = with_all_axes(values["axes"] or {})
    judge = (values["scores"] or {}).get("real_to_real")
    # A judge whose interval covers guessing has learned nothing, so that the Hub gets no score that it measured.
    lowest = None if judge is None else judge["mean"] if judge["low"] is None else judge["low"]
    judge_guesses = lowest is not None and lowest <= 1 / len(values["users"])
    shown = {
        "judge_guesses": judge_guesses,
        "prompt_of": prompt_of,
        "conditions": values["conditions"] or {},
        "axes": axes,
        "other_axes": other_axes,
        "augmentation_rows": augmentation_rows(augmentation) if augmentation["verdict"] else [],
        "score_table": score_table(values["scores"], METRICS),
    }
    tags = TAGS + (["latent-diffusion", first_stage.lower()] if first_stage else ["pixel-diffusion"])
    widget = [{"text": prompt_of(image), "output": {"url": image["file"]}} for image in values["gallery"]]
    without_judge = {name: score for name, score in (values["scores"] or {}).items() if name in WITHOUT_JUDGE}
    published = values | {"scores": without_judge} if judge_guesses else values
    metadata = pipeline_metadata(published, METRICS, task=TASK, tags=tags, widget=widget or None)
    return render("model_card.md.j2", metadata, values | shown)
