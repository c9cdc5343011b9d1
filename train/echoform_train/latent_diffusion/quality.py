"""Measurement of how much of held-out spectrograms a first stage preserves: errors, judges, codebook and latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, VQModel
from torch import Tensor
from torch.nn import functional as F

from echoform_train.data.spectrograms import Spectrograms, to_model
from echoform_train.engine.errors import UserError
from echoform_train.latent_diffusion.codebook import nearest_codes
from echoform_train.latent_diffusion.error_spectrum import error_spectrum
from echoform_train.latent_diffusion.first_stage import (
    FirstStageModel,
    decode_to_pixels,
    encode_pixels,
    latent_distribution,
)
from echoform_train.latent_diffusion.quality_scores import (
    LATENT_NOISE,
    AccuracyScores,
    CodebookScores,
    LatentScores,
    MeanScore,
    QualityScores,
    TextureScore,
    UserScores,
)
from echoform_train.scoring.image_quality import psnr, psnr_each, ssim_each
from echoform_train.scoring.intervals import bootstrap_interval, ratio_interval, seeds_interval, share_interval
from echoform_train.scoring.judge import Judge, accuracy_by_user, confusion
from echoform_train.scoring.metrics import codebook_usage
from echoform_train.scoring.perceptual import PerceptualLoss, perceptual_available
from echoform_train.scoring.scores import BOUNDED
from echoform_train.scoring.texture_scores import texture_scores
from echoform_train.scoring.two_sample import TRAIN_IMAGES


@dataclass(frozen=True)
class Quality:
    """Scores of a first stage, with the reconstructions that they were measured on."""

    scores: QualityScores
    reconstructed: Tensor
    """Stored pixels, uint8 [N, C, H, W]."""
    psnr_db: Tensor
    """PSNR of each image, float64 [N]."""


def measure_quality(
    model: FirstStageModel,
    images: Spectrograms,
    train: Spectrograms,
    id2label: dict[int, str],
    judges: Sequence[Judge],
    *,
    quantize: bool = True,
    texture_train_images: int = TRAIN_IMAGES,
) -> Quality:
    """Compare held-out images with their reconstructions, which are rounded to 8 bits as a pipeline does.

    Args:
        model: First stage, on the device to compute on.
        images: Held-out images, none of which the judges were trained on.
        train: Training images, whose texture is the floor.
        id2label: Class id -> name of each user.
        judges: At least one, trained on real images.
        quantize: Whether a VQModel replaces each latent by its nearest code.
        texture_train_images: Images that each network of the two-sample test sees.

    Raises:
        ValueError: If there are no images or no judges, or a judge names no real image right.
    """
    if len(images) == 0 or not judges:
        raise UserError(f"at least one image and one judge are needed, got {len(images)} and {len(judges)}")
    latents = encode_pixels(model, images.pixels)
    reconstructed_pixels = decode_to_pixels(model, latents, quantize=quantize)
    # Model range for everything that networks see; 0..1 for PSNR and SSIM of each image.
    target, reconstructed = to_model(images.pixels), to_model(reconstructed_pixels)
    unit, unit_reconstructed = images.pixels.float() / 255, reconstructed_pixels.float() / 255
    each_psnr, each_ssim = psnr_each(unit_reconstructed, unit), ssim_each(unit_reconstructed, unit)
    # Per judge, how it confuses the users of the originals and of the reconstructions.
    users = images.users
    tables = [
        (confusion(judge, images.pixels, users), confusion(judge, reconstructed_pixels, users)) for judge in judges
    ]
    scores = QualityScores(
        psnr_db=_psnr_interval(reconstructed, target),
        ssim=_over_images(each_ssim),
        lpips=_lpips(model, reconstructed, target),
        thumbnail_psnr_db=psnr(thumbnail(target, latents.shape[-2], latents.shape[-1]), target),
        noisy_latents_psnr_db=psnr(_from_noisy_latents(model, latents, quantize), target),
        accuracy=measure_accuracy(tables),
        texture=_measure_texture(
            images, reconstructed_pixels, train, len(judges), texture_train_images, next(model.parameters()).device
        ),
        codebook=measure_codebook(model, latents) if quantize and isinstance(model, VQModel) else None,
        latents=measure_latents(model, images.pixels, latents),
        users=_by_user(images, id2label, each_psnr, each_ssim, tables),
        error_spectrum={axis: s._asdict() for axis, s in error_spectrum(reconstructed, target).items()},
    )
    return Quality(scores, reconstructed_pixels, each_psnr)


def measure_accuracy(tables: Sequence[tuple[Tensor, Tensor]]) -> AccuracyScores:
    """How often judges name the users of real images and of their reconstructions right.

    Args:
        tables: For each judge the confusion of real images and that of reconstructions, int64 [U, U] each.

    Raises:
        ValueError: If a judge names no real image right.
    """
    real = [table.trace().item() / table.sum().item() for table, _ in tables]
    if min(real) == 0:
        raise UserError("every judge must name at least one held-out real image right, one judge names none right")
    kept = [reconstructed.trace().item() / table.trace().item() for table, reconstructed in tables]
    # The same images are judged each time, real and reconstructed.
    images = int(tables[0][0].sum())
    real_alone, made_alone = (
        share_interval([float(np.mean([table.trace().item() / images for table in side]))], images)
        for side in zip(*tables, strict=True)
    )
    return AccuracyScores(
        real=MeanScore(**share_interval(real, images)._asdict()),
        kept=MeanScore(**ratio_interval(kept, made_alone, real_alone)._asdict()),
    )


def _measure_texture(
    images: Spectrograms,
    reconstructed: Tensor,
    train: Spectrograms,
    seeds: int,
    train_images: int,
    device: torch.device,
) -> dict[str, TextureScore]:
    """Texture of reconstructions against that of their images, one value per seed."""
    real = (images.pixels, images.users)

    def compare(other: Tensor, users: Tensor, seed: int) -> dict[str, float]:
        return texture_scores(real, (other, users), seed=seed, train_images=train_images, device=device)

    measured = [compare(reconstructed, images.users, seed) for seed in range(seeds)]
    floors = compare(train.pixels, train.users, 0)
    scores = {}
    for name, floor in floors.items():
        values = [each[name] for each in measured]
        interval = seeds_interval(values)
        low, high = (None, None) if interval is None else (max(0.0, interval.low), interval.high)
        if high is not None and name in BOUNDED:
            high = min(1.0, high)
        scores[name] = TextureScore(mean=float(np.mean(values)), low=low, high=high, floor=floor)
    return scores


def measure_codebook(vqvae: VQModel, latents: Tensor) -> CodebookScores:
    """Use of the codebook by latents, float32 [N, D, h, w] on the CPU."""
    codebook = vqvae.quantize.embedding.weight.detach().cpu()
    codes = nearest_codes(latents, codebook)
    use, perplexity = codebook_usage(torch.bincount(codes.flatten(), minlength=len(codebook)))
    return CodebookScores(size=len(codebook), use=use, perplexity=perplexity)


@torch.no_grad()
def measure_latents(model: FirstStageModel, pixels: Tensor, latents: Tensor) -> LatentScores:
    """Statistics of the latents, float32 [N, D, h, w], of stored pixels, uint8 [N, C, H, W]."""
    deviation = latents.std(dim=(0, 2, 3))
    scores = LatentScores(
        shape=list(latents.shape[1:]), mean=latents.mean(dim=(0, 2, 3)).tolist(), deviation=deviation.tolist()
    )
    if isinstance(model, AutoencoderKL):
        device = next(model.parameters()).device
        batches = (to_model(batch).to(device) for batch in pixels.split(16))
        variances = torch.cat([latent_distribution(model, batch).var.cpu() for batch in batches])
        scores["posterior_deviation"] = (variances.mean(dim=(0, 2, 3)).sqrt() / deviation).tolist()
    return scores


def thumbnail(images: Tensor, height: int, width: int) -> Tensor:
    """Images [N, C, H, W] averaged down to [height, width] and enlarged again: the baseline for a first stage."""
    small = F.interpolate(images, size=(height, width), mode="area")
    return F.interpolate(small, size=images.shape[-2:], mode="bicubic", align_corners=False).clamp(-1, 1)


def _from_noisy_latents(model: FirstStageModel, latents: Tensor, quantize: bool) -> Tensor:
    """Images [N, C, H, W] in model range, decoded from latents with noise of LATENT_NOISE."""
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    noisy = latents + LATENT_NOISE * latents.std(dim=(0, 2, 3))[:, None, None] * noise
    return to_model(decode_to_pixels(model, noisy, quantize=quantize))


def _psnr_interval(reconstructed: Tensor, target: Tensor) -> MeanScore:
    errors = (reconstructed.double() - target.double()).square().flatten(1).mean(dim=1)
    # The interval of the mean error, in decibels; the larger error is the lower PSNR.
    if len(errors) == 1:  # one image does not tell how much images differ
        return MeanScore(mean=psnr(reconstructed, target), low=None, high=None)
    _, low, high = bootstrap_interval(errors.numpy(), seed=0)
    return MeanScore(mean=psnr(reconstructed, target), low=_psnr_of(high), high=_psnr_of(low))


def _psnr_of(error: float) -> float:
    return math.inf if error == 0 else 10 * math.log10(4 / error)


@torch.no_grad()
def _lpips(model: FirstStageModel, reconstructed: Tensor, target: Tensor) -> MeanScore | None:
    if not perceptual_available():
        return None
    device = next(model.parameters()).device
    distance = PerceptualLoss().to(device)
    pairs = zip(reconstructed.split(16), target.split(16), strict=True)
    return _over_images(torch.cat([distance.distances(a.to(device), b.to(device)).cpu() for a, b in pairs]))


def _over_images(values: Tensor) -> MeanScore:
    mean, low, high = bootstrap_interval(values.double().numpy(), seed=0)
    # One image does not tell how much images differ.
    return MeanScore(mean=mean, low=low, high=high) if len(values) > 1 else MeanScore(mean=mean, low=None, high=None)


def _by_user(
    images: Spectrograms,
    id2label: dict[int, str],
    psnr_db: Tensor,
    ssim: Tensor,
    tables: Sequence[tuple[Tensor, Tensor]],
) -> dict[str, UserScores]:
    """Scores of every user with images; accuracies are over all judges together."""
    real, reconstructed = (accuracy_by_user(torch.stack(side).sum(0)) for side in zip(*tables, strict=True))
    return {
        label: UserScores(
            images=int((images.users == user).sum()),
            psnr_db=psnr_db[images.users == user].mean().item(),
            ssim=ssim[images.users == user].mean().item(),
            real_accuracy=real[user].item(),
            reconstruction_accuracy=reconstructed[user].item(),
        )
        for user, label in id2label.items()
        if (images.users == user).any()
    }
