"""Training data of the denoiser: standardised latents with their labels, and facts for the pipeline's config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.colormap import lookup_table
from echoform_train.data.config import data_facts
from echoform_train.data.facts import SpectrogramFacts
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.batches import Draw
from echoform_train.latent_diffusion.first_stage import FirstStage, encode_pixels


@dataclass(frozen=True)
class Latents:
    """Standardised latents with the labels of each."""

    values: Tensor
    """float32 [N, D, h, w]; over the training part, each channel has mean 0, and all have a mean square of 1."""
    users: Tensor
    """Class ids, int64 [N]."""
    conditions: dict[str, Tensor]
    """Label ids by name of the condition, int64 [N]."""

    def __len__(self) -> int:
        return len(self.values)

    def select(self, indices: Tensor) -> Latents:
        """The latents at these indices, int64 [B], in this order."""
        conditions = {name: labels[indices] for name, labels in self.conditions.items()}
        return Latents(self.values[indices], self.users[indices], conditions)


class PipelineFacts(TypedDict):
    """Facts of the training data that a pipeline keeps in its config, as arguments of `VQLDMDopplerPipeline`."""

    id2label: dict[str, str]
    condition_labels: dict[str, dict[str, str]]
    latent_mean: dict[str, float]
    latent_std: dict[str, float]
    """What each channel is divided by."""
    colormap: dict[str, str] | None
    axes: dict[str, float] | None


@dataclass(frozen=True, kw_only=True)
class LatentData:
    """Spectrograms encoded for the denoiser, and facts of the data."""

    train: Latents
    validation: Latents
    pipeline_facts: PipelineFacts
    data_facts: SpectrogramFacts

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (D, h, w) of the latents of one image."""
        _, dim, height, width = self.train.values.shape
        return dim, height, width


def encode_data(
    stage: FirstStage, data: SpectrogramData, source: VQLDMDopplerPipeline | None = None, whitening: float = 1.0
) -> LatentData:
    """Encode the training and the validation images, and standardise their latents per channel.

    Args:
        stage: First stage, whose model is on the device that encodes.
        data: The spectrograms.
        source: Pipeline, of other users, from which the denoiser is initialised. Latents are then standardised by the
            mean and standard deviation of that pipeline instead of those of the training images.
        whitening: See `divisors`.

    Raises:
        ValueError: If the data are not of the kind that the first stage was trained on, or have another split.
    """
    facts = data_facts(data)
    stage.check_data(facts, same_users=source is None)
    # With the first stage of other users, only a new split of the very same images would leak.
    if source is None or stage.facts["data"].get("images_sha256") == data.images_sha256:
        stage.check_split(data)
    encoded = encode_pixels(stage.model, data.train.pixels)
    if source is None:
        mean, std = encoded.mean(dim=(0, 2, 3)), divisors(encoded.std(dim=(0, 2, 3)), whitening)
    else:
        mean, std = latent_statistics(source)

    def standardised(latents: Tensor, images: Spectrograms) -> Latents:
        return Latents((latents - mean[:, None, None]) / std[:, None, None], images.users, images.conditions)

    return LatentData(
        train=standardised(encoded, data.train),
        validation=standardised(encode_pixels(stage.model, data.validation.pixels), data.validation),
        pipeline_facts=pipeline_facts(data, mean, std),
        data_facts=facts,
    )


def pipeline_facts(data: SpectrogramData, latent_mean: Tensor, latent_std: Tensor) -> PipelineFacts:
    """Collect the facts of the data for the pipeline.

    Args:
        data: The training data.
        latent_mean: Mean of each latent channel over the training part, float32 [D].
        latent_std: What each latent channel is divided by, float32 [D].
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


def divisors(deviation: Tensor, whitening: float) -> Tensor:
    """What latent channels are divided by, so that together they have a mean square of 1.

    Args:
        deviation: Standard deviation of each channel, float32 [D].
        whitening: 1 makes all channels equally strong, 0 leaves the ratios of their strengths as they are, and between
            them strong channels stay stronger, but less so. A diffusion model gives strong channels more weight, and
            makes them first.
    """
    scale = deviation**whitening
    return scale * (deviation / scale).square().mean().sqrt()


def latent_statistics(pipeline: VQLDMDopplerPipeline) -> tuple[Tensor, Tensor]:
    """Mean and divisor of each channel of the latents that a pipeline was trained on, float32 [D] each."""

    def by_channel(values: dict[str, float]) -> Tensor:
        return torch.tensor([values[str(channel)] for channel in range(len(values))])

    return by_channel(pipeline.config["latent_mean"]), by_channel(pipeline.config["latent_std"])


def drop_labels(latents: Latents, draw: Draw, share: float, unet: DopplerUNet2DModel) -> Latents:
    """Replace labels by their null class, for classifier-free guidance (Ho and Salimans, 2022).

    Args:
        latents: The latents of the draw.
        draw: Gives the random numbers.
        share: Probability of replacing the user of a sample and, independently, each of its conditions.
        unet: The denoiser, which defines the null classes.
    """
    users = torch.where(draw.rand() < share, unet.null_user, latents.users)
    conditions = {
        name: torch.where(draw.rand() < share, unet.null_conditions[name], labels)
        for name, labels in latents.conditions.items()
    }
    return Latents(latents.values, users, conditions)


def _with_text_keys(labels: dict[int, str]) -> dict[str, str]:
    return {str(index): label for index, label in labels.items()}  # JSON has no other keys
