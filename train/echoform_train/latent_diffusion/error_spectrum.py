"""Spectrum of the error of reconstructed spectrograms: its power by frequency, along time and along Doppler."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from echoform_train.scoring.texture import fold_spectrum


class AxisSpectrum(NamedTuple):
    """Power by frequency along one axis of the images; each power sums up to a mean square over all pixels."""

    cycles_per_pixel: list[float]
    """Frequencies, 0..0.5."""
    error: list[float]
    """Power of the error, in squared model range."""
    image: list[float]
    """Power of the images; nothing is preserved at frequencies where the error reaches it."""


def error_spectrum(reconstructed: Tensor, target: Tensor) -> dict[str, AxisSpectrum]:
    """Power of the error and of the images by frequency along each axis, summed over the other axis.

    Args:
        reconstructed: Reconstructions, float [N, C, H, W] in [-1, 1].
        target: Originals, same shape and range.

    Returns:
        "time" (along W) and "doppler" (along H). Positive and negative frequencies are added up, so that by Parseval's
        theorem the powers of the error sum up to its mean square.
    """
    powers = [
        torch.fft.fft2(values.double(), norm="forward").abs().square().mean(dim=(0, 1))  # [H, W]
        for values in (reconstructed - target, target)
    ]
    spectra = {}
    for axis, summed_dim in (("time", 0), ("doppler", 1)):
        error, image = (fold_spectrum(power.sum(dim=summed_dim)) for power in powers)
        size = powers[0].shape[1 - summed_dim]
        spectra[axis] = AxisSpectrum([k / size for k in range(len(error))], error.tolist(), image.tolist())
    return spectra
