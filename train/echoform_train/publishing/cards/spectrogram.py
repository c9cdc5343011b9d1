"""The card of a spectrogram pipeline."""

from __future__ import annotations

from typing import cast

from echoform_cards.facts import Stage
from echoform_cards.model_card import render_model_card
from echoform_train.data.facts import SpectrogramFacts
from echoform_train.engine.files import MODEL_INDEX
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.resolution import sides_of
from echoform_train.publishing.cards.common import ExportedModel, Training, base_model_of, data_of, sheet_of, stage_of
from echoform_train.publishing.cards.first_stage import FirstStageTraining, first_stage_scores

_FIRST_STAGES = {"vq-vae": "VQ-VAE", "kl-vae": "KL-VAE", "none": None}


class _Denoiser(Training):
    first_stage: FirstStageTraining


class DenoiserTraining(_Denoiser, total=False):
    """Content of facts.json of a denoiser."""

    teacher: DenoiserTraining
    """Of a distilled denoiser: the training that it was distilled from."""
    distilled: dict[str, float]
    """Of a distilled denoiser: {"steps": number of sampling steps, ...}."""


def spectrogram_card(model: ExportedModel) -> str:
    """README.md of a `VQLDMDopplerPipeline`."""
    training = cast(DenoiserTraining, model.training)
    data, first_stage = cast(SpectrogramFacts, training["data"]), training["first_stage"]
    height, width = sides_of(data["resolution"])
    # The first stage comes first among the stages, because the denoiser was trained on its latents.
    name = _FIRST_STAGES[first_stage["kind"]]
    return render_model_card(
        {
            "name": f"Micro-Doppler spectrograms of {len(data['users'])} people",
            "repo": model.repo,
            "license": model.card.get("license"),
            "base_model": base_model_of(model),
            "users": data["users"],
            "conditions": data["conditions"] or None,
            "image": {
                "height": height,
                "width": width,
                "channels": data["channels"],
                "colormap": data["colormap"],
                "reading": data.get("reading") or None,
                "colormap_residual": data["colormap_residual"] if data["colormap"] else None,
            },
            # Axes are stored in the config of the pipeline, not in the facts of its training.
            "axes": read_json_object(model.folder / MODEL_INDEX)["axes"],
            "data": data_of(model),
            "first_stage": name,
            "stages": [*([stage_of(name, first_stage)] if name else []), *_denoiser_stages(training)],
            "sampling": model.card.get("sampling"),
            "scores": first_stage_scores(first_stage) | model.card.get("scores", {}),
            "spectra": model.card.get("spectra"),
            "augmentation": model.card.get("augmentation"),
            "gallery": model.card.get("gallery", []),
            **sheet_of(model),
        }
    )


def _denoiser_stages(training: DenoiserTraining) -> list[Stage]:
    """The training of a denoiser; that of a distilled one comes after those of its teacher."""
    if "teacher" not in training:
        pixels = _FIRST_STAGES[training["first_stage"]["kind"]] is None
        return [stage_of("Diffusion of pixels" if pixels else "Latent diffusion", training)]
    steps = int(training.get("distilled", {})["steps"])
    return [*_denoiser_stages(training["teacher"]), stage_of(f"Distillation to {steps} steps", training)]
