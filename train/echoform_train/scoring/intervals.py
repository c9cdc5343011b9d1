"""Means and their 95 % intervals: Student's t over independent values, and the bootstrap over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from echoform_train.engine.errors import UserError


class Interval(NamedTuple):
    """A mean and its 95 % interval, in the unit of the values."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean of independent values, such as one per seed, and its interval by Student's t.

    Raises:
        ValueError: If there are fewer than two values.
    """
    if len(values) < 2:
        raise UserError(f"an interval needs at least two values, got {len(values)}")
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def bootstrap_interval(values: Sequence[float] | np.ndarray, seed: int, resamples: int = 2000) -> Interval:
    """Mean of one value per image, such as 1 for a hit and 0 for a miss, and its percentile bootstrap interval.

    Source: Efron, The Annals of Statistics 7 (1979) 1-26.

    Args:
        values: One per image, [N].
        seed: Seed of the resampling.
        resamples: Number of times that N images are drawn with replacement.

    Raises:
        ValueError: If there is no value.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise UserError(f"values must be a list of at least one number, got shape {list(values.shape)}")
    chosen = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = percentile_ends(values[chosen].mean(1))
    return Interval(float(values.mean()), low, high)


def bootstrap_sums(columns: np.ndarray, groups: np.ndarray | None, seed: int, resamples: int) -> np.ndarray:
    """Bootstrapped sums over images that are resampled in groups, for scores that are ratios of sums.

    Images of one group, such as neighbouring frames of a video, are drawn together. If they were drawn
    independently, the interval would be too narrow.

    Args:
        columns: Contribution of each image to each of K sums, float [N, K].
        groups: Group of each image, int [N]; None makes each image a group.
        seed: Of the resampling.
        resamples: Number of resamplings; each draws as many groups, with replacement, as there are groups.

    Returns:
        float64 [resamples, K].
    """
    group_of_image = np.arange(len(columns)) if groups is None else np.unique(groups, return_inverse=True)[1]
    group_sums = np.zeros((group_of_image.max() + 1, columns.shape[1]))
    np.add.at(group_sums, group_of_image, columns)
    rng = np.random.default_rng(seed)
    # How often each group is drawn, times its contribution.
    counts = rng.multinomial(len(group_sums), np.full(len(group_sums), 1 / len(group_sums)), size=resamples)
    return counts @ group_sums


def percentile_ends(resampled: np.ndarray | Sequence[float]) -> tuple[float, float]:
    """Ends of the 95 % percentile interval of resampled numbers [resamples]."""
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)
