"""How well depth images come back: sums over each image, and the numbers that sums of many images make together.

Only pixels with a reading count. Numbers are pooled over all pixels of all images, never means of images' numbers, so
that an image with few readings weighs little; intervals come from resampling whole images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from echoform_train.scoring.intervals import Interval, bootstrap_sums, percentile_ends

EDGE_RATIO = 1.05
"""Neighbours are two sides of an edge where one is at least this much as far as the other."""


@dataclass(frozen=True)
class ImageSums:
    """What each image adds to the pooled numbers; float64 [N] each."""

    pixels: np.ndarray
    """Pixels with a reading."""
    absolute_mm: np.ndarray
    squared_mm2: np.ndarray
    relative: np.ndarray
    """Sum of |error| / depth."""
    within_105: np.ndarray
    """Pixels with max(a / b, b / a) < 1.05."""
    within_125: np.ndarray
    edges: np.ndarray
    """Pixels at a depth edge of the target."""
    edges_found: np.ndarray
    """Of those, the ones with an edge of the reconstruction at most one pixel away."""
    edges_made: np.ndarray
    """Pixels at a depth edge of the reconstruction."""
    edges_right: np.ndarray
    """Of those, the ones with an edge of the target at most one pixel away."""
    valid_both: np.ndarray | None = None
    """Pixels valid in the target and said to be valid by the model; None for what makes no validity."""
    valid_either: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pixels)


def image_sums(
    reconstruction_mm: Tensor, target_mm: Tensor, valid: Tensor, predicted_valid: Tensor | None = None
) -> ImageSums:
    """Sums of each image.

    Args:
        reconstruction_mm: float [N, 1, H, W], millimetres; what stands where `valid` is false does not matter.
        target_mm: The same shape; above 0 where `valid` is true.
        valid: bool [N, 1, H, W], where the target has a reading.
        predicted_valid: bool [N, 1, H, W], where the model says that there is one.

    Raises:
        ValueError: If shapes differ, or a valid target is not above 0.
    """
    if not reconstruction_mm.shape == target_mm.shape == valid.shape or target_mm.ndim != 4:
        raise ValueError(
            "reconstruction, target and validity must have one shape [N, 1, H, W], "
            f"got {list(reconstruction_mm.shape)}, {list(target_mm.shape)} and {list(valid.shape)}"
        )
    valid = valid.bool()
    # 1 mm in both where there is no reading: no error, no edge between two of them, and no division by zero.
    target = torch.where(valid, target_mm.double(), 1.0)
    made = torch.where(valid, reconstruction_mm.double(), 1.0)
    if (target <= 0).any():
        raise ValueError(f"a valid depth must be above 0 mm, got {target.min().item()}")
    error = made - target
    ratio = torch.maximum(made / target, target / made.clamp(min=1e-9))

    def total(values: Tensor) -> np.ndarray:
        return values.double().flatten(1).sum(1).cpu().numpy()

    target_edges, made_edges = depth_edges(target, valid), depth_edges(made, valid)
    validity = {}
    if predicted_valid is not None:
        said = predicted_valid.bool()
        validity = {"valid_both": total(said & valid), "valid_either": total(said | valid)}
    return ImageSums(
        pixels=total(valid),
        absolute_mm=total(error.abs()),
        squared_mm2=total(error.square()),
        relative=total(error.abs() / target),
        within_105=total(valid & (ratio < 1.05)),
        within_125=total(valid & (ratio < 1.25)),
        edges=total(target_edges),
        edges_found=total(target_edges & _grown(made_edges)),
        edges_made=total(made_edges),
        edges_right=total(made_edges & _grown(target_edges)),
        **validity,
    )


def depth_edges(depth: Tensor, valid: Tensor, ratio: float = EDGE_RATIO) -> Tensor:
    """Where depth jumps: valid pixels with a valid neighbour (left, right, above, below) `ratio` times as far or near.

    Args:
        depth: float [N, 1, H, W], any unit, above 0 where valid.
        valid: bool, the same shape.
        ratio: Above 1; relative, because sensors measure so.

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
    """F1 of depth edges, one pixel of tolerance (the boundary measure of Martin et al., PAMI 2004); 0..1.

    1 where neither the target nor the reconstruction has an edge.
    """
    found, made = (
        sums.edges_found.sum() / max(1, sums.edges.sum()),
        sums.edges_right.sum() / max(1, sums.edges_made.sum()),
    )
    if sums.edges.sum() == 0 and sums.edges_made.sum() == 0:
        return 1.0
    return float(2 * found * made / (found + made)) if found + made else 0.0


def validity_iou(sums: ImageSums) -> float:
    """Pixels valid in both target and reconstruction over pixels valid in either; 0..1.

    Raises:
        ValueError: If the sums are of something that makes no validity.
    """
    if sums.valid_both is None or sums.valid_either is None:
        raise ValueError("a validity IoU needs predicted validity, there is none")
    return float(sums.valid_both.sum() / sums.valid_either.sum())


def psnr_db(sums: ImageSums, peak_mm: float) -> float:
    """20 log10(peak / RMSE), dB, over all valid pixels; the peak must be the same for whatever is compared."""
    error = rmse_mm(sums)
    return float("inf") if error == 0 else float(20 * np.log10(peak_mm / error))


def interval(
    sums: ImageSums,
    number: Callable[[ImageSums], float],
    groups: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Interval:
    """A pooled number with its 95 % percentile bootstrap interval.

    Args:
        sums: Of the images.
        number: One of the functions above.
        groups: int [N]; images of one group are drawn together, as befits neighbours in a video. None: each alone.
        seed: Of the resampling.
        resamples: How often.

    Raises:
        ValueError: If there is no valid pixel at all.
    """
    if sums.pixels.sum() == 0:
        raise ValueError("numbers of reconstruction need at least one valid pixel, there is none")
    known = {
        field.name: getattr(sums, field.name) for field in fields(ImageSums) if getattr(sums, field.name) is not None
    }
    columns = np.stack(list(known.values()), axis=1)  # [N, columns]
    drawn = bootstrap_sums(columns, groups, seed, resamples)
    values = [number(ImageSums(**dict(zip(known, row[:, None], strict=True)))) for row in drawn if row[0] > 0]
    return Interval(number(sums), *percentile_ends(values))


def share_interval(
    hits: np.ndarray, groups: np.ndarray | None = None, seed: int = 0, resamples: int = 1000
) -> Interval:
    """Mean of hits (0 or 1, float or bool [N]) with its 95 % percentile bootstrap interval; groups as of `interval`."""
    drawn = bootstrap_sums(np.stack([hits.astype(np.float64), np.ones(len(hits))], axis=1), groups, seed, resamples)
    return Interval(float(hits.mean()), *percentile_ends(drawn[:, 0] / drawn[:, 1]))


def _grown(mask: Tensor) -> Tensor:
    """A mask with its eight neighbours."""
    return F.max_pool2d(mask.float(), 3, stride=1, padding=1) > 0
