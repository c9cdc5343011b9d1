"""From a trained first stage and denoiser to the exported folder: pipeline, facts and model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

from diffusers import SchedulerMixin
from torch import Tensor

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.colormap import lookup_table
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.files import FACTS
from echoform_train.latent_diffusion.first_stage import FirstStageModel
from echoform_train.publishing.card import write_card


class PipelineFacts(TypedDict):
    """Facts of the training data that a pipeline keeps in its config, as arguments of `VQLDMDopplerPipeline`."""

    id2label: dict[str, str]
    condition_labels: dict[str, dict[str, str]]
    latent_mean: dict[str, float]
    latent_std: dict[str, float]
    colormap: dict[str, str] | None
    axes: dict[str, float] | None


def pipeline_facts(data: SpectrogramData, latent_mean: Tensor, latent_std: Tensor) -> PipelineFacts:
    """Collect the facts of the data for the pipeline.

    Args:
        data: The training data.
        latent_mean: Mean of each latent channel over the training part, float32 [D].
        latent_std: Standard deviation of the same, float32 [D].
    """
    colormap = None
    if data.colormap is not None:
        colormap = {"name": data.colormap, "rgb_hex": lookup_table(data.colormap).tobytes().hex()}
    return PipelineFacts(
        id2label=_with_text_keys(data.id2label),
        condition_labels={name: _with_text_keys(labels) for name, labels in data.condition_labels.items()},
        latent_mean={str(channel): float(value) for channel, value in enumerate(latent_mean)},
        latent_std={str(channel): float(value) for channel, value in enumerate(latent_std)},
        colormap=colormap,
        axes=data.axes,
    )


def build_pipeline(
    vqvae: FirstStageModel,
    unet: DopplerUNet2DModel,
    scheduler: SchedulerMixin,
    data: SpectrogramData,
    latent_mean: Tensor,
    latent_std: Tensor,
) -> VQLDMDopplerPipeline:
    """Put the parts together with the facts of the data; the latent statistics are float32 [D]."""
    return VQLDMDopplerPipeline(
        vqvae=vqvae, unet=unet, scheduler=scheduler, **pipeline_facts(data, latent_mean, latent_std)
    )


def export_pipeline(pipeline: VQLDMDopplerPipeline, facts: dict[str, Any], folder: Path) -> None:
    """Write the pipeline, the facts of its training and its model card to `folder`, which then loads anywhere."""
    pipeline.save_pretrained(folder)
    (folder / FACTS).write_text(json.dumps(facts, indent=1))
    write_card(folder)


def _with_text_keys(labels: dict[int, str]) -> dict[str, str]:
    return {str(index): label for index, label in labels.items()}  # JSON has no other keys
