"""A small ResNet that tells from a spectrogram who walks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_SIDE = 64
"""Pixels per side above which images are averaged down before a classifier sees them."""
MIN_SIDE = 16
"""Fewest pixels per side of an image."""
# Chosen on validation images; numbers in benchmarks/EXPERIMENTS.md.
RESNET_WIDTH = 16
RESNET_FEATURES = 64

_BANDS = 8


class SpectrogramResNet(nn.Module):
    """A ResNet of three blocks that classifies the user of a spectrogram.

    Images of more than 64 pixels per side are averaged down to 64 first, which makes it fast and blind to finer
    texture. The output of the convolutions is pooled over time, in each of 8 bands of Doppler frequency, to its mean
    and its standard deviation, which shows how strongly limbs swing. Bands are kept apart, because the same shape at
    another Doppler frequency is another speed.

    Args:
        in_channels: 1 for colour-mapped spectrograms, 3 for RGB.
        num_users: Number of users.
        width: Channels of the first block; the second and third have two and four times as many.
        num_features: Size of the layer before the last.
    """

    def __init__(
        self, in_channels: int, num_users: int, *, width: int = RESNET_WIDTH, num_features: int = RESNET_FEATURES
    ) -> None:
        super().__init__()
        self.num_users = num_users
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            _Block(width, width, stride=1),
            _Block(width, 2 * width, stride=2),
            _Block(2 * width, 4 * width, stride=2),
        )
        self.neck = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(2 * 4 * width * _BANDS, num_features), nn.BatchNorm1d(num_features)
        )
        self.head = nn.Linear(num_features, num_users)

    def features(self, image: Tensor) -> Tensor:
        """Gait features float [B, num_features] of images [B, C, H, W] in [-1, 1].

        Raises:
            ValueError: If a side is shorter than 16 pixels.
        """
        if min(image.shape[-2:]) < MIN_SIDE:
            raise ValueError(
                f"images must have at least {MIN_SIDE} pixels per side, got {image.shape[-2]}x{image.shape[-1]}"
            )
        hidden = self.body(shrink(image)).float()  # [B, 4 width, H / 8, W / 8]
        mean = F.adaptive_avg_pool2d(hidden, (_BANDS, 1))
        variance = F.adaptive_avg_pool2d(hidden.square(), (_BANDS, 1)) - mean.square()
        # The gradient of the root is infinite at 0; the floor keeps it finite for a map that is constant in time.
        deviation = variance.clamp(min=1e-4).sqrt()
        return self.neck(torch.cat([mean, deviation], dim=1).flatten(1).to(self.head.weight.dtype))

    def forward(self, image: Tensor) -> Tensor:
        """Logits float [B, num_users] of images [B, C, H, W] in [-1, 1]."""
        return self.head(self.features(image))


class _Block(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            # Averaging, unlike a strided 1x1 convolution, skips no pixel; ceil_mode keeps an odd last row.
            pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
            self.shortcut = nn.Sequential(pool, nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def forward(self, hidden: Tensor) -> Tensor:
        return F.relu(self.residual(hidden) + self.shortcut(hidden))


def shrink(image: Tensor) -> Tensor:
    """Average images [B, C, H, W] over blocks of pixels so that at most 64 per side are left; smaller ones are kept."""
    height, width = image.shape[-2:]
    if max(height, width) <= MAX_SIDE:
        return image
    return F.adaptive_avg_pool2d(image, (min(height, MAX_SIDE), min(width, MAX_SIDE)))
