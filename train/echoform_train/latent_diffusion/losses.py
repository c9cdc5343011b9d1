"""Losses of the first stages, each a function of images in model range, and the discriminator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def spectral_loss(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of log-amplitude spectra; it keeps fine texture, which L1 and L2 losses average away.

    The logarithm keeps the few large amplitudes at low frequencies from outweighing all others. Source: Jiang et al.,
    "Focal frequency loss", ICCV 2021, without its adaptive weights.

    Args:
        reconstruction: float [B, C, H, W] in [-1, 1].
        target: The same shape and range.

    Returns:
        Scalar, 0 for equal images.
    """
    amplitudes = [torch.fft.rfft2(image.float(), norm="ortho").abs() for image in (reconstruction, target)]
    return F.l1_loss(torch.log1p(amplitudes[0]), torch.log1p(amplitudes[1]))


def share_limit(part: Tensor, others: Tensor, max_share: float) -> Tensor:
    """Largest factor in (0, 1] that scales a part of a loss to at most `max_share` of the whole.

    Args:
        part: Scalar, not negative.
        others: Sum of the other parts, scalar, not negative.
        max_share: In (0, 1]; 1 sets no limit.

    Returns:
        Scalar f without a gradient: the largest with f * part <= max_share * (f * part + others).
    """
    allowed, needed = max_share * others.detach(), (1 - max_share) * part.detach()
    return torch.where(needed > allowed, allowed / needed, torch.ones_like(needed))


class PatchDiscriminator(nn.Module):
    """PatchGAN of Isola et al. (CVPR 2017): one logit per patch of 70x70 pixels, which is cut off at the borders."""

    def __init__(self, in_channels: int, width: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 2, 1),
            nn.GroupNorm(8, 4 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 4, 1, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, 1, h, w] for images [B, C, H, W] in [-1, 1]; positive means real."""
        return self.net(image)


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Hinge loss of the discriminator (Lim and Ye, 2017)."""
    return 0.5 * (F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean())
