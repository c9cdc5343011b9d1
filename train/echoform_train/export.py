"""From trained parts to the folder that travels: the pipeline, its facts and its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from diffusers import SchedulerMixin, VQModel
from torch import Tensor

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_cards.model_card import render_model_card
from echoform_train.data.colormap import lookup_table
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.first_stage import FACTS


def build_pipeline(
    vqvae: VQModel,
    unet: DopplerUNet2DModel,
    scheduler: SchedulerMixin,
    data: SpectrogramData,
    latent_mean: Tensor,
    latent_std: Tensor,
) -> VQLDMDopplerPipeline:
    """Put the parts together with the facts of the data; the latent statistics are float32 [D]."""
    colormap = None
    if data.colormap is not None:
        colormap = {"name": data.colormap, "rgb_hex": lookup_table(data.colormap).tobytes().hex()}
    return VQLDMDopplerPipeline(
        vqvae=vqvae,
        unet=unet,
        scheduler=scheduler,
        id2label={str(index): name for index, name in data.id2label.items()},
        condition_labels={
            name: {str(index): label for index, label in labels.items()}
            for name, labels in data.condition_labels.items()
        },
        latent_mean={str(channel): float(value) for channel, value in enumerate(latent_mean)},
        latent_std={str(channel): float(value) for channel, value in enumerate(latent_std)},
        colormap=colormap,
        axes=data.axes,
    )


def export_pipeline(pipeline: VQLDMDopplerPipeline, facts: dict[str, Any], folder: Path) -> None:
    """Write the pipeline, the facts of its training and its card to `folder`, which then loads anywhere."""
    pipeline.save_pretrained(folder)
    (folder / FACTS).write_text(json.dumps(facts, indent=1))
    write_card(folder)


def write_card(
    folder: Path,
    scores: dict[str, Any] | None = None,
    sampling: dict[str, Any] | None = None,
    people: Literal["simulated", "recorded"] | None = None,
) -> None:
    """Write README.md of an exported pipeline from its facts and, once it was judged, its scores.

    Args:
        folder: What `export_pipeline` wrote.
        scores: By metric, as `echoform score generated` measures them.
        sampling: `num_inference_steps` and `guidance_scale` that the scores were measured with.
        people: Whether the data were simulated or recorded; where it is not known, the card warns as for recorded ones.
    """
    facts = json.loads((folder / FACTS).read_text())
    data, first_stage = facts["data"], facts["first_stage"]
    index = json.loads((folder / "model_index.json").read_text())
    card = {
        "name": f"Micro-Doppler spectrograms of {len(data['users'])} people",
        "users": data["users"],
        "conditions": data["conditions"] or None,
        "image": {
            "height": data["resolution"],
            "width": data["resolution"],
            "channels": data["channels"],
            "colormap": data["colormap"],
        },
        "axes": index["axes"],
        "data": {"name": Path(data["source"]).name, "people": people, "images": data["images"], "split": data["split"]},
        "stages": [_stage("VQ-VAE", first_stage), _stage("Latent diffusion", facts)],
        "sampling": sampling,
        "scores": _first_stage_scores(first_stage) | (scores or {}),
    }
    (folder / "README.md").write_text(render_model_card(card))


def _stage(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    known = ("command", "commit", "versions", "machine", "seconds", "images_seen", "parameters")
    return {"name": name, **{key: facts[key] for key in known}}


def _first_stage_scores(facts: dict[str, Any]) -> dict[str, Any]:
    names = {"psnr": "psnr_db", "codebook_use": "codebook_use", "perplexity": "codebook_perplexity"}
    return {names[name]: {"mean": value} for name, value in facts["validation"].items() if name in names}
