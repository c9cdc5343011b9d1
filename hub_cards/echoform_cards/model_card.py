"""Facts of a run turned into the model card of its spectrogram pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from echoform_cards.augmentation import MEMBERS, augmentation_rows
from echoform_cards.facts import complete
from echoform_cards.rendering import render
from echoform_cards.scores import Metric, eval_results, score_table

TASK = "unconditional-image-generation"
TAGS = ["echoform", "radar", "micro-doppler", "spectrogram", "gait", "latent-diffusion", "data-augmentation"]

REQUIRED = ("name", "users")
OPTIONAL = ("repo", "license", "first_stage", "conditions", "sample_sheet", "sample_sheet_after", "scores", "stages")
GROUPS = {
    "image": ("height", "width", "channels", "colormap", "colormap_residual"),
    "axes": (),  # these travel with the data, whose owner may have written more than we know
    "data": ("name", "hub_id", "people", "images", "split", "gap_windows"),
    "sampling": ("scheduler", "num_inference_steps", "guidance_scale"),
    "augmentation": MEMBERS,
}
AXES = ("window_s", "hop_s", "doppler_min_hz", "doppler_max_hz", "db_min", "db_max", "carrier_hz")

FIRST_STAGE_METRICS = {
    "psnr_db": Metric("PSNR of the first stage", "decibels, on the validation part; higher is better"),
    "codebook_use": Metric("Codebook use", "share of the codes that held-out images use", share=True),
    "codebook_perplexity": Metric("Codebook perplexity", "codes in even use that would carry the same information"),
}
METRICS = {
    "real_to_real": Metric(
        "Real to real accuracy", "a judge trained on real images names the person in held-out real images", share=True
    ),
    "gan_test": Metric(
        "GAN-test accuracy",
        "a judge trained on real images names the asked person in generated images",
        share=True,
        hub_type="accuracy",
    ),
    "gan_test_ratio": Metric("GAN-test ratio", "GAN-test over real to real; 1 is ideal", hub_type="gan_test_ratio"),
    "gan_train": Metric(
        "GAN-train accuracy",
        "a judge trained on generated images alone names the person in held-out real images",
        share=True,
        hub_type="accuracy",
    ),
    "gan_train_ratio": Metric("GAN-train ratio", "GAN-train over real to real; 1 is ideal", hub_type="gan_train_ratio"),
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
        "Diversity, features", "mean distance between images of one person, the judge's features; the floor is ideal"
    ),
    "diversity_pixels": Metric(
        "Diversity, pixels", "mean distance between images of one person, pixels; the floor is ideal"
    ),
    **FIRST_STAGE_METRICS,
}


def render_model_card(facts: Mapping[str, Any]) -> str:
    """Markdown with a YAML block, as the README.md of an exported spectrogram pipeline.

    Args:
        facts: JSON-able. `name` and `users` must be there, everything else may be missing or None and is then not
            mentioned:

            - `name`: str, title of the model.
            - `users`: list of str, the labels of the people in the order of their class ids.
            - `conditions`: {name: list of its values}, in the order of their ids.
            - `repo`: str, the Hub id that the snippet loads; without it the snippet loads the folder of the card.
            - `license`: str, a licence identifier of the Hub, such as "cc-by-4.0".
            - `first_stage`: str, what makes latents of spectrograms, such as "VQ-VAE".
            - `sample_sheet`: str, path inside the repository of a picture with one row of images a person;
              `sample_sheet_after`, images seen by the training when it was drawn.
            - `image`: `height`, `width` in pixels; `channels` that the model sees, 1 or 3; `colormap`, the name of the
              colour table that the pipeline paints with; `colormap_residual`, mean distance of the training images to
              that table, RGB units of 0..255.
            - `axes`: `window_s`, `hop_s`, `doppler_min_hz`, `doppler_max_hz`, `db_min`, `db_max`, `carrier_hz`, and
              any other number that came with the data.
            - `data`: `name`, str; `hub_id`, str; `people`, "simulated" or "recorded"; `images`, {part of the split:
              count}; `split`, str such as "by recording"; `gap_windows`, int, windows left out at each cut.
            - `stages`: list of trainings, each `name`, `command`, `commit`, `versions` {package: version}, `machine`,
              `seconds`, `images_seen` and `parameters` (a count).
            - `sampling`: `scheduler`, `num_inference_steps`, `guidance_scale` that the scores were measured with.
            - `scores`: {name of METRICS, or another: `mean`; `low` and `high`, ends of the 95 % interval; `n` of what
              it was taken over; `interval_over`, what that is, such as "seeds"; `floor`, the same number of real
              against real images; `baselines`, {another way to do it: the same number of it}}. Shares are in 0..1. An
              interval is printed where both of its ends are known.
            - `augmentation`: what `echoform_cards.augmentation.augmentation_rows` takes: whether training a classifier
              on generated images too helped.

    Returns:
        The card. Its metadata hold a `model-index` only where the facts hold scores and the data's name.

    Raises:
        ValueError: If `name` or `users` is missing or empty, a fact is unknown, `people` has another value, or a score
            is not finite.
    """
    facts = complete("a model card", facts, required=REQUIRED, optional=OPTIONAL, groups=GROUPS)
    facts["conditions"] = facts["conditions"] or {}
    axes = facts["axes"]
    facts["axes"] = dict.fromkeys(AXES) | axes
    data = facts["data"]
    results = eval_results(facts["scores"], METRICS, task=TASK, data_name=data["name"], data_id=data["hub_id"])
    metadata = ModelCardData(
        library_name="diffusers",
        pipeline_tag=TASK,
        license=facts["license"],
        tags=TAGS + ([facts["first_stage"].lower()] if facts["first_stage"] else []),
        datasets=[data["hub_id"]] if data["hub_id"] else None,
        model_name=facts["name"] if results else None,
        eval_results=results,
    )
    shown = {
        "augmentation_rows": augmentation_rows(facts["augmentation"]) if facts["augmentation"]["verdict"] else [],
        "score_table": score_table(facts["scores"], METRICS),
        "other_axes": {name: value for name, value in axes.items() if name not in AXES},
    }
    return render("model_card.md.j2", metadata, facts | shown)
