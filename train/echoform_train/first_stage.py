"""A trained first stage as the later ones meet it: its folder, its facts, and images to latents and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import VQModel
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor

from echoform_train.config import DataConfig
from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms, to_model, to_pixels

FACTS = "facts.json"
SPLIT = "split.json"
MODEL = "vqvae"


@dataclass(frozen=True)
class FirstStage:
    """Output of `echoform train vq-vae`."""

    folder: Path
    vqvae: VQModel
    facts: dict[str, Any]

    def check_data(self, data: SpectrogramData) -> None:
        """Make sure that the data are of the kind that the first stage was trained on.

        Raises:
            ValueError: If resolution, channels, colour map or users differ.
        """
        ours, theirs = data_facts(data), self.facts["data"]
        for name in ("resolution", "channels", "colormap", "users"):
            if ours[name] != theirs[name]:
                raise ValueError(
                    f"the first stage in {self.folder} was trained with {name} {theirs[name]}, "
                    f"the data have {ours[name]}"
                )


def load_first_stage(folder: Path) -> FirstStage:
    """Read the output folder of `echoform train vq-vae`.

    Raises:
        FileNotFoundError: If the folder holds no finished first stage.
    """
    for name in (FACTS, MODEL):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder} holds no {name}; is it the output of `echoform train vq-vae`?")
    vqvae = VQModel.from_pretrained(folder / MODEL)
    return FirstStage(folder, vqvae.requires_grad_(False), json.loads((folder / FACTS).read_text()))


def load_data(config: DataConfig, split_file: Path, resolution: int | None, seed: int) -> SpectrogramData:
    """The spectrograms that the flags of a training script name, in the parts of `split_file`."""
    return load_spectrograms(
        config.data,
        split_file=split_file,
        resolution=resolution,
        colormap=config.colormap,
        window_s=config.window_s,
        gap_windows=config.gap_windows,
        skip_bad_files=config.skip_bad_files,
        seed=seed,
    )


def data_facts(data: SpectrogramData) -> dict[str, Any]:
    """What later stages must share with this one, and what a card tells of the data; JSON-able."""
    return {
        "source": data.source,
        "resolution": data.train.pixels.shape[-1],
        "channels": data.train.pixels.shape[1],
        "colormap": data.colormap,
        "colormap_residual": data.colormap_residual,
        "users": [data.id2label[index] for index in sorted(data.id2label)],
        "conditions": {name: list(labels.values()) for name, labels in data.condition_labels.items()},
        "images": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "split": data.split.how,
    }


@torch.no_grad()
def encode(vqvae: VQModel, pixels: Tensor, batch_size: int = 16) -> Tensor:
    """Pixels uint8 [N, C, H, W] to latents before quantisation, float32 [N, D, h, w] on the CPU."""
    device = next(vqvae.parameters()).device
    return torch.cat(
        [vqvae.encode(to_model(part).to(device)).latents.float().cpu() for part in pixels.split(batch_size)]
    )


def decoded(vqvae: VQModel, latents: Tensor, quantize: bool) -> Tensor:
    """Latents [B, D, h, w] to images [B, C, H, W], both in model range, with gradients."""
    return cast(DecoderOutput, vqvae.decode(latents, force_not_quantize=not quantize)).sample


@torch.no_grad()
def decode(vqvae: VQModel, latents: Tensor, batch_size: int = 16, quantize: bool = True) -> Tensor:
    """Latents float32 [N, D, h, w] to pixels uint8 [N, C, H, W] on the CPU."""
    device = next(vqvae.parameters()).device
    parts = (part.to(device) for part in latents.split(batch_size))
    return torch.cat([to_pixels(decoded(vqvae, part, quantize)).cpu() for part in parts])
