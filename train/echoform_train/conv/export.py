"""Export of a trained convolutional autoencoder as a pipeline with the statistics of its latents."""

from __future__ import annotations

import torch
from torch import Tensor

from echoform.conv_autoencoder import ConvAutoencoder
from echoform.pipeline_conv_autoencoder import ConvAutoencoderPipeline
from echoform_train.conv.reconstruction import latent_mean_and_deviation
from echoform_train.data.images import Images

STATISTICS_IMAGES = 1000
"""Largest number of training images over which the statistics of the latents are measured."""


def build_pipeline(autoencoder: ConvAutoencoder, train: Images) -> ConvAutoencoderPipeline:
    """Put a trained model and the mean and deviation of its latents over training images into a pipeline."""
    chosen = torch.linspace(0, len(train) - 1, min(STATISTICS_IMAGES, len(train))).long()
    mean, deviation = latent_mean_and_deviation(autoencoder, train.pixels[chosen])
    return ConvAutoencoderPipeline(autoencoder.eval(), latent_mean=_by_channel(mean), latent_std=_by_channel(deviation))


def _by_channel(values: Tensor) -> dict[str, float]:
    return {str(channel): float(value) for channel, value in enumerate(values)}
