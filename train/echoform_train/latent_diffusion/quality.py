"""What a first stage keeps of held-out spectrograms, and whether that is enough to train a second stage on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from diffusers import VQModel
from torch import Tensor
from torch.nn import functional as F

from echoform_train.data.spectrograms import Spectrograms, to_model
from echoform_train.latent_diffusion.codebook import nearest_codes
from echoform_train.latent_diffusion.first_stage import (
    FirstStageModel,
    decode_to_pixels,
    encode_pixels,
    latent_distribution,
)
from echoform_train.scoring.image_quality import psnr, psnr_each, ssim_each
from echoform_train.scoring.intervals import bootstrap_interval, mean_interval
from echoform_train.scoring.judge import Judge, accuracy_by_user, confusion
from echoform_train.scoring.metrics import codebook_usage
from echoform_train.scoring.perceptual import PerceptualLoss, perceptual_weights

MIN_ACCURACY_KEPT = 0.95
"""Share of their accuracy that judges must keep: what the first stage loses, no second stage brings back."""
MIN_PERPLEXITY_SHARE = 0.1
"""Of the size of a codebook; below, most of it is dead."""
LATENT_NOISE = 0.1
"""Deviation of the noise that latents are tried with, in deviations of each channel: a second stage errs too."""


class AxisSpectrum(NamedTuple):
    """Where along one axis the squared error lies; both powers sum up to a mean square over all pixels."""

    cycles_per_pixel: list[float]
    """0..0.5."""
    error: list[float]
    """Power of the error, model range squared."""
    image: list[float]
    """Power of the images; where the error reaches it, nothing is kept."""


@dataclass(frozen=True)
class Quality:
    """Numbers of a first stage, and what they were measured on."""

    scores: dict[str, Any]
    """JSON-able, see `measure`."""
    made: Tensor
    """Reconstructions, pixels uint8 [N, C, H, W]."""
    psnr_db: Tensor
    """float64 [N]."""


def measure(
    model: FirstStageModel,
    images: Spectrograms,
    id2label: dict[int, str],
    judges: Sequence[Judge],
    *,
    quantize: bool = True,
) -> Quality:
    """Reconstruct held-out images as a pipeline decodes them, in 8 bits, and compare.

    Args:
        model: On the device to compute on.
        images: Held-out ones, none of which the judges were trained on.
        id2label: Name of each user.
        judges: At least one, trained on real images.
        quantize: False decodes a `VQModel` without its codebook.

    Returns:
        The scores are `psnr_db` over all images and `ssim` ({"mean", "low", "high"}, a 95 % bootstrap interval over
        images); `lpips`, the same, None without its weights; `thumbnail_psnr_db`, of an image that is shrunk to the
        height and width of the latents and back; `noisy_latents_psnr_db`, with latents off by a tenth of their
        deviation; `accuracy`, of `accuracies`; `codebook` of a quantised one; `latents`; `users`; `error_spectrum`.

    Raises:
        ValueError: If there are no images or no judges, or no judge names any real image.
    """
    if len(images) == 0 or not judges:
        raise ValueError(f"at least one image and one judge are needed, got {len(images)} and {len(judges)}")
    latents = encode_pixels(model, images.pixels)
    made = decode_to_pixels(model, latents, quantize=quantize)
    target, back = to_model(images.pixels), to_model(made)
    unit, unit_back = images.pixels.float() / 255, made.float() / 255
    each_psnr, each_ssim = psnr_each(unit_back, unit), ssim_each(unit_back, unit)
    users = images.users
    tables = [(confusion(judge, images.pixels, users), confusion(judge, made, users)) for judge in judges]
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    noisy = latents + LATENT_NOISE * latents.std(dim=(0, 2, 3))[:, None, None] * noise
    scores = {
        "psnr_db": _psnr_interval(back, target),
        "ssim": bootstrap_interval(each_ssim.numpy(), seed=0)._asdict(),
        "lpips": _lpips(model, back, target),
        "thumbnail_psnr_db": psnr(thumbnail(target, latents.shape[-2], latents.shape[-1]), target),
        "noisy_latents_psnr_db": psnr(to_model(decode_to_pixels(model, noisy, quantize=quantize)), target),
        "accuracy": accuracies(tables),
        "codebook": codebook_numbers(model, latents) if quantize and isinstance(model, VQModel) else None,
        "latents": latent_numbers(model, images.pixels, latents),
        "users": _by_user(images, id2label, each_psnr, each_ssim, tables),
        "error_spectrum": {axis: s._asdict() for axis, s in error_spectrum(back, target).items()},
    }
    return Quality(scores, made, each_psnr)


def accuracies(tables: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """How often judges name real images and their reconstructions right.

    Args:
        tables: A judge each, `confusion` of real images and of reconstructions, int64 [U, U].

    Returns:
        "real" and "kept", the share of it that is left on reconstructions, each {"mean", "low", "high"}: a 95 %
        interval over judges, None for a single one.

    Raises:
        ValueError: If a judge names no real image right.
    """
    real = [table.trace().item() / table.sum().item() for table, _ in tables]
    if min(real) == 0:
        raise ValueError("every judge must name some held-out real image right to score others, one names none of them")
    kept = [made.trace().item() / table.trace().item() for table, made in tables]
    return {"real": _over_judges(real, most=1.0), "kept": _over_judges(kept, most=math.inf)}


def error_spectrum(made: Tensor, target: Tensor) -> dict[str, AxisSpectrum]:
    """Power of the error and of the images by frequency along each axis, the other axis summed up.

    Args:
        made: float [N, C, H, W] in [-1, 1].
        target: The same shape and range.

    Returns:
        "time" (along W) and "doppler" (along H). Frequencies of either sign count together, and by Parseval's theorem
        the powers of the error sum up to its mean square.
    """
    powers = [
        torch.fft.fft2(values.double(), norm="forward").abs().square().mean(dim=(0, 1))  # [H, W]
        for values in (made - target, target)
    ]
    spectra = {}
    for axis, summed_dim in (("time", 0), ("doppler", 1)):
        error, image = (_fold(power.sum(dim=summed_dim)) for power in powers)
        size = powers[0].shape[1 - summed_dim]
        spectra[axis] = AxisSpectrum([k / size for k in range(len(error))], error.tolist(), image.tolist())
    return spectra


def thumbnail(images: Tensor, height: int, width: int) -> Tensor:
    """Images [N, C, H, W] averaged down to [height, width] and smoothly back up: what a first stage must be above."""
    small = F.interpolate(images, size=(height, width), mode="area")
    return F.interpolate(small, size=images.shape[-2:], mode="bicubic", align_corners=False).clamp(-1, 1)


def codebook_numbers(vqvae: VQModel, latents: Tensor) -> dict[str, float]:
    """`size`, `use` (share of the codes in use) and `perplexity` over latents float32 [N, D, h, w] on the CPU."""
    codebook = vqvae.quantize.embedding.weight.detach().cpu()
    codes = nearest_codes(latents, codebook)
    use, perplexity = codebook_usage(torch.bincount(codes.flatten(), minlength=len(codebook)))
    return {"size": len(codebook), "use": use, "perplexity": perplexity}


@torch.no_grad()
def latent_numbers(model: FirstStageModel, pixels: Tensor, latents: Tensor) -> dict[str, Any]:
    """`shape` [D, h, w], `mean` and `deviation` of each channel, and of an AutoencoderKL `posterior_deviation`.

    That is the root mean square of the deviations that the encoder gives each channel, in deviations of the channel:
    near 0 the latents are a plain autoencoder's, at 1 and above the channel says nothing.
    """
    deviation = latents.std(dim=(0, 2, 3))
    numbers: dict[str, Any] = {
        "shape": list(latents.shape[1:]),
        "mean": latents.mean(dim=(0, 2, 3)).tolist(),
        "deviation": deviation.tolist(),
    }
    if not isinstance(model, VQModel):
        device = next(model.parameters()).device
        variances = torch.cat(
            [latent_distribution(model, to_model(part).to(device)).var.cpu() for part in pixels.split(16)]
        )
        numbers["posterior_deviation"] = (variances.mean(dim=(0, 2, 3)).sqrt() / deviation).tolist()
    return numbers


def verdict(scores: dict[str, Any], num_users: int) -> dict[str, Any]:
    """Whether a first stage is good enough to train a second one on.

    It must be above the thumbnail of its own latents' size, judges must keep MIN_ACCURACY_KEPT of an accuracy on real
    images that is at least twice that of guessing, and a codebook must be in use by MIN_PERPLEXITY_SHARE.

    Args:
        scores: Of `measure`.
        num_users: People to tell apart.

    Returns:
        "good_enough", bool; "sentence"; "checks", a list of {"passed", "says"}.
    """
    accuracy, least = scores["accuracy"], min(1.0, 2 / num_users)
    above = scores["psnr_db"]["mean"] - scores["thumbnail_psnr_db"]
    checks = [
        (
            above > 0,
            f"PSNR is {abs(above):.1f} dB {'above' if above > 0 else 'below'} a thumbnail of the latents' size",
        ),
        (
            accuracy["real"]["mean"] >= least,
            f"judges name {accuracy['real']['mean']:.1%} of real images right, {least:.0%} are needed to judge by",
        ),
        (
            accuracy["kept"]["mean"] >= MIN_ACCURACY_KEPT,
            f"judges keep {accuracy['kept']['mean']:.1%} of their accuracy, {MIN_ACCURACY_KEPT:.0%} are needed",
        ),
    ]
    if (codebook := scores["codebook"]) is not None:
        needed = MIN_PERPLEXITY_SHARE * codebook["size"]
        says = f"perplexity is {codebook['perplexity']:.0f} of {codebook['size']} codes, {needed:.0f} are needed"
        checks.append((codebook["perplexity"] >= needed, says))
    good = all(passed for passed, _ in checks)
    told = "; ".join(says for passed, says in checks if passed == good)
    return {
        "good_enough": good,
        "sentence": f"{'Good' if good else 'Not good'} enough to train a second stage on: {told}.",
        "checks": [{"passed": bool(passed), "says": says} for passed, says in checks],
    }


def _psnr_interval(made: Tensor, target: Tensor) -> dict[str, float]:
    errors = (made.double() - target.double()).square().flatten(1).mean(dim=1)
    _, low, high = bootstrap_interval(errors.numpy(), seed=0)
    return {"mean": psnr(made, target), "low": _psnr_of(high), "high": _psnr_of(low)}


def _psnr_of(error: float) -> float:
    return math.inf if error == 0 else 10 * math.log10(4 / error)


@torch.no_grad()
def _lpips(model: FirstStageModel, made: Tensor, target: Tensor) -> dict[str, float] | None:
    if not perceptual_weights().is_file():
        return None
    device = next(model.parameters()).device
    distance = PerceptualLoss().to(device)
    pairs = zip(made.split(16), target.split(16), strict=True)
    each = torch.cat([distance.distances(a.to(device), b.to(device)).cpu() for a, b in pairs])
    return bootstrap_interval(each.double().numpy(), seed=0)._asdict()


def _over_judges(values: list[float], most: float) -> dict[str, float | None]:
    if len(values) == 1:
        return {"mean": values[0], "low": None, "high": None}
    mean, low, high = mean_interval(values)
    return {"mean": mean, "low": max(0.0, low), "high": min(most, high)}  # Student's t knows no ends of a scale


def _by_user(
    images: Spectrograms,
    id2label: dict[int, str],
    psnr_db: Tensor,
    ssim: Tensor,
    tables: Sequence[tuple[Tensor, Tensor]],
) -> dict[str, dict[str, float]]:
    real, made = (accuracy_by_user(torch.stack(side).sum(0)) for side in zip(*tables, strict=True))
    return {
        label: {
            "images": int((images.users == user).sum()),
            "psnr_db": psnr_db[images.users == user].mean().item(),
            "ssim": ssim[images.users == user].mean().item(),
            "real_accuracy": real[user].item(),
            "reconstruction_accuracy": made[user].item(),
        }
        for user, label in id2label.items()
        if (images.users == user).any()
    }


def _fold(power: Tensor) -> Tensor:
    """Power [L] of an FFT's frequencies as power of their magnitudes, [L // 2 + 1]."""
    size = len(power)
    folded = power[: size // 2 + 1].clone()
    mirrored = power[size // 2 + 1 :].flip(0)  # of 1, 2 ...
    folded[1 : 1 + len(mirrored)] += mirrored
    return folded
