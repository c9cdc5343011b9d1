"""From a trained first stage and denoiser to the folder that is exported: pipeline, facts and card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusers import SchedulerMixin
from torch import Tensor

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.colormap import lookup_table
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.files import FACTS
from echoform_train.latent_diffusion.first_stage import FirstStageModel
from echoform_train.publishing.card import write_card


def build_pipeline(
    vqvae: FirstStageModel,
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
