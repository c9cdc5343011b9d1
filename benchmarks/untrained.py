"""Noise as data and models with random weights, for benchmarks of cost, which depends on neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.data.split import Split
from echoform_train.latent_diffusion.first_stage import latent_shape
from echoform_train.latent_diffusion.latents import pipeline_facts
from echoform_train.latent_diffusion.objective import make_objective
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae


def noise_data(resolution: int, users: int, train_images: int, held_out_images: int = 16) -> SpectrogramData:
    """Data set of one-channel noise images of `users` users, with colour map jet and a split into three parts."""
    counts = {"train": train_images, "validation": held_out_images, "test": held_out_images}
    parts: dict[str, Any] = {side: _noise(side, count, resolution, users) for side, count in counts.items()}
    names = {side: images.files for side, images in parts.items()}
    return SpectrogramData(
        **parts,
        left_out=_noise("left_out", 0, resolution, users),
        split=Split(**names, left_out=(), method="by recording", gap_windows=2, seed=0),
        split_file=None,
        images_sha256="",
        id2label={user: f"ID_{user + 1}" for user in range(users)},
        condition_labels={},
        colormap="jet",
        colormap_residual=0.0,
        axes=None,
        native_size=(resolution, resolution),
        source="noise",
        skipped=(),
        other_files=(),
    )


def untrained_unet(
    config: train_ldm.Config, data: SpectrogramData, latents: tuple[int, int, int]
) -> DopplerUNet2DModel:
    """The denoiser that the settings of `train ldm` give for latents of shape (D, h, w)."""
    return train_ldm.build_unet(config, latents, pipeline_facts(data, torch.zeros(latents[0]), torch.ones(latents[0])))


def untrained_pipeline(preset: str, data: SpectrogramData) -> VQLDMDopplerPipeline:
    """The pipeline that `train vq-vae` and `train ldm` with a preset would export."""
    stage, ldm = train_vq_vae.PRESETS[preset], train_ldm.PRESETS[preset]
    _, channels, resolution, _ = data.train.pixels.shape
    vqvae = train_vq_vae.build_model(stage, channels)
    shape = latent_shape(vqvae, channels, resolution)
    unet = untrained_unet(ldm, data, shape)
    sampler = make_objective(ldm.objective, ldm.beta_schedule, ldm.min_snr_gamma).sampler()
    facts = pipeline_facts(data, torch.zeros(shape[0]), torch.ones(shape[0]))
    pipeline = VQLDMDopplerPipeline(vqvae.eval(), unet.eval(), sampler, **facts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write_backbone(torch_home: Path) -> dict[str, Tensor]:
    """Write random weights where torchvision looks for those of AlexNet, and return them.

    Args:
        torch_home: Folder that the variable TORCH_HOME names.
    """
    from torchvision.models import AlexNet_Weights, alexnet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = alexnet(weights=None).state_dict()
    # LPIPS does not use the classifier: one zero, seen in its shape, keeps the file small.
    weights = {
        name: torch.zeros(()).expand(value.shape) if name.startswith("classifier") else value
        for name, value in weights.items()
    }
    name = AlexNet_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    file = torch_home / "hub" / "checkpoints" / name
    file.parent.mkdir(parents=True)
    torch.save(weights, file)
    return weights


def _noise(side: str, count: int, resolution: int, users: int) -> Spectrograms:
    generator = torch.Generator().manual_seed(0)
    unknown = (None,) * count
    return Spectrograms(
        pixels=torch.randint(256, (count, 1, resolution, resolution), generator=generator, dtype=torch.uint8),
        users=torch.arange(count) % users,
        conditions={},
        files=tuple(f"{side}/{number}.png" for number in range(count)),
        recordings=unknown,
        starts_s=unknown,
    )
