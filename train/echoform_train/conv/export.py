"""From a trained convolutional autoencoder to the folder that travels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echoform.conv_autoencoder import ConvAutoencoder
from echoform.pipeline_conv_autoencoder import ConvAutoencoderPipeline
from echoform_train.conv.quality import latent_statistics
from echoform_train.data.images import Images
from echoform_train.engine.files import FACTS
from echoform_train.publishing.card import write_card

_MEASURED = 1000


def build_pipeline(autoencoder: ConvAutoencoder, train: Images) -> ConvAutoencoderPipeline:
    """The model together with what its latents are like, over up to 1,000 training images."""
    few = torch.linspace(0, len(train) - 1, min(_MEASURED, len(train))).long()
    mean, std = latent_statistics(autoencoder, train.pixels[few])
    return ConvAutoencoderPipeline(autoencoder.eval(), latent_mean=_numbered(mean), latent_std=_numbered(std))


def export_pipeline(pipeline: ConvAutoencoderPipeline, facts: dict[str, Any], folder: Path) -> None:
    """Write the pipeline, the facts of its training and its card to `folder`, which then loads anywhere."""
    pipeline.save_pretrained(folder)
    (folder / FACTS).write_text(json.dumps(facts, indent=1))
    write_card(folder)


def _numbered(values: Tensor) -> dict[str, float]:
    return {str(channel): float(value) for channel, value in enumerate(values)}
