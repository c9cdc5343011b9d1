"""Scores of a convolutional autoencoder on held-out images: error, structure, brightness and detail."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from echoform.conv_autoencoder import ConvAutoencoder
from echoform_train.conv.reconstruction import decode_latents_alone, num_pooling_indices, reconstruct_batches
from echoform_train.data.facts import ImageFacts
from echoform_train.data.images import ImageData, Images, image_facts
from echoform_train.engine.errors import UserError
from echoform_train.engine.evaluation import evaluation_mode
from echoform_train.scoring.image_quality import brightness_each, detail_each, ssim_each
from echoform_train.scoring.intervals import Interval, bootstrap_sums, percentile_ends

BLOCK_SIZE = 10
"""Largest number of consecutive images that the bootstrap draws together."""
MIN_BLOCKS = 20
"""Smallest number of blocks; with few images the blocks are made smaller to reach it."""
RESAMPLES = 1000


class ImageScores(TypedDict):
    """Scores of one test image."""

    file: str
    psnr_db: float
    ssim: float
    brightness_in: float
    """Mean of the input, 0..1."""
    brightness_out: float
    """Mean of the reconstruction, 0..1."""
    detail_in: float
    """Gradient energy of the input."""
    detail_out: float
    """Gradient energy of the reconstruction."""


class ScoreSettings(TypedDict):
    """What the scores were measured on."""

    images: int
    """Number of test images."""
    interval_over: str
    """Unit that the bootstrap resamples: "images" or "blocks of ... images"."""
    numbers: int
    """Number of values in the latents of an image."""
    values_of_an_image: int
    bits_around_the_latents: int
    """Bits of the pooling indices that bypass the latents of an image; 0 if the decoder does not unpool."""
    data: ImageFacts


@dataclass(frozen=True, repr=False)
class ConvScores:
    """Scores of a model and of simpler methods."""

    methods: dict[str, dict[str, Interval]]
    """Keys: name of the method, then name of the score.

    Methods: model; alone (the latents without pooling indices, if the decoder unpools); mean (the mean training image);
    resized (the image shrunk to as many values as the latents have, then enlarged; only if that is smaller).
    Scores: psnr_db over all images; ssim; brightness_shift, mean change of brightness in units of 1/255; detail_kept,
    ratio of the gradient energy of all reconstructions to that of all inputs.
    """
    images: list[ImageScores]
    """Scores of the model on each test image."""
    settings: ScoreSettings

    def __repr__(self) -> str:
        """The table that the command prints."""
        from echoform_train.conv.score_table import table_lines  # it imports this module

        return "\n".join(table_lines(self))

    def to_json(self) -> dict[str, Any]:
        """Content of scores.json."""
        return {
            "methods": {
                method: {name: interval._asdict() for name, interval in scores.items()}
                for method, scores in self.methods.items()
            },
            "images": self.images,
            "settings": self.settings,
        }


@dataclass(frozen=True)
class Measurements:
    """What was measured of each image, float64 [N], before it is summarised."""

    squared_error: Tensor
    """Mean squared error, of pixels in 0..1."""
    ssim: Tensor
    brightness: tuple[Tensor, Tensor]
    """Mean of the input and of the reconstruction, 0..1."""
    detail: tuple[Tensor, Tensor]
    """Gradient energy of the input and of the reconstruction."""


def score_model(model: ConvAutoencoder, data: ImageData) -> tuple[ConvScores, Measurements]:
    """Measure a model and simpler methods on the test images.

    Args:
        model: On any device.
        data: Images at the size and with the channels of the model.

    Returns:
        The scores, each with a 95 % bootstrap interval, and the measurements of the model for figures.

    Raises:
        ValueError: If there are no test images, or they are smaller than a window of SSIM.
    """
    if not len(data.test):
        raise UserError(f"scoring needs test images, the split of {data.source} has none")
    measurements = _measure_methods(model, data)
    groups, interval_over = bootstrap_groups(len(data.test))
    scores = ConvScores(
        methods={name: _summarise(of_method, groups) for name, of_method in measurements.items()},
        images=_image_scores(data.test, measurements["model"]),
        settings={
            "images": len(data.test),
            "interval_over": interval_over,
            "numbers": math.prod(model.latent_shape),
            "values_of_an_image": data.test.pixels[0].numel(),
            # A pooling index is one of four positions, which takes two bits.
            "bits_around_the_latents": 2 * num_pooling_indices(model),
            "data": image_facts(data),
        },
    )
    return scores, measurements["model"]


def bootstrap_groups(count: int) -> tuple[np.ndarray, str]:
    """Group of each image, int64 [N], and the name of such a group; the bootstrap resamples whole groups.

    Groups are blocks of consecutive images, because neighbours may be windows of one recording or frames of one video.
    """
    block_size = max(1, min(BLOCK_SIZE, count // MIN_BLOCKS))
    return np.arange(count) // block_size, "images" if block_size == 1 else f"blocks of {block_size} images"


def _measure_methods(model: ConvAutoencoder, data: ImageData) -> dict[str, Measurements]:
    """Measure each method on all test images, batch by batch, so that reconstructions are not kept in memory."""
    device = next(model.parameters()).device
    mean_image = data.train.pixels.double().mean(dim=0).float().to(device) / 255
    # Side of a square image with as many values as the latents.
    side = round(math.sqrt(math.prod(model.latent_shape) / data.test.pixels.shape[1]))
    parts: dict[str, list[Measurements]] = {}
    with evaluation_mode(model):
        for batch in reconstruct_batches(model, data.test.pixels):
            target = model.to_unit(batch.images)
            reconstructions = {"model": model.to_unit(batch.reconstructed), "mean": mean_image.expand_as(target)}
            if num_pooling_indices(model):
                reconstructions["alone"] = decode_latents_alone(model, batch.latents)
            if 1 <= side < target.shape[-1]:
                reconstructions["resized"] = _shrink_and_enlarge(target, side)
            for name, images in reconstructions.items():
                parts.setdefault(name, []).append(_measure(images, target))
    return {name: _concatenate(of_method) for name, of_method in parts.items()}


def _measure(reconstructed: Tensor, target: Tensor) -> Measurements:
    return Measurements(
        squared_error=(reconstructed.double() - target.double()).square().flatten(1).mean(dim=1).cpu(),
        ssim=ssim_each(reconstructed, target).cpu(),
        brightness=(brightness_each(target).cpu(), brightness_each(reconstructed).cpu()),
        detail=(detail_each(target).cpu(), detail_each(reconstructed).cpu()),
    )


def _concatenate(parts: list[Measurements]) -> Measurements:
    def pair(name: str) -> tuple[Tensor, Tensor]:
        of_input, of_output = zip(*(getattr(part, name) for part in parts), strict=True)
        return torch.cat(of_input), torch.cat(of_output)

    return Measurements(
        squared_error=torch.cat([part.squared_error for part in parts]),
        ssim=torch.cat([part.ssim for part in parts]),
        brightness=pair("brightness"),
        detail=pair("detail"),
    )


def _summarise(measured: Measurements, groups: np.ndarray) -> dict[str, Interval]:
    """Scores over all images with their 95 % percentile bootstrap intervals."""
    one = torch.ones_like(measured.squared_error)
    brightness_shift = 255 * (measured.brightness[1] - measured.brightness[0])
    # Each score is a ratio of two sums over images, which the bootstrap resamples together.
    ratios = {
        "psnr_db": (measured.squared_error, one),
        "ssim": (measured.ssim, one),
        "brightness_shift": (brightness_shift, one),
        "detail_kept": (measured.detail[1], measured.detail[0]),
    }
    scores = {}
    for name, (numerator, denominator) in ratios.items():
        columns = torch.stack([numerator, denominator], dim=1).numpy()
        sums = np.vstack([columns.sum(axis=0), bootstrap_sums(columns, groups, seed=0, resamples=RESAMPLES)])
        values = sums[:, 0] / np.maximum(sums[:, 1], 1e-12)
        if name == "psnr_db":
            values = -10 * np.log10(np.maximum(values, 1e-12))
        scores[name] = Interval(float(values[0]), *percentile_ends(values[1:]))
    return scores


def _image_scores(images: Images, measured: Measurements) -> list[ImageScores]:
    psnr_db = -10 * measured.squared_error.clamp(min=1e-12).log10()
    return [
        {
            "file": file,
            "psnr_db": float(psnr_db[index]),
            "ssim": float(measured.ssim[index]),
            "brightness_in": float(measured.brightness[0][index]),
            "brightness_out": float(measured.brightness[1][index]),
            "detail_in": float(measured.detail[0][index]),
            "detail_out": float(measured.detail[1][index]),
        }
        for index, file in enumerate(images.files)
    ]


def _shrink_and_enlarge(images: Tensor, side: int) -> Tensor:
    """Images float [B, C, H, W] in 0..1 shrunk to `side` x `side` pixels and enlarged to their own size again."""
    small = F.interpolate(images, size=(side, side), mode="bicubic", antialias=True)
    return F.interpolate(small, size=images.shape[2:], mode="bicubic").clamp(0, 1)
