"""The judge: a small classifier of users that scores generated spectrograms.

A judge has no part in training, guiding or filtering the generator that it scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor
from tqdm.auto import tqdm

from echoform.spectrogram_resnet import SpectrogramResNet
from echoform_train.data.spectrograms import SpectrogramData, to_model
from echoform_train.engine.errors import UserError
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

# Chosen by the accuracy on held-out recordings of measured and of simulated walkers.
PEAK_RATE = 2e-3
WEIGHT_DECAY = 1.0
GAIN_DEVIATION = 0.1
"""Standard deviation of the random gain around 1; the gain multiplies levels above the floor of the colour scale."""
OFFSET_DEVIATION = 0.05
"""Standard deviation of the random offset of the noise floor, model range."""
MAX_NOISE = 0.05
"""Largest standard deviation of the added white noise, model range."""


class Judge(SpectrogramResNet):
    """A ResNet that classifies the user of a spectrogram, see `SpectrogramResNet`.

    Args:
        in_channels: 1 for colour-mapped spectrograms, 3 for RGB.
        num_users: Number of users.
        width: Channels of the first block; the second and third have two and four times as many.
        num_features: Size of the layer before the last. Small, because the floor of a Fréchet distance grows with it.
    """

    def __init__(self, in_channels: int, num_users: int, *, width: int = 24, num_features: int = 16) -> None:
        super().__init__(in_channels, num_users, width=width, num_features=num_features)

    def features(self, image: Tensor) -> Tensor:
        """Gait features float [B, num_features] of images [B, C, H, W] in [-1, 1].

        Raises:
            UserError: If a side is shorter than 16 pixels.
        """
        if min(image.shape[-2:]) < MIN_SIDE:
            raise UserError(
                f"the judge needs images of at least {MIN_SIDE} pixels per side, "
                f"got {image.shape[-2]}x{image.shape[-1]}"
            )
        return super().features(image)


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
    """Train a judge; the same arguments give the same judge on the same machine.

    Images are augmented by `augment`: never along frequency, as that would change the speed of the walker.

    Args:
        pixels: uint8 [N, C, H, W], sides of at least 16 pixels.
        users: int64 [N] in 0..num_users-1.
        num_users: Number of users to tell apart.
        seed: Seed of weights, order and augmentation.
        train_images: Length of the training in images seen; 24,000 of 64x64 take half a minute on one core.
        batch_size: Images per optimizer step.
        device: Where to train.
        mixed_precision: See `classifier_training.MixedPrecision`.

    Returns:
        The judge, in eval mode, on `device`.

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_labelled_images(pixels, users, num_users)
    if not 2 <= batch_size <= train_images:
        raise UserError(f"batch_size must be in 2..train_images ({train_images}), got {batch_size}")
    return fit_classifier(
        lambda: Judge(pixels.shape[1], num_users),
        augmented_batches(pixels, users, batch_size, torch.Generator().manual_seed(seed)),
        steps=train_images // batch_size,
        seed=seed,
        peak_rate=PEAK_RATE,
        weight_decay=WEIGHT_DECAY,
        device=device,
        mixed_precision=mixed_precision,
    )


def train_judges(
    data: SpectrogramData, seeds: Sequence[int], train_images: int, device: torch.device | str = "cpu"
) -> list[Judge]:
    """Train one judge per seed on the training part of `data`, with a progress bar; see `train_judge`."""
    pixels, users, num_users = data.train.pixels, data.train.users, len(data.id2label)
    return [
        train_judge(pixels, users, num_users, seed=seed, train_images=train_images, device=device)
        for seed in tqdm(seeds, desc="judges", unit="judge")
    ]


def augment(image: Tensor, generator: torch.Generator) -> Tensor:
    """Vary what may differ between two spectrograms of one user: start of the window, gain, noise floor and noise.

    Args:
        image: float32 [B, C, H, W] in [-1, 1], where -1 is the floor of the colour scale.
        generator: CPU generator.

    Returns:
        The same shape and range; each image is rolled in time by a random number of columns, then scaled, shifted and
        given white noise, by amounts of its own.
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
    """User that the judge names for each image: int64 [N] on the CPU, for pixels uint8 [N, C, H, W]."""
    return logits_of(judge, pixels, batch_size).argmax(1)


@torch.inference_mode()
def extract_features(judge: Judge, pixels: Tensor, batch_size: int = 256) -> Tensor:
    """The judge's features of each image: float32 [N, num_features] on the CPU, for pixels uint8 [N, C, H, W]."""
    return torch.cat([judge.features(part).cpu() for part in inference_batches(judge, pixels, batch_size)])


def accuracy(judge: Judge, pixels: Tensor, users: Tensor) -> float:
    """Share of images uint8 [N, C, H, W] whose user, int64 [N], the judge names, 0..1."""
    check_labelled_images(pixels, users, judge.num_users)
    return (predict(judge, pixels) == users).double().mean().item()


def confusion(judge: Judge, pixels: Tensor, users: Tensor) -> Tensor:
    """Number of images by their user (row) and the user that the judge names (column), int64 [num_users, num_users]."""
    check_labelled_images(pixels, users, judge.num_users)
    cells = users * judge.num_users + predict(judge, pixels)
    return torch.bincount(cells, minlength=judge.num_users**2).view(judge.num_users, judge.num_users)


def accuracy_by_user(table: Tensor) -> Tensor:
    """Share of each user's images that the judge names right, float64 [num_users]; NaN for a user without images.

    Args:
        table: What `confusion` returns, or the sum of several.
    """
    return table.diagonal() / table.sum(1).double()


def augmented_batches(
    pixels: Tensor, users: Tensor, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches without end: augmented images in model range at the judge's size, and their users."""
    images = torch.cat([shrink(to_model(part)) for part in pixels.split(256)])
    order = shuffled_indices(len(images), generator)
    while True:
        chosen = torch.tensor(list(islice(order, batch_size)))
        yield augment(images[chosen], generator), users[chosen]
