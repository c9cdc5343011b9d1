"""A trained first stage as the later ones meet it: its folder, its facts, and images to latents and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, VQModel
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.autoencoders.vq_model import VQEncoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

from echoform_train.data.config import data_facts
from echoform_train.data.spectrograms import SpectrogramData, to_model, to_pixels
from echoform_train.engine.files import FACTS, FIRST_STAGE

FirstStageModel = VQModel | AutoencoderKL


@dataclass(frozen=True)
class FirstStage:
    """Output of `echoform train vq-vae` or `echoform train kl-vae`."""

    folder: Path
    vqvae: FirstStageModel
    facts: dict[str, Any]

    @property
    def quantized(self) -> bool:
        """Whether a codebook stands between encoder and decoder."""
        return isinstance(self.vqvae, VQModel) and self.facts["quantized"]

    def check_pipeline(self) -> None:
        """Make sure that a pipeline decodes as the first stage learned to.

        Raises:
            ValueError: If it is a VQ-VAE without its codebook, through which every pipeline decodes.
        """
        if isinstance(self.vqvae, VQModel) and not self.quantized:
            raise ValueError(
                f"a second stage needs a first stage with its codebook, that in {self.folder} was trained with "
                "--no-quantize; `echoform train kl-vae` is one that needs no codebook"
            )

    def check_data(self, data: SpectrogramData, *, same_users: bool = True) -> None:
        """Make sure that the data are of the kind, and by default of the people, that the first stage was trained on.

        Raises:
            ValueError: If resolution, channels, colour map or users differ.
        """
        ours, theirs = data_facts(data), self.facts["data"]
        for name in ("resolution", "channels", "colormap", *(["users"] if same_users else [])):
            if ours[name] != theirs[name]:
                raise ValueError(
                    f"the first stage in {self.folder} was trained with {name} {theirs[name]}, "
                    f"the data have {ours[name]}"
                )


def load_first_stage(folder: Path) -> FirstStage:
    """Read the output folder of `echoform train vq-vae` or `echoform train kl-vae`.

    Raises:
        FileNotFoundError: If the folder holds no finished first stage.
        ValueError: If the model in it is none.
    """
    for name in (FACTS, FIRST_STAGE):
        if not (folder / name).exists():
            raise FileNotFoundError(
                f"{folder} holds no {name}; is it the output of `echoform train vq-vae` or `echoform train kl-vae`?"
            )
    kinds = {kind.__name__: kind for kind in (VQModel, AutoencoderKL)}
    name = json.loads((folder / FIRST_STAGE / "config.json").read_text())["_class_name"]
    if name not in kinds:
        raise ValueError(f"a first stage must be a {' or an '.join(kinds)}, got {name} in {folder / FIRST_STAGE}")
    model = kinds[name].from_pretrained(folder / FIRST_STAGE).requires_grad_(False)
    return FirstStage(folder, model, json.loads((folder / FACTS).read_text()))


def latents_of(model: FirstStageModel, images: Tensor) -> Tensor:
    """Images [B, C, H, W] in model range to latents float32 [B, D, h, w], with gradients.

    Of a `VQModel` those before quantisation, of an `AutoencoderKL` the mean of its distribution.
    """
    if isinstance(model, VQModel):
        return cast(VQEncoderOutput, model.encode(images)).latents.float()
    return posterior_of(model, images).mode().float()


def posterior_of(vae: AutoencoderKL, images: Tensor) -> DiagonalGaussianDistribution:
    """The distribution of the latents [B, D, h, w] of images [B, C, H, W] in model range, with gradients."""
    return cast(AutoencoderKLOutput, vae.encode(images)).latent_dist


@torch.no_grad()
def encode(model: FirstStageModel, pixels: Tensor, batch_size: int = 16) -> Tensor:
    """Pixels uint8 [N, C, H, W] to latents as of `latents_of`, float32 [N, D, h, w] on the CPU."""
    device = next(model.parameters()).device
    return torch.cat([latents_of(model, to_model(part).to(device)).cpu() for part in pixels.split(batch_size)])


def decoded(model: FirstStageModel, latents: Tensor, quantize: bool) -> Tensor:
    """Latents [B, D, h, w] to images [B, C, H, W], both in model range, with gradients; `quantize` is for a VQModel."""
    if isinstance(model, VQModel):
        return cast(DecoderOutput, model.decode(latents, force_not_quantize=not quantize)).sample
    return cast(DecoderOutput, model.decode(cast(torch.FloatTensor, latents))).sample


@torch.no_grad()
def decode(model: FirstStageModel, latents: Tensor, batch_size: int = 16, quantize: bool = True) -> Tensor:
    """Latents float32 [N, D, h, w] to pixels uint8 [N, C, H, W] on the CPU."""
    device = next(model.parameters()).device
    parts = (part.to(device) for part in latents.split(batch_size))
    return torch.cat([to_pixels(decoded(model, part, quantize)).cpu() for part in parts])
