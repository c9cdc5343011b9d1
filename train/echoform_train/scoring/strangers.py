"""When a classifier of users should answer "nobody I know": a threshold from people whom it was not trained on.

The score of an image is its distance from the nearest user in the classifier's features, negative, so that a higher
score is more like a user. A classifier is trained without some of its users, and the scores of their images are those
of strangers. Another classifier has other features, so scores are counted in standard deviations from the mean score of
its own users' held-out images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from echoform_train.engine.errors import UserError

_LEAST_DEVIATION = 1e-3
_LEAST_VARIANCE = 0.01
_LEAST_SLOPE = 0.05


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of the scores of known users' held-out images."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, scores: Tensor) -> Scale:
        """The scale of scores float [N]."""
        values = scores.double()
        return cls(float(values.mean()), max(float(values.std(correction=0)), _LEAST_DEVIATION))

    def standardise(self, scores: Tensor) -> Tensor:
        """Scores float [N] in deviations from the mean, float64."""
        return (scores.double() - self.mean) / self.deviation

    def restore(self, score: float) -> float:
        """The score of a standardised one."""
        return self.mean + self.deviation * score


@dataclass(frozen=True)
class UserFeatures:
    """A normal distribution of features per user, all with one covariance.

    Source: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018.
    """

    centres: Tensor
    """float64 [num_users, F]."""
    whitening: Tensor
    """float64 [F, F]; features times this have unit covariance."""

    @classmethod
    def of(cls, features: Tensor, users: Tensor) -> UserFeatures:
        """Fit features float [N, F] of users int64 [N], each of whom has at least one image."""
        features = features.double()
        centres = torch.stack([features[users == user].mean(0) for user in range(int(users.max()) + 1)])
        offset = features - centres[users]
        covariance = offset.T @ offset / len(features) + _LEAST_VARIANCE * torch.eye(features.shape[1]).double()
        return cls(centres, torch.linalg.cholesky(torch.linalg.inv(covariance)))

    def scores(self, features: Tensor) -> Tensor:
        """Negative distance from the nearest user, float64 [N], of features float [N, F]."""
        offset = (features.double()[:, None] - self.centres) @ self.whitening
        return -offset.square().sum(-1).amin(1).sqrt()


@dataclass(frozen=True)
class Fold:
    """Standardised scores of the people whom one classifier was not trained on."""

    users: tuple[int, ...]
    tuning: tuple[Tensor, ...]
    """Per such person, float64 [N]: training and validation images, which the threshold is set on."""
    test: tuple[Tensor, ...]
    """Per such person: test images."""
    known: Tensor
    """Validation images of the users whom it was trained on."""


def folds_of_users(num_users: int, folds: int, generator: torch.Generator) -> list[tuple[int, ...]]:
    """Groups of users, each of whom is left out once; at least two users stay in every training.

    Args:
        num_users: At least 3.
        folds: Number of groups, if there are as many users.
        generator: CPU generator.
    """
    if num_users < 3:
        raise UserError(f"leaving out users needs at least 3 of them, got {num_users}")
    order = torch.randperm(num_users, generator=generator).tolist()
    count = min(num_users, folds) if num_users > 3 else 3
    return [tuple(sorted(order[start::count])) for start in range(count)]


def accept_rate(scores: Sequence[Tensor], threshold: float) -> float:
    """Share of images whose score reaches the threshold, 0..1: the mean over people of the share of their images."""
    shares = [float((each.double() >= threshold).double().mean()) for each in scores if len(each)]
    if not shares:
        raise UserError("an accept rate needs images, got none")
    return sum(shares) / len(shares)


def threshold_for(scores: Sequence[Tensor], rate: float) -> float:
    """The lowest threshold at which at most a share of strangers' images is accepted.

    Args:
        scores: Per person, float [N].
        rate: Largest `accept_rate`, in (0, 1).

    Returns:
        A number just above one of the scores.
    """
    if not 0 < rate < 1:
        raise UserError(f"a false-accept rate must be in (0, 1), got {rate:g}")
    people = [each.double() for each in scores if len(each)]
    if not people:
        raise UserError("a threshold needs images, got none")
    values = torch.cat(people)
    weights = torch.cat([torch.full_like(each, 1 / (len(each) * len(people))) for each in people])
    order = values.argsort(descending=True)
    # The first score, from above, with which more than the rate would be accepted.
    accepted = weights[order].cumsum(0)
    over = int((accepted > rate + 1e-12).int().argmax())
    infinity = torch.tensor(float("inf"), dtype=torch.float64)
    return float(torch.nextafter(values[order[over]], infinity))


def slope_between(known: Tensor, strangers: Tensor) -> float:
    """Change of the log-odds of "known" per unit of score, if both kinds of scores are normal with one deviation."""
    pooled = (known.double().var(correction=0) + strangers.double().var(correction=0)) / 2
    slope = float((known.double().mean() - strangers.double().mean()) / pooled.clamp(min=_LEAST_DEVIATION**2))
    return max(slope, _LEAST_SLOPE)


def rate_on_new_people(folds: Sequence[Fold], rate: float) -> float | None:
    """Accept rate of test images of people whom neither the classifier nor the threshold has seen.

    The threshold for the people of one group comes from those of the others. None if there are no test images.
    """
    accepted = []
    for fold in folds:
        others = [scores for other in folds if other is not fold for scores in other.tuning]
        threshold = threshold_for(others, rate)
        accepted += [float((scores >= threshold).double().mean()) for scores in fold.test if len(scores)]
    return sum(accepted) / len(accepted) if accepted else None
