"""How similar reconstructed images are to their originals, and brightness and detail of single images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from echoform_train.engine.errors import UserError

WINDOW = 11
"""Pixels per side of the Gaussian window of SSIM."""
SIGMA = 1.5
"""Standard deviation of that window, pixels."""


def psnr(reconstructed: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio over all images together, decibels; infinite where both are equal.

    Args:
        reconstructed: float, any shape, in [-1, 1], so that the peak is 2.
        target: The same shape and range.

    Raises:
        ValueError: If the shapes differ.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio  # takes seconds to import

    if reconstructed.shape != target.shape:
        raise UserError(f"shapes must be equal, got {list(reconstructed.shape)} and {list(target.shape)}")
    return peak_signal_noise_ratio(reconstructed.double(), target.double(), data_range=2.0).item()


def psnr_each(reconstructed: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, float64 [N], decibels; infinite where both are equal.

    Args:
        reconstructed: float [N, C, H, W] in 0..1, so that the peak is 1.
        target: The same shape and range.

    Raises:
        ValueError: If the shapes differ.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio  # takes seconds to import

    _check_pair(reconstructed, target)
    return peak_signal_noise_ratio(
        reconstructed.double(), target.double(), data_range=1.0, reduction="none", dim=(1, 2, 3)
    ).to(torch.float64)


def ssim_each(reconstructed: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image, float64 [N], at most 1: the mean over channels and pixels.

    Windows are Gaussian, 11 pixels wide with a deviation of 1.5, and lie wholly inside the image; K1 is 0.01, K2 0.03.
    The mean of torchmetrics differs, because it includes a border of reflected pixels; this changes the value of a
    spectrogram by up to 0.1. It also takes 15 times as long in float64. Tests compare this function with the map of
    torchmetrics without that border.

    Source: Wang et al. 2004, IEEE Transactions on Image Processing 13(4), equation 13.

    Args:
        reconstructed: float [N, C, H, W] in 0..1, H and W at least 11.
        target: The same shape and range.

    Raises:
        ValueError: If the shapes differ or are smaller than a window.
    """
    _check_pair(reconstructed, target)
    if min(reconstructed.shape[2:]) < WINDOW:
        raise UserError(f"SSIM needs images of at least {WINDOW} pixels per side, got {list(reconstructed.shape)}")
    a, b = reconstructed.double(), target.double()
    mean_a, mean_b = _gaussian_means(a), _gaussian_means(b)
    variance_a, variance_b = _gaussian_means(a * a) - mean_a**2, _gaussian_means(b * b) - mean_b**2
    covariance = _gaussian_means(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (luminance * structure).flatten(1).mean(dim=1)


def brightness_each(images: Tensor) -> Tensor:
    """Mean of all values of each image, float64 [N], in the unit of the images, float [N, C, H, W]."""
    return images.double().flatten(1).mean(dim=1)


def detail_each(images: Tensor) -> Tensor:
    """Gradient energy of each image, float64 [N]: mean squared difference of neighbouring pixels, both axes summed.

    Args:
        images: float [N, C, H, W], H and W at least 2.
    """
    values = images.double()
    down, across = values.diff(dim=2).square(), values.diff(dim=3).square()
    return down.flatten(1).mean(dim=1) + across.flatten(1).mean(dim=1)


def _gaussian_means(images: Tensor) -> Tensor:
    """Gaussian means of the windows that lie inside, [N, C, H, W] to [N, C, H - 10, W - 10]."""
    offsets = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weights = (-offsets.square() / (2 * SIGMA**2)).exp()
    weights = (weights / weights.sum()).expand(images.shape[1], 1, -1)
    rows = F.conv2d(images, weights[..., None], groups=images.shape[1])
    return F.conv2d(rows, weights[:, :, None], groups=images.shape[1])


def _check_pair(reconstructed: Tensor, target: Tensor) -> None:
    if reconstructed.shape != target.shape or reconstructed.ndim != 4:
        raise UserError(
            "images must be two tensors [N, C, H, W] of one shape, "
            f"got {list(reconstructed.shape)} and {list(target.shape)}"
        )
