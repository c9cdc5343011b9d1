"""The judge: a small classifier that tells people apart, trained on real spectrograms to score generated ones.

It never has a hand in training, guiding or filtering the generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoform_train.data.spectrograms import to_model
from echoform_train.scoring.classifier_training import (
    MIN_SIDE,
    MixedPrecision,
    check_labelled_images,
    fit_classifier,
    inference_batches,
    logits_of,
    shrink,
    shuffled_indices,
)

# Chosen among some 20 settings by how well people are told apart on later time of real walkers and on simulated ones.
PEAK_RATE = 2e-3
WEIGHT_DECAY = 1.0
GAIN_DEVIATION = 0.1
OFFSET_DEVIATION = 0.05
MAX_NOISE = 0.05

_ROWS = 8


class Judge(nn.Module):
    """A ResNet of three blocks that says whose spectrogram it sees.

    Pictures of more than 64 pixels a side are averaged down to 64 first: that makes it cheap, and blind to finer
    texture. What the convolutions find is summed up over time by its mean and its deviation (how strongly the limbs
    swing), and kept apart in 8 bands of frequency, because the same shape at another Doppler frequency is another
    speed.

    Args:
        in_channels: 1 for colour-mapped spectrograms, 3 for RGB.
        num_users: Number of people.
        width: Channels of the first block; the others have two and four times as many.
        num_features: Size of the last layer but one. Few, because the floor of a Fréchet distance grows with it.
    """

    def __init__(self, in_channels: int, num_users: int, *, width: int = 24, num_features: int = 16) -> None:
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
            nn.Dropout(0.2), nn.Linear(2 * 4 * width * _ROWS, num_features), nn.BatchNorm1d(num_features)
        )
        self.head = nn.Linear(num_features, num_users)

    def features(self, image: Tensor) -> Tensor:
        """Gait features float [B, num_features] of pictures [B, C, H, W] in [-1, 1].

        Raises:
            ValueError: If a side is shorter than 16 pixels.
        """
        if min(image.shape[-2:]) < MIN_SIDE:
            raise ValueError(
                f"the judge needs pictures of at least {MIN_SIDE} pixels a side, "
                f"got {image.shape[-2]}x{image.shape[-1]}"
            )
        hidden = self.body(shrink(image)).float()  # [B, 4 width, H / 8, W / 8]
        mean = F.adaptive_avg_pool2d(hidden, (_ROWS, 1))
        variance = F.adaptive_avg_pool2d(hidden.square(), (_ROWS, 1)) - mean.square()
        # The root has no slope at zero; without the floor, a map that is constant in time would give NaN.
        deviation = variance.clamp(min=1e-4).sqrt()
        return self.neck(torch.cat([mean, deviation], dim=1).flatten(1))

    def forward(self, image: Tensor) -> Tensor:
        """Logits float [B, num_users] of pictures [B, C, H, W] in [-1, 1]."""
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
            # Averaging, unlike a strided 1x1 convolution, drops no pixel; it needs the odd last row as well.
            pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
            self.shortcut = nn.Sequential(pool, nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def forward(self, hidden: Tensor) -> Tensor:
        return F.relu(self.residual(hidden) + self.shortcut(hidden))


def train_judge(
    pixels: Tensor,
    users: Tensor,
    num_users: int,
    *,
    seed: int,
    train_images: int = 24_000,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    mixed_precision: MixedPrecision = "auto",
) -> Judge:
    """Train a judge with AdamW, a warm-up and a cosine to zero; the same seed gives the same judge on the same machine.

    Each picture is rolled in time (a walk has no first second) and gets another gain, noise floor and noise. It is
    never stretched or flipped along frequency: that would make another person's speed of it.

    Args:
        pixels: uint8 [N, C, H, W], sides of at least 16 pixels.
        users: int64 [N] in 0..num_users-1.
        num_users: Number of people to tell apart.
        seed: Of weights, order and augmentation.
        train_images: Images to see, those seen again counted again; 24,000 of 64x64 take half a minute on one core.
        batch_size: Images an optimizer step.
        device: Where to train.
        mixed_precision: Autocast to bf16; "auto" does so where it is measured to be faster.

    Returns:
        The judge, in eval mode, on `device`.

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_labelled_images(pixels, users, num_users)
    if not 2 <= batch_size <= train_images:
        raise ValueError(f"batch_size must be in 2..train_images ({train_images}), got {batch_size}")
    return fit_classifier(
        lambda: Judge(pixels.shape[1], num_users),
        _augmented_batches(pixels, users, batch_size, torch.Generator().manual_seed(seed)),
        steps=train_images // batch_size,
        seed=seed,
        peak_rate=PEAK_RATE,
        weight_decay=WEIGHT_DECAY,
        device=device,
        mixed_precision=mixed_precision,
    )


def augment(image: Tensor, generator: torch.Generator) -> Tensor:
    """What may differ between two spectrograms of one person: the start of the window, gain, noise floor and noise.

    Args:
        image: float32 [B, C, H, W] in [-1, 1], where -1 is the floor of the colour scale.
        generator: CPU generator.

    Returns:
        The same shape and range: each image rolled in time by any number of columns, then scaled, shifted and given
        white noise by amounts of its own.
    """
    batch, _, _, width = image.shape

    def draw(deviation: float) -> Tensor:
        return deviation * torch.randn(batch, 1, 1, 1, generator=generator)

    shift = torch.randint(width, (batch, 1), generator=generator)
    columns = (torch.arange(width) + shift) % width  # [B, W]
    image = image.gather(3, columns[:, None, None].expand_as(image))
    noise = MAX_NOISE * torch.rand(batch, 1, 1, 1, generator=generator) * torch.randn(image.shape, generator=generator)
    return ((image + 1) * (1 + draw(GAIN_DEVIATION)) - 1 + draw(OFFSET_DEVIATION) + noise).clamp(-1, 1)


@torch.inference_mode()
def predict(judge: Judge, pixels: Tensor, batch_size: int = 256) -> Tensor:
    """Whom the judge names: int64 [N] on the CPU for pixels uint8 [N, C, H, W]."""
    return logits_of(judge, pixels, batch_size).argmax(1)


@torch.inference_mode()
def extract_features(judge: Judge, pixels: Tensor, batch_size: int = 256) -> Tensor:
    """The judge's features: float32 [N, num_features] on the CPU for pixels uint8 [N, C, H, W]."""
    return torch.cat([judge.features(part).cpu() for part in inference_batches(judge, pixels, batch_size)])


def accuracy(judge: Judge, pixels: Tensor, users: Tensor) -> float:
    """Share of pictures uint8 [N, C, H, W] whose person, int64 [N], the judge names, 0..1."""
    check_labelled_images(pixels, users, judge.num_users)
    return (predict(judge, pixels) == users).double().mean().item()


def confusion(judge: Judge, pixels: Tensor, users: Tensor) -> Tensor:
    """Pictures by person (row) and by whom the judge names (column): int64 [num_users, num_users]."""
    check_labelled_images(pixels, users, judge.num_users)
    cells = users * judge.num_users + predict(judge, pixels)
    return torch.bincount(cells, minlength=judge.num_users**2).view(judge.num_users, judge.num_users)


def accuracy_by_user(table: Tensor) -> Tensor:
    """Share named right of each person, float64 [num_users], of a table of `confusion`; NaN for who has no picture."""
    return table.diagonal() / table.sum(1).double()


def _augmented_batches(
    pixels: Tensor, users: Tensor, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches without end: augmented images in model range at the judge's size, and their users."""
    images = torch.cat([shrink(to_model(part)) for part in pixels.split(256)])
    order = shuffled_indices(len(images), generator)
    while True:
        chosen = torch.tensor(list(islice(order, batch_size)))
        yield augment(images[chosen], generator), users[chosen]
