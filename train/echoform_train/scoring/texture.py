"""Texture of sets of images, by their power spectra: share of fine detail, and distance of mean spectra."""

from __future__ import annotations

import torch
from torch import Tensor

from echoform_train.engine.errors import UserError
from echoform_train.scoring.scores import ComparedSpectrum

FINE = 0.25
"""Spatial frequency above which detail counts as fine, cycles per pixel along either axis; the highest is 0.5."""


_LEAST_DB = -80.0
"""What has less energy than this is shown as this: it is rounding, not detail."""


def compare_spectra(real: Tensor, generated: Tensor) -> dict[str, ComparedSpectrum]:
    """Mean spectra of two sets of images, along "time" (W) and along "doppler" (H), summed over the other axis.

    Args:
        real: float [N, C, H, W], N > 0.
        generated: float [M, C, H, W] of the same size, M > 0.

    Raises:
        ValueError: If a set is empty, or all real images are constant.
    """
    powers = [mean_spectrum(images) for images in (real, generated)]
    total = powers[0].sum()
    if total == 0:
        raise UserError("images must not all be constant, they have no detail")
    found: dict[str, ComparedSpectrum] = {}
    for axis, summed_dim in (("time", 0), ("doppler", 1)):
        size = powers[0].shape[1 - summed_dim]
        lines = [fold_spectrum(power.sum(dim=summed_dim))[1:] / total for power in powers]
        real_db, generated_db = ((10 * torch.log10(line)).clamp(min=_LEAST_DB).tolist() for line in lines)
        frequencies = [k / size for k in range(1, len(real_db) + 1)]
        found[axis] = {"cycles_per_pixel": frequencies, "real_db": real_db, "generated_db": generated_db}
    return found


def fold_spectrum(power: Tensor) -> Tensor:
    """Power [L] in the order of an FFT to power by absolute frequency, [L // 2 + 1]."""
    size = len(power)
    folded = power[: size // 2 + 1].clone()
    negative = power[size // 2 + 1 :].flip(0)  # frequencies -1, -2, ...
    folded[1 : 1 + len(negative)] += negative
    return folded


def fine_energy_share(level: Tensor) -> float:
    """Share of the images' energy, without their means, that lies above FINE along either axis, 0..1.

    Args:
        level: float [N, C, H, W], N > 0.

    Raises:
        ValueError: If there is no image, or all images are constant.
    """
    power = mean_spectrum(level)
    height, width = power.shape
    rows = torch.fft.fftfreq(height).abs()[:, None]
    columns = torch.fft.fftfreq(width).abs()[None]
    total = power.sum()
    if total == 0:
        raise UserError("images must not all be constant, they have no detail")
    return float(power[(rows > FINE) | (columns > FINE)].sum() / total)


def log_spectral_distance_db(a: Tensor, b: Tensor) -> float:
    """Root of the mean squared difference of two mean power spectra in decibels, over all spatial frequencies.

    The mean spectrum of N images is uncertain by 4.3 / sqrt(N) decibels per frequency, so compare only values of sets
    of the same size.

    Args:
        a: float [N, C, H, W], N > 0.
        b: float [M, C, H, W] of the same size.

    Raises:
        ValueError: If a set is empty, or the sizes differ.
    """
    if a.shape[1:] != b.shape[1:]:
        raise UserError(f"images must be of one size, got {list(a.shape[1:])} and {list(b.shape[1:])}")
    first, second = (mean_spectrum(images).flatten()[1:] for images in (a, b))
    # Energy below a hundred-millionth of the total is rounding, not detail.
    floor = 1e-8 * max(first.sum(), second.sum())
    return float((10 * torch.log10((first + floor) / (second + floor))).square().mean().sqrt())


def mean_spectrum(level: Tensor) -> Tensor:
    """Mean power spectrum of images without their means, float64 [H, W], frequencies as torch.fft.fft2 orders them.

    Raises:
        ValueError: If there is no image.
    """
    if level.ndim != 4 or len(level) == 0:
        raise UserError(f"images must be [N, C, H, W] with N > 0, got {list(level.shape)}")
    # In parts, as complex spectra of all images at once would take 16 bytes per pixel.
    total = torch.zeros(level.shape[-2:], dtype=torch.float64)
    for part in level.double().split(256):
        centred = part - part.mean(dim=(-2, -1), keepdim=True)
        total += torch.fft.fft2(centred, norm="ortho").abs().square().sum(dim=(0, 1))
    return total / (len(level) * level.shape[1])
