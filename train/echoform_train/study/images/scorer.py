"""The scorer, which selects generated images: a classifier of another kind than the judges and classifiers of a study.

A scorer of a judge's own kind would keep what that judge happens to like. This one shares no layer with convolutional
or recurrent networks: it sees the spectrum over time of each Doppler frequency.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from echoform_train.scoring.classifier_training import check_labelled_images, fit_classifier, shrink
from echoform_train.scoring.judge import augmented_batches
from echoform_train.study.classifiers.training import BATCH_SIZE

# With these, it is as good as a judge on held-out recordings of simulated people.
WIDTH = 96
DROPOUT = 0.3
PEAK_RATE = 2e-3
WEIGHT_DECAY = 0.3
FREQUENCIES = 17
"""Number of lowest frequencies that are used, with the mean; in windows of 3 s they reach 5 Hz."""

_FLOOR = 1e-3


class CadenceScorer(nn.Module):
    """A classifier of cadence-velocity diagrams: logarithms of the spectrum over time of each row of a spectrogram.

    The diagram shows how strongly each Doppler frequency is modulated at each cadence, and does not change if an image
    is rolled in time. Two fully connected layers classify it.

    Source: Björklund et al., "Evaluation of a micro-Doppler classification method on mm-wave data", IEEE RadarCon 2012.

    Args:
        in_channels: 1 for colour-mapped spectrograms, 3 for RGB.
        size: Rows and columns of the images after `shrink`.
        num_users: Number of users.
    """

    def __init__(self, in_channels: int, size: tuple[int, int], num_users: int) -> None:
        super().__init__()
        height, width = size
        inputs = in_channels * height * min(FREQUENCIES, width // 2 + 1)
        self.body = nn.Sequential(
            nn.BatchNorm1d(inputs),
            nn.Dropout(DROPOUT),
            nn.Linear(inputs, WIDTH),
            nn.BatchNorm1d(WIDTH),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(WIDTH, num_users),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits float [B, num_users] of images [B, C, H, W] in [-1, 1]."""
        level = (shrink(image).float() + 1) / 2
        spectrum = torch.fft.rfft(level, dim=-1).abs()[..., :FREQUENCIES] / level.shape[-1]  # [B, C, H, frequencies]
        return self.body((spectrum + _FLOOR).log().flatten(1))


def train_scorer(
    pixels: Tensor, users: Tensor, num_users: int, *, seed: int, train_images: int, device: torch.device | str = "cpu"
) -> CadenceScorer:
    """Train a scorer; the same arguments give the same scorer on the same machine.

    Args:
        pixels: uint8 [N, C, H, W], sides of at least 16 pixels.
        users: int64 [N] in 0..num_users-1.
        num_users: Number of users to tell apart.
        seed: Seed of weights, order and augmentation.
        train_images: Length of the training in images seen.
        device: Where to train.

    Returns:
        The scorer, in eval mode, on `device`.

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_labelled_images(pixels, users, num_users)
    height, width = shrink(torch.zeros(1, *pixels.shape[1:])).shape[-2:]
    return fit_classifier(
        lambda: CadenceScorer(pixels.shape[1], (height, width), num_users),
        augmented_batches(pixels, users, BATCH_SIZE, torch.Generator().manual_seed(seed)),
        steps=train_images // BATCH_SIZE,
        seed=seed,
        peak_rate=PEAK_RATE,
        weight_decay=WEIGHT_DECAY,
        device=device,
    )
