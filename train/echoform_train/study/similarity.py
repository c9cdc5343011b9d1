"""How much simulated spectrograms look like measured ones: two-sample test, spectra, judge's features, and gait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from echoform_train.engine.errors import UserError
from echoform_train.radar.gait_features import detect_middle, gait_features, to_level
from echoform_train.scoring.intervals import seeds_interval, share_interval
from echoform_train.scoring.judge import accuracy, extract_features, train_judge
from echoform_train.scoring.metrics import frechet_distance
from echoform_train.scoring.texture import fine_energy_share, log_spectral_distance_db
from echoform_train.scoring.two_sample import two_sample_auc
from echoform_train.study.gait.distances import wasserstein

LEAST_PEOPLE = 4
"""Fewest measured people: the floor compares two with two others."""
LABELS = {
    "two_sample_auc": "Two-sample AUC on people that the network did not see (0.5: it cannot tell)",
    "fine_energy_ratio": "Fine detail, simulated / measured",
    "log_spectral_distance": "Log-spectral distance, dB",
    "frechet": "Fréchet distance in the features of a judge of measured people",
}


@dataclass(frozen=True, kw_only=True)
class WalkerImages:
    """Spectrograms of walkers."""

    pixels: Tensor
    """uint8 [N, C, H, W]."""
    users: Tensor
    """int64 [N]."""
    axes: Mapping[str, float] | None
    """Contents of axes.json; None if unknown."""


class Similarity(TypedDict):
    """One score of simulated images beside the same score of other measured people."""

    mean: float
    low: float | None
    """Lower end of the 95 % interval over the divisions of the people; None if all gave one value."""
    high: float | None
    floor: float
    """The same score between measured people and other measured people."""


class Accuracy(TypedDict):
    """An accuracy with its 95 % interval, and the number of people that it tells apart."""

    mean: float
    low: float
    high: float
    people: int


class GaitDistance(TypedDict):
    """Wasserstein distance of a gait feature, in its unit."""

    distance: float
    floor: float


class SimilarityScores(TypedDict):
    """Everything that is compared."""

    scores: dict[str, Similarity]
    """By the names of LABELS."""
    gait: dict[str, GaitDistance]
    """By feature; empty if gait cannot be read from the images."""
    judge: Accuracy
    """Share of the images of its training that a judge of measured people names right."""
    seeds: list[int]
    measured_people: int
    simulated_people: int


def score_similarity(
    measured: WalkerImages,
    simulated: WalkerImages,
    *,
    seeds: Sequence[int],
    train_images: int,
    judge_train_images: int,
    device: torch.device | str = "cpu",
) -> SimilarityScores:
    """Compare simulated with measured walkers, and for the floor measured people with other measured people.

    Each seed divides the people anew. Networks learn from one half of the people of both sets and are tested on the
    other, so that what they recognise is the kind of image and no person. The floor of the AUC scatters around 0.5, and
    widely where there are few people, as a network then learns how two people differ and is asked about two others.

    Args:
        measured: Images of at least 4 people.
        simulated: Images of at least 2 people, of the size and colour map of the measured ones.
        seeds: Each divides the people; at least two, for an interval.
        train_images: Images that each network of the two-sample test sees.
        judge_train_images: Images that each judge sees.
        device: Where networks and judges are trained.

    Raises:
        ValueError: If there are too few people, or the images are of unlike size.
    """
    people, simulated_people = (len(images.users.unique()) for images in (measured, simulated))
    if people < LEAST_PEOPLE or simulated_people < 2:
        raise UserError(
            f"at least {LEAST_PEOPLE} measured and 2 simulated people are needed, got {people} and {simulated_people}"
        )
    if measured.pixels.shape[1:] != simulated.pixels.shape[1:]:
        sizes = [list(images.pixels.shape[1:]) for images in (measured, simulated)]
        raise UserError(f"simulated and measured images must have one size and one kind, got {sizes[1]} and {sizes[0]}")
    rounds = [_one_round(measured, simulated, seed, train_images, judge_train_images, device) for seed in seeds]
    scores: dict[str, Similarity] = {}
    for name in LABELS:
        values = [each.values[name] for each in rounds]
        # The variance of an AUC is at most that of a share of as many images as the smaller of both sets has.
        is_auc = name == "two_sample_auc"
        interval = share_interval(values, min(each.tested for each in rounds)) if is_auc else seeds_interval(values)
        mean = float(np.mean(values))
        scores[name] = {
            "mean": mean,
            "low": None if interval is None else min(max(interval.low, 0.0), mean),
            "high": None if interval is None else interval.high,
            "floor": float(np.mean([each.floors[name] for each in rounds])),
        }
    judged = share_interval([each.judge_accuracy for each in rounds], min(each.judged for each in rounds))
    return {
        "scores": scores,
        "gait": _gait(measured, simulated, seeds[0]),
        "judge": {**judged._asdict(), "people": rounds[0].judged_people},  # pyright: ignore[reportReturnType]
        "seeds": list(seeds),
        "measured_people": people,
        "simulated_people": simulated_people,
    }


@dataclass(frozen=True)
class _Round:
    """Results of one division of the people."""

    values: dict[str, float]
    floors: dict[str, float]
    tested: int
    """Images in the smaller of the two sets that the two-sample test is tested on."""
    judge_accuracy: float
    """Of the judge, on the images of its training."""
    judged: int
    """Number of these images."""
    judged_people: int


def _one_round(
    measured: WalkerImages,
    simulated: WalkerImages,
    seed: int,
    train_images: int,
    judge_train_images: int,
    device: torch.device | str,
) -> _Round:
    """Scores and floors for one division of the people."""
    rng = np.random.default_rng(seed)
    # Measured people in four parts: the first two are learnt from, the others are for testing.
    parts = _divide(measured.users, 4, rng)
    learn, test = torch.cat(parts[:2]), torch.cat(parts[2:])
    simulated_learn, simulated_test = _divide(simulated.users, 2, rng)
    real, made = measured.pixels, simulated.pixels

    def auc(train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]) -> float:
        return two_sample_auc(train, held_out, seed=seed, train_images=train_images, device=device)

    values = {"two_sample_auc": auc((real[learn], made[simulated_learn]), (real[test], made[simulated_test]))}
    floors = {"two_sample_auc": auc((real[parts[0]], real[parts[1]]), (real[parts[2]], real[parts[3]]))}

    # Spectra and features depend on the size of a set, so that both comparisons use equally many images.
    users = _renumbered(measured.users[learn])
    judge = train_judge(
        real[learn], users, len(users.unique()), seed=seed, train_images=judge_train_images, device=device
    )
    count = min(len(parts[2]), len(parts[3]), len(simulated_test))
    reference, other, drawn = (
        pixels[torch.from_numpy(rng.permutation(len(pixels))[:count])]
        for pixels in (real[parts[2]], real[parts[3]], made[simulated_test])
    )
    for found, compared in ((values, drawn), (floors, other)):
        features = (extract_features(judge, pixels).numpy() for pixels in (reference, compared))
        found["frechet"] = frechet_distance(*features)
        found["fine_energy_ratio"] = fine_energy_share(compared.float()) / fine_energy_share(reference.float())
        found["log_spectral_distance"] = log_spectral_distance_db(compared.float(), reference.float())
    return _Round(
        values=values,
        floors=floors,
        tested=min(len(test), len(simulated_test)),
        judge_accuracy=accuracy(judge, real[learn], users),
        judged=len(learn),
        judged_people=len(users.unique()),
    )


def _gait(measured: WalkerImages, simulated: WalkerImages, seed: int) -> dict[str, GaitDistance]:
    """Distances of the gait features of all images; people take the place of recordings in the floor."""
    levels = [to_level(images.pixels) for images in (measured, simulated)]
    # Features are in rows and images where the axes are unknown, and can only be compared in one unit.
    has_axes = measured.axes is not None and simulated.axes is not None
    middle = detect_middle(levels[0])
    real, made = (
        gait_features(level, images.axes if has_axes else None, middle=middle)
        for level, images in zip(levels, (measured, simulated), strict=True)
    )
    distances = wasserstein(real, made, [str(user) for user in measured.users.tolist()], seed)
    return {name: {"distance": each.distance, "floor": each.floor} for name, each in distances.items()}


def _divide(users: Tensor, parts: int, rng: np.random.Generator) -> list[Tensor]:
    """Indices of the images of each part, the people being divided at random into `parts` of nearly equal number."""
    people = rng.permutation(users.unique().numpy())
    return [torch.from_numpy(np.flatnonzero(np.isin(users.numpy(), people[part::parts]))) for part in range(parts)]


def _renumbered(users: Tensor) -> Tensor:
    """The same users as class ids 0, 1, ..., int64 [N]."""
    return torch.unique(users, return_inverse=True)[1]
