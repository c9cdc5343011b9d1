"""A trained first stage (VQ-VAE or KL-VAE): loading, checks, and conversion of images to latents and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, VQModel
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.autoencoders.vq_model import VQEncoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

from echoform.block_dct import BlockDCT
from echoform_train.data.facts import SpectrogramFacts
from echoform_train.data.spectrograms import to_model, to_pixels
from echoform_train.data.split_files import SplitImages, check_split_of_model
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import FACTS, FIRST_STAGE
from echoform_train.engine.resolution import sides_of
from echoform_train.publishing.cards.first_stage import FirstStageTraining
from echoform_train.publishing.exported import class_name
from echoform_train.publishing.families import load_installed
from echoform_train.publishing.training_facts import read_training

FirstStageModel = VQModel | AutoencoderKL | BlockDCT


@dataclass(frozen=True)
class FirstStage:
    """The output of `echoform train vq-vae` or `echoform train kl-vae`, or what stands in its place."""

    folder: Path | None
    """Output folder of the training; None for a first stage that has nothing to learn."""
    model: FirstStageModel
    """The autoencoder, with frozen weights."""
    facts: dict[str, Any]
    """Content of facts.json: settings, data and scores of the training."""

    @property
    def text(self) -> str:
        """What messages call it."""
        return "--first-stage none" if self.folder is None else f"the first stage in {self.folder}"

    @property
    def quantized(self) -> bool:
        """Whether latents are replaced by their nearest code before they are decoded."""
        return isinstance(self.model, VQModel) and self.facts["quantized"]

    def check_usable_in_pipeline(self) -> None:
        """Make sure that the pipeline will decode latents as the training of the first stage did.

        Raises:
            ValueError: If the model is a VQ-VAE that was trained without its codebook; a pipeline always uses it.
        """
        if isinstance(self.model, VQModel) and not self.quantized:
            raise UserError(
                f"a second stage needs a first stage with its codebook, the one in {self.folder} was trained with "
                "--no-quantize; for a first stage without a codebook, use `echoform train kl-vae`"
            )

    def check_data(self, data_facts: SpectrogramFacts, *, same_users: bool = True) -> None:
        """Make sure that data are of the kind that the first stage was trained on.

        Args:
            data_facts: What `data.config.data_facts` returns for the data.
            same_users: Whether the users must be those of the training too.

        Raises:
            ValueError: If resolution, channels, colour map or users differ.
        """
        trained_on = self.facts["data"]
        for name in ("resolution", "channels", "colormap", *(["users", "reading"] if same_users else [])):
            if data_facts[name] != trained_on.get(name, ""):
                raise UserError(
                    f"{self.text} was trained with {name} {trained_on.get(name) or 'none'}, "
                    f"the data have {data_facts[name] or 'none'}"
                )

    def check_split(self, data: SplitImages) -> None:
        """Make sure that data have the images and the split that the first stage was trained with.

        Raises:
            ValueError: If they have not; the message tells in how many images the splits differ.
        """
        if self.folder is not None:
            check_split_of_model(data, self.facts["data"], self.text, self.folder)


def load_first_stage(folder: Path) -> FirstStage:
    """Read the output folder of `echoform train vq-vae` or `echoform train kl-vae`.

    Raises:
        FileNotFoundError: If the folder holds no finished first stage.
        ValueError: If the model in the folder is neither a VQModel nor an AutoencoderKL, is not whole, or its facts are
            not those of a first stage.
    """
    for name in (FACTS, FIRST_STAGE):
        if not (folder / name).exists():
            raise MissingFileError(
                f"{folder} holds no {name}; is it the output of `echoform train vq-vae` or `echoform train kl-vae`?"
            )
    classes = {cls.__name__: cls for cls in (VQModel, AutoencoderKL)}
    name = class_name(folder / FIRST_STAGE)
    if name not in classes:
        raise UserError(f"a first stage must be a {' or an '.join(classes)}, got {name} in {folder / FIRST_STAGE}")
    facts = read_training(folder / FACTS, FirstStageTraining, SpectrogramFacts)
    if not isinstance(facts.get("quantized", False), bool) or (name == "VQModel") != ("quantized" in facts):
        raise UserError(f"quantized in {folder / FACTS} must be true or false for a VQModel alone")
    model = cast(FirstStageModel, load_installed(folder / FIRST_STAGE, use_safetensors=True))
    return FirstStage(folder, model.requires_grad_(False), cast(dict[str, Any], facts))


def images_to_latents(model: FirstStageModel, images: Tensor) -> Tensor:
    """Encode images, with gradients.

    Args:
        model: A VQModel gives its latents before quantisation, an AutoencoderKL the mean of its latent distribution.
        images: float32 [B, C, H, W] in [-1, 1], on the device of the model.

    Returns:
        float32 [B, D, h, w].
    """
    if not isinstance(model, AutoencoderKL):
        return cast(VQEncoderOutput, model.encode(images)).latents.float()
    return latent_distribution(model, images).mode().float()


def latent_distribution(vae: AutoencoderKL, images: Tensor) -> DiagonalGaussianDistribution:
    """Normal distribution over the latents [B, D, h, w] of images [B, C, H, W] in [-1, 1], with gradients."""
    return cast(AutoencoderKLOutput, vae.encode(images)).latent_dist


def latents_to_images(model: FirstStageModel, latents: Tensor, quantize: bool) -> Tensor:
    """Decode latents, with gradients.

    Args:
        model: The first stage.
        latents: float32 [B, D, h, w], on the device of the model.
        quantize: Whether a VQModel replaces each latent by its nearest code first; no effect on an AutoencoderKL.

    Returns:
        float32 [B, C, H, W], about in [-1, 1].
    """
    if isinstance(model, VQModel):
        return cast(DecoderOutput, model.decode(latents, force_not_quantize=not quantize)).sample
    return cast(DecoderOutput, model.decode(cast(torch.FloatTensor, latents))).sample


@torch.no_grad()
def encode_pixels(model: FirstStageModel, pixels: Tensor, batch_size: int = 16) -> Tensor:
    """Encode stored pixels, uint8 [N, C, H, W], to latents, float32 [N, D, h, w] on the CPU."""
    device = next(model.parameters()).device
    return torch.cat([images_to_latents(model, to_model(batch).to(device)).cpu() for batch in pixels.split(batch_size)])


@torch.no_grad()
def decode_to_pixels(model: FirstStageModel, latents: Tensor, batch_size: int = 16, quantize: bool = True) -> Tensor:
    """Decode latents, float32 [N, D, h, w], to stored pixels, uint8 [N, C, H, W] on the CPU.

    `quantize` decides whether a VQModel replaces each latent by its nearest code first.
    """
    device = next(model.parameters()).device
    batches = (batch.to(device) for batch in latents.split(batch_size))
    return torch.cat([to_pixels(latents_to_images(model, batch, quantize)).cpu() for batch in batches])


def downsampling(model: FirstStageModel) -> int:
    """Pixels per latent pixel, in height and in width."""
    return model.config.get("block_size") or 2 ** (len(model.config["block_out_channels"]) - 1)


@torch.no_grad()
def latent_shape(model: FirstStageModel, channels: int, resolution: int | str) -> tuple[int, int, int]:
    """Shape (D, h, w) of the latents of one image of `channels` channels and a resolution, see `sides_of`.

    It is measured by encoding a blank image.
    """
    parameter = next(model.parameters())
    image = torch.zeros(1, channels, *sides_of(resolution), device=parameter.device, dtype=parameter.dtype)
    _, dim, height, width = images_to_latents(model, image).shape
    return dim, height, width
