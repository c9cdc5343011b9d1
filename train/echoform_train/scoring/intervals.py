"""Means and their 95 % intervals.

The rules, in one place:

- A share of images, such as an accuracy, varies from seed to seed, and would be another one on other images. Its
  interval covers both: Wilson's for the images and Student's t for the seeds, see `share_interval`.
- A ratio of two shares has both in the same way, see `ratio_interval`.
- A share of which no number of images is known has Student's t, cut at the ends of the scale, see
  `mean_share_interval`.
- Any other score per seed has Student's t, and no interval if all seeds gave the same value, see `seeds_interval`.
- A mean over images has the bootstrap over images, see `bootstrap_interval` and `bootstrap_sums`.

Images count as independent of each other. Windows of one recording resemble each other, so that the true interval of a
share is wider rather than narrower.
"""

from __future__ import annotations

import math
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


def mean_interval(values: Sequence[float], least: float = -math.inf, most: float = math.inf) -> Interval:
    """Mean of independent values, such as one per seed, and its interval by Student's t.

    Args:
        values: One per seed, draw or the like.
        least: Lowest value that there can be, 0 for a share. Student's t knows of no end of a scale, so its interval
            is cut there.
        most: Highest value that there can be, 1 for a share.

    Raises:
        ValueError: If there are fewer than two values.
    """
    if len(values) < 2:
        raise UserError(f"an interval needs at least two values, got {len(values)}")
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return Interval(mean, max(least, mean - half), min(most, mean + half))


def mean_share_interval(shares: Sequence[float]) -> Interval:
    """`mean_interval` of shares, 0..1, where the number of images is not known; see `share_interval` where it is.

    Raises:
        ValueError: If there are fewer than two values, or one is outside 0..1.
    """
    if not all(0 <= share <= 1 for share in shares):
        raise UserError(f"an interval of shares needs shares in 0..1, got {list(shares)}")
    return mean_interval(shares, least=0.0, most=1.0)


def seeds_interval(values: Sequence[float]) -> Interval | None:
    """`mean_interval`, or None for a single value or equal ones: they do not tell how much a value varies."""
    return None if len(set(values)) < 2 else mean_interval(values)


def share_interval(shares: Sequence[float], images: int) -> Interval:
    """Mean of one share of images per seed, and an interval that covers other seeds and other images, within 0..1.

    The two parts are Student's t over the seeds, which is left out for a single seed, and Wilson's interval of the mean
    share of `images` images. Their distances from the mean are added in squares, as for a sum of two estimates. The
    result is never of zero width.

    Sources: Wilson, Journal of the American Statistical Association 22 (1927) 209-212; Zou and Donner, Statistics in
    Medicine 27 (2008) 1693-1702, equation 5.

    Args:
        shares: One per seed, 0..1.
        images: Number of images that each is a share of.

    Raises:
        ValueError: If there is no share or no image, or a share is outside 0..1.
    """
    if not shares or images < 1 or not all(0 <= share <= 1 for share in shares):
        raise UserError(f"an interval of shares needs shares in 0..1 of images, got {list(shares)} of {images}")
    seeds = seeds_interval(shares)
    half = 0.0 if seeds is None else seeds.high - seeds.mean
    mean = float(np.mean(shares))
    right = round(mean * images)
    wilson = stats.binomtest(right, images).proportion_ci(method="wilson")
    below, above = right / images - wilson.low, wilson.high - right / images
    return Interval(mean, max(0.0, mean - math.hypot(half, below)), min(1.0, mean + math.hypot(half, above)))


def ratio_interval(ratios: Sequence[float], share: Interval, other: Interval) -> Interval:
    """Mean of one ratio of two shares per seed, and an interval that covers other seeds and other images.

    The part of the images is that of the quotient of two independent shares, on a logarithmic scale. Where both are
    shares of the same images, it is too wide rather than too narrow.

    Source: Zou and Donner (2008), as for `share_interval`.

    Args:
        ratios: One per seed.
        share: The numerator, as `share_interval` gives it for one seed, so that seeds do not count twice.
        other: The denominator, above 0.
    """
    mean, seeds = float(np.mean(ratios)), seeds_interval(ratios)
    half = 0.0 if seeds is None else seeds.high - seeds.mean
    if share.low > 0:
        below = 1 - math.exp(-math.hypot(math.log(share.mean / share.low), math.log(other.high / other.mean)))
        above = math.exp(math.hypot(math.log(share.high / share.mean), math.log(other.mean / other.low))) - 1
        below, above = below * share.mean / other.mean, above * share.mean / other.mean
    else:
        below, above = share.mean / other.mean, share.high / other.low - share.mean / other.mean
    return Interval(mean, max(0.0, mean - math.hypot(half, below)), mean + math.hypot(half, above))


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
