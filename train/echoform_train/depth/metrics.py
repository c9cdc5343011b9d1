"""Errors of reconstructed depth images: sums per image, metrics from sums over many images, and their intervals.

Only pixels with a reading count. A metric is computed from sums over all pixels of all images, not as a mean over
images, so that an image with few readings has little weight. Intervals come from resampling whole images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from echoform_train.engine.errors import UserError
from echoform_train.scoring.intervals import Interval, bootstrap_sums, percentile_ends, share_interval

EDGE_RATIO = 1.05
"""Two neighbouring pixels form a depth edge if the ratio of their depths is at least this."""


@dataclass(frozen=True)
class ImageSums:
    """Sums over the pixels of each image from which the metrics are computed; float64 [N] each."""

    pixels: np.ndarray
    """Number of pixels with a reading, which are the valid pixels."""
    absolute_mm: np.ndarray
    squared_mm2: np.ndarray
    relative: np.ndarray
    """Sum of |error| / depth."""
    within_105: np.ndarray
    """Number of valid pixels whose depth is wrong by a factor of less than 1.05."""
    within_125: np.ndarray
    edges: np.ndarray
    """Number of pixels at a depth edge of the target."""
    edges_found: np.ndarray
    """Number of pixels of `edges` that are at most one pixel away from an edge of the reconstruction."""
    edges_predicted: np.ndarray
    """Number of pixels at a depth edge of the reconstruction."""
    edges_correct: np.ndarray
    """Number of pixels of `edges_predicted` that are at most one pixel away from an edge of the target."""
    valid_both: np.ndarray | None = None
    """Number of pixels that are valid in the target and predicted to be; None if there is no prediction."""
    valid_either: np.ndarray | None = None
    """Number of pixels that are valid in the target or predicted to be; None if there is no prediction."""

    def __len__(self) -> int:
        return len(self.pixels)


def image_sums(
    reconstruction_mm: Tensor, target_mm: Tensor, valid: Tensor, predicted_valid: Tensor | None = None
) -> ImageSums:
    """Sum the errors of each image.

    Args:
        reconstruction_mm: float [N, 1, H, W], millimetres; any value where `valid` is false.
        target_mm: float [N, 1, H, W], millimetres; above 0 where `valid` is true.
        valid: Where the target has a reading, bool [N, 1, H, W].
        predicted_valid: Where the model predicts a reading, bool [N, 1, H, W].

    Raises:
        ValueError: If shapes differ, or a valid target is not above 0.
    """
    if not reconstruction_mm.shape == target_mm.shape == valid.shape or target_mm.ndim != 4:
        raise UserError(
            "reconstruction, target and validity must have one shape [N, 1, H, W], "
            f"got {list(reconstruction_mm.shape)}, {list(target_mm.shape)} and {list(valid.shape)}"
        )
    valid = valid.bool()
    # Invalid pixels become 1 mm in both images, so that they add no error, no edge and no division by zero.
    target = torch.where(valid, target_mm.double(), 1.0)
    reconstruction = torch.where(valid, reconstruction_mm.double(), 1.0)
    if (target <= 0).any():
        raise UserError(f"a valid depth must be above 0 mm, got {target.min().item()}")
    error = reconstruction - target
    ratio = torch.maximum(reconstruction / target, target / reconstruction.clamp(min=1e-9))
    target_edges, predicted_edges = depth_edges(target, valid), depth_edges(reconstruction, valid)
    validity = {}
    if predicted_valid is not None:
        predicted = predicted_valid.bool()
        validity = {"valid_both": _per_image(predicted & valid), "valid_either": _per_image(predicted | valid)}
    return ImageSums(
        pixels=_per_image(valid),
        absolute_mm=_per_image(error.abs()),
        squared_mm2=_per_image(error.square()),
        relative=_per_image(error.abs() / target),
        within_105=_per_image(valid & (ratio < 1.05)),
        within_125=_per_image(valid & (ratio < 1.25)),
        edges=_per_image(target_edges),
        edges_found=_per_image(target_edges & _dilate(predicted_edges)),
        edges_predicted=_per_image(predicted_edges),
        edges_correct=_per_image(predicted_edges & _dilate(target_edges)),
        **validity,
    )


def depth_edges(depth: Tensor, valid: Tensor, ratio: float = EDGE_RATIO) -> Tensor:
    """Find depth edges: valid pixels next to a valid pixel (left, right, above, below) of very different depth.

    Args:
        depth: float [N, 1, H, W], any unit, above 0 where valid.
        valid: bool [N, 1, H, W].
        ratio: Smallest ratio of two depths at an edge, above 1. A ratio is used because sensor noise grows with depth.

    Returns:
        bool [N, 1, H, W].
    """
    depth = depth.clamp(min=1e-9)
    edges = torch.zeros_like(valid, dtype=torch.bool)
    for axis in (-1, -2):
        size = depth.shape[axis]
        one, other = depth.narrow(axis, 0, size - 1), depth.narrow(axis, 1, size - 1)
        both = valid.narrow(axis, 0, size - 1) & valid.narrow(axis, 1, size - 1)
        jumps = both & (torch.maximum(one / other, other / one) >= ratio)
        edges.narrow(axis, 0, size - 1).logical_or_(jumps)
        edges.narrow(axis, 1, size - 1).logical_or_(jumps)
    return edges


def rmse_mm(sums: ImageSums) -> float:
    """Root of the mean squared error over all valid pixels, millimetres."""
    return float(np.sqrt(sums.squared_mm2.sum() / sums.pixels.sum()))


def mae_mm(sums: ImageSums) -> float:
    """Mean absolute error over all valid pixels, millimetres."""
    return float(sums.absolute_mm.sum() / sums.pixels.sum())


def abs_rel(sums: ImageSums) -> float:
    """Mean of |error| / depth over all valid pixels."""
    return float(sums.relative.sum() / sums.pixels.sum())


def delta_105(sums: ImageSums) -> float:
    """Share of valid pixels whose depth is wrong by a factor of less than 1.05; 0..1."""
    return float(sums.within_105.sum() / sums.pixels.sum())


def delta_125(sums: ImageSums) -> float:
    """Share of valid pixels whose depth is wrong by a factor of less than 1.25; 0..1."""
    return float(sums.within_125.sum() / sums.pixels.sum())


def edge_f1(sums: ImageSums) -> float:
    """F1 score of depth edges with a tolerance of one pixel, 0..1; 1 if neither image has an edge.

    Source: the boundary measure of Martin et al., PAMI 2004.
    """
    if sums.edges.sum() == 0 and sums.edges_predicted.sum() == 0:
        return 1.0
    recall = sums.edges_found.sum() / max(1, sums.edges.sum())
    precision = sums.edges_correct.sum() / max(1, sums.edges_predicted.sum())
    return float(2 * recall * precision / (recall + precision)) if recall + precision else 0.0


def validity_iou(sums: ImageSums) -> float:
    """Number of pixels valid in both target and prediction, divided by those valid in either; 0..1.

    Raises:
        ValueError: If there is no predicted validity.
    """
    if sums.valid_both is None or sums.valid_either is None:
        raise UserError("a validity IoU needs predicted validity, there is none")
    return float(sums.valid_both.sum() / sums.valid_either.sum())


def psnr_db(sums: ImageSums, peak_mm: float) -> float:
    """20 log10(peak / RMSE) over all valid pixels, decibels; only comparable for the same peak."""
    error = rmse_mm(sums)
    return float("inf") if error == 0 else float(20 * np.log10(peak_mm / error))


def metric_interval(
    sums: ImageSums,
    metric: Callable[[ImageSums], float],
    groups: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Interval:
    """A metric with its 95 % percentile bootstrap interval.

    Args:
        sums: Of all images.
        metric: One of the functions above.
        groups: Group of each image, int [N]; whole groups are resampled. None: each image is a group of its own.
        seed: Seed of the resampling.
        resamples: Number of resamples.

    Raises:
        ValueError: If there is no valid pixel.
    """
    if sums.pixels.sum() == 0:
        raise UserError("metrics of reconstruction need at least one valid pixel, there is none")
    columns = known_columns(sums)
    drawn = bootstrap_sums(np.stack(list(columns.values()), axis=1), groups, seed, resamples)
    # A resample without any valid pixel has no metric.
    values = [metric(ImageSums(**dict(zip(columns, row[:, None], strict=True)))) for row in drawn if row[0] > 0]
    return Interval(metric(sums), *percentile_ends(values))


def accuracy_interval(
    correct: np.ndarray, groups: np.ndarray | None = None, seed: int = 0, resamples: int = 1000
) -> Interval:
    """Share of correct images with its 95 % percentile bootstrap interval.

    It is at least as wide as that of as many independent images, which has a width also where all are correct.

    Args:
        correct: bool or 0/1 [N].
        groups: As in `metric_interval`.
        seed: Seed of the resampling.
        resamples: Number of resamples.
    """
    columns = np.stack([correct.astype(np.float64), np.ones(len(correct))], axis=1)
    drawn = bootstrap_sums(columns, groups, seed, resamples)
    low, high = percentile_ends(drawn[:, 0] / drawn[:, 1])
    mean, least, most = share_interval([float(correct.mean())], len(correct))
    return Interval(mean, min(low, least), max(high, most))


def known_columns(sums: ImageSums) -> dict[str, np.ndarray]:
    """The sums that are not None, float64 [N], by name; `pixels` is the first."""
    columns = {field.name: getattr(sums, field.name) for field in fields(ImageSums)}
    return {name: values for name, values in columns.items() if values is not None}


def _per_image(values: Tensor) -> np.ndarray:
    """Sum over the pixels of each image, float64 [N]."""
    return values.double().flatten(1).sum(1).cpu().numpy()


def _dilate(mask: Tensor) -> Tensor:
    """A mask extended by the eight neighbours of its pixels."""
    return F.max_pool2d(mask.float(), 3, stride=1, padding=1) > 0
