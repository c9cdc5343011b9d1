"""Two-sample test by a classifier: can a small network tell generated or simulated images from measured ones?

Judges tell users apart and average the texture away; this network sees nothing but the texture and shape of one image.

Source: Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, ICLR 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor, nn

from echoform_train.data.spectrograms import to_model
from echoform_train.scoring.classifier_training import (
    check_labelled_images,
    fit_classifier,
    logits_of,
    shrink,
    shuffled_indices,
)

TRAIN_IMAGES = 6_400
"""Images that the network sees in training, half of each kind. With much fewer the network has not learned what there
is to see, and the score flatters."""
BATCH_SIZE = 32
PEAK_RATE = 4e-3
WEIGHT_DECAY = 1e-2


class TextureNetwork(nn.Module):
    """A convolutional network of four stages that answers which of two sets an image belongs to.

    The first stage keeps every pixel, so that speckle and the edges of native cells are seen. Images of more than 64
    pixels per side are averaged down to 64 first.

    Args:
        in_channels: 1 for colour-mapped spectrograms, 3 for RGB.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        widths = (16, 24, 32, 64)
        layers: list[nn.Module] = []
        for index, width in enumerate(widths):
            before = widths[index - 1] if index else in_channels
            layers += [
                nn.Conv2d(before, width, 3, stride=2 if index else 1, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], 2)

    def forward(self, image: Tensor) -> Tensor:
        """Logits float [B, 2] of images [B, C, H, W] in [-1, 1]."""
        return self.head(self.body(shrink(image)))


def two_sample_auc(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    seed: int,
    train_images: int = TRAIN_IMAGES,
    device: torch.device | str = "cpu",
) -> float:
    """Area under the ROC curve with which a network tells two sets of images apart, on images it did not see.

    Both sets are seen equally often in training, whatever their sizes. Images are rolled in time at random, since a
    walk may start anywhere; nothing else is varied, as noise would hide the texture.

    Args:
        train: Images of the first and of the second set to learn from, uint8 [N, C, H, W] and [M, C, H, W].
        test: Other images of both sets. They must share no recording with those of `train`.
        seed: Seed of weights, order and rolls.
        train_images: Length of the training in images seen.
        device: Where to train.

    Returns:
        0.5 if the sets cannot be told apart, 1 if they are told apart without a mistake.

    Raises:
        ValueError: If a set is empty or images have unlike shapes.
    """
    for pixels in (*train, *test):
        check_labelled_images(pixels, torch.zeros(len(pixels), dtype=torch.int64), 1)
    network = fit_classifier(
        lambda: TextureNetwork(train[0].shape[1]),
        _batches(train, torch.Generator().manual_seed(seed)),
        steps=train_images // BATCH_SIZE,
        seed=seed,
        peak_rate=PEAK_RATE,
        weight_decay=WEIGHT_DECAY,
        device=device,
    )
    first, second = (logits_of(network, pixels).diff(dim=1).flatten().numpy() for pixels in test)
    return float(mannwhitneyu(second, first).statistic / (len(first) * len(second)))


def halves_in_time(users: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two halves of images, [N / 2] each: of each user, one span of time and the rest.

    Args:
        users: User of each image, int [N], in the order of time for each user.
        rng: Draws where the span begins; it may wrap around the end.
    """
    rolled = [
        np.roll(indices, rng.integers(1 << 16))
        for indices in (np.flatnonzero(users == user) for user in np.unique(users))
    ]
    return (
        np.concatenate([indices[: len(indices) // 2] for indices in rolled]),
        np.concatenate([indices[len(indices) // 2 :] for indices in rolled]),
    )


def _batches(sets: tuple[Tensor, Tensor], generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches without end: as many images of each set, rolled in time, and the index of their set."""
    images = [torch.cat([shrink(to_model(part)) for part in pixels.split(256)]) for pixels in sets]
    orders = [shuffled_indices(len(each), generator) for each in images]
    half = BATCH_SIZE // 2
    labels = torch.arange(2).repeat_interleave(half)
    while True:
        batch = torch.cat(
            [each[torch.tensor(list(islice(order, half)))] for each, order in zip(images, orders, strict=True)]
        )
        width = batch.shape[-1]
        shift = torch.randint(width, (len(batch), 1), generator=generator)
        columns = (torch.arange(width) + shift) % width  # [B, W]
        yield batch.gather(3, columns[:, None, None].expand_as(batch)), labels
