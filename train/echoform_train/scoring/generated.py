"""Scores of generated spectrograms against held-out real ones, by judges that are trained on real images only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from echoform_train.data.spectrograms import SpectrogramData, to_model
from echoform_train.engine.errors import UserError
from echoform_train.scoring.classifier_training import shrink
from echoform_train.scoring.generated_images import Sample
from echoform_train.scoring.intervals import Interval, ratio_interval, seeds_interval, share_interval
from echoform_train.scoring.judge import (
    Judge,
    accuracy_by_user,
    confusion,
    extract_features,
    predict,
    train_judge,
)
from echoform_train.scoring.metrics import memorised_share
from echoform_train.scoring.scores import BOUNDED, LABELS, ScoreEntry, Scores, UserShares
from echoform_train.scoring.set_scores import NEIGHBOURS, compare_with_half, compared_images, diversity
from echoform_train.scoring.texture import compare_spectra
from echoform_train.scoring.texture_scores import tested_images, texture_scores
from echoform_train.scoring.two_sample import TRAIN_IMAGES


def score_generated(
    data: SpectrogramData,
    generated: Sequence[Sample],
    *,
    judge_train_images: int = 24_000,
    device: torch.device | str = "cpu",
    seeds: Sequence[int] = (0, 1, 2),
    judges: Mapping[int, Judge] | None = None,
) -> Scores:
    """Compare generated images with the held-out real ones of `data.test`.

    One judge per seed is trained on `data.train`, and one per pair of seeds on generated images alone (GAN-train).
    Judge seeds and samples are paired; the shorter list is repeated. Sets are compared at the same size: each user's
    held-out images are halved, generated ones are compared with one half, and so is the other half, for the floor.
    Where windows overlap, the two halves touch, which makes the floor slightly too good.

    Args:
        data: The real images, with the split of the generator's training.
        generated: One sample per sampling seed.
        judge_train_images: Images that each judge sees in training; the networks of the two-sample test see at most
            TRAIN_IMAGES.
        device: Where judges and networks are trained.
        seeds: Seeds of the judges.
        judges: Judges by seed that have already been trained on `data.train`; missing ones are trained.

    Returns:
        The scores, JSON-able, with intervals by the rules of intervals.py. An interval is over the n pairs of seeds,
        and for shares it covers the sampling of images too. Where there is one pair, shares have an interval over the n
        images, and others have none; nor have others where all pairs gave one value.

    Raises:
        ValueError: If there are no seeds or samples, a sample has images of another size than the data or lacks a
            user, there are too few held-out images, or a judge names no held-out image right.
    """
    _check(data, generated, seeds)
    pairs = [(seeds[i % len(seeds)], i % len(generated)) for i in range(max(len(seeds), len(generated)))]
    # Judges of real images are shared by all samples; those of GAN-train belong to one sample each.
    judges = {} if judges is None else dict(judges)
    missing = [seed for seed in seeds if seed not in judges]
    with tqdm(total=len(missing) + len(pairs), desc="judges", unit="judge") as bar:

        def train(pixels: Tensor, users: Tensor, seed: int) -> Judge:
            num_users = len(data.id2label)
            judge = train_judge(pixels, users, num_users, seed=seed, train_images=judge_train_images, device=device)
            bar.update()
            return judge

        judges |= {seed: train(data.train.pixels, data.train.users, seed) for seed in missing}
        results = [
            _score_pair(data, generated[index], judges[seed], train(*generated[index], seed), number)
            for number, (seed, index) in enumerate(pairs)
        ]
    # The floor of the texture compares held-out real images with real training images, once for all pairs.
    real, length = (data.test.pixels, data.test.users), min(TRAIN_IMAGES, judge_train_images)
    floors = texture_scores(real, (data.train.pixels, data.train.users), seed=0, train_images=length, device=device)
    for number, ((_, index), result) in enumerate(zip(pairs, results, strict=True)):
        measured = texture_scores(real, generated[index], seed=number, train_images=length, device=device)
        result.values.update(measured)
        # The variance of an AUC is at most that of a share of as many images as the smaller of both sets has.
        result.images["two_sample_auc"] = tested_images(generated[index][1], data.test.users)
        result.floors.update(floors)
    return {
        "scores": {name: _entry(name, results) for name in LABELS},
        "users": _shares_of_users(data, generated, [(judges[seed], index) for seed, index in pairs]),
        "settings": {
            "judge_train_images": judge_train_images,
            "judge_seeds": list(seeds),
            "samples": len(generated),
            "generated_images": [len(users) for _, users in generated],
            "train_images": len(data.train),
            "test_images": len(data.test),
            "users": len(data.id2label),
        },
        "spectra": compare_spectra(real[0].float(), torch.cat([pixels for pixels, _ in generated]).float()),
    }


@dataclass(frozen=True)
class _PairResult:
    """Scores of one judge and one sample."""

    images: dict[str, int]
    """For each score that is a share, the number of images that it is a share of."""
    values: dict[str, float]
    floors: dict[str, float]


def _score_pair(
    data: SpectrogramData,
    sample: Sample,
    judge: Judge,
    generated_judge: Judge,
    number: int,
) -> _PairResult:
    pixels, users = sample
    test = data.test
    hits = {
        "real_to_real": (predict(judge, test.pixels) == test.users).numpy(),
        "gan_test": (predict(judge, pixels) == users).numpy(),
        "gan_train": (predict(generated_judge, test.pixels) == test.users).numpy(),
    }
    values: dict[str, float] = {name: float(hit.mean()) for name, hit in hits.items()}
    images = {name: len(hit) for name, hit in hits.items()} | {"memorised": len(pixels)}
    real = values["real_to_real"]
    if real == 0:
        raise UserError("the judge must name at least one held-out real image right, it names none right")
    values |= {f"{name}_ratio": values[name] / real for name in ("gan_test", "gan_train")}
    floors = {"gan_test": real, "gan_train": real, "gan_test_ratio": 1.0, "gan_train_ratio": 1.0}

    # Sets are compared in the judge's features; copies and pixel diversity at the image size of the judge.
    features, test_features = (extract_features(judge, images).numpy() for images in (pixels, test.pixels))
    set_values, set_floors = compare_with_half(features, users.numpy(), test_features, test.users.numpy(), number)
    images |= dict.fromkeys(("precision", "recall", "coverage"), compared_images(users.numpy(), test.users.numpy()))
    small, test_small, train_small = (shrink(to_model(images)) for images in (pixels, test.pixels, data.train.pixels))
    values |= set_values | _copies_and_diversity(small, train_small, features, users)
    floors |= set_floors | _copies_and_diversity(test_small, train_small, test_features, test.users)
    return _PairResult(images, values, floors)


def _copies_and_diversity(small: Tensor, train_small: Tensor, features: np.ndarray, users: Tensor) -> dict[str, float]:
    flat = small.flatten(1)
    # Divided by the root of the number of pixels, so that the distance of two images is their RMS difference.
    rms_points = (flat / flat.shape[1] ** 0.5).numpy()
    return {
        "memorised": memorised_share(small, train_small),
        "diversity_features": diversity(features, users.numpy()),
        "diversity_pixels": diversity(rms_points, users.numpy()),
    }


def _entry(name: str, results: list[_PairResult]) -> ScoreEntry:
    values = [result.values[name] for result in results]
    floors = [result.floors[name] for result in results if name in result.floors]
    entry: ScoreEntry = {
        "mean": float(np.mean(values)),
        "low": None,
        "high": None,
        "n": len(values),
        "interval_over": None,
        "floor": float(np.mean(floors)) if floors else None,
    }
    interval = _interval(name, values, results)
    if interval is None:
        return entry
    over, n = ("seeds", len(values)) if len(values) > 1 else ("images", _images_of(name, results))
    # Student's t ignores the ends of a scale; only the unbiased kernel distance goes below 0.
    least, most = -math.inf if name == "kid" else 0.0, 1.0 if name in BOUNDED else math.inf
    low, high = max(least, interval.low), min(most, interval.high)
    return {**entry, "low": low, "high": high, "n": n, "interval_over": over}


def _interval(name: str, values: list[float], results: list[_PairResult]) -> Interval | None:
    """The interval of a score with one value per pair, by the rules of intervals.py."""
    if name.endswith("_ratio") and name.removesuffix("_ratio") in results[0].images:
        share, real = (
            share_interval([float(np.mean([each.values[of] for each in results]))], _images_of(of, results))
            for of in (name.removesuffix("_ratio"), "real_to_real")
        )
        return ratio_interval(values, share, real)
    if name in results[0].images:
        return share_interval(values, _images_of(name, results))
    return seeds_interval(values)


def _images_of(name: str, results: list[_PairResult]) -> int:
    """Number of images that a share is one of; the fewest of all pairs."""
    return min(each.images[name.removesuffix("_ratio")] for each in results)


def _shares_of_users(
    data: SpectrogramData, generated: Sequence[Sample], pairs: list[tuple[Judge, int]]
) -> dict[str, UserShares]:
    real_accuracy = accuracy_by_user(
        _sum_tables(confusion(judge, data.test.pixels, data.test.users) for judge, _ in pairs)
    )
    generated_accuracy = accuracy_by_user(_sum_tables(confusion(judge, *generated[index]) for judge, index in pairs))
    return {
        label: {"real": _none_if_nan(real_accuracy[user]), "generated": _none_if_nan(generated_accuracy[user])}
        for user, label in data.id2label.items()
    }


def _sum_tables(tables: Iterator[Tensor]) -> Tensor:
    return torch.stack(list(tables)).sum(0)


def _none_if_nan(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def _check(data: SpectrogramData, generated: Sequence[Sample], seeds: Sequence[int]) -> None:
    if not generated or not seeds:
        raise UserError(f"at least one sample and one judge seed are needed, got {len(generated)} and {len(seeds)}")
    size = list(data.train.pixels.shape[1:])
    for pixels, users in generated:
        if list(pixels.shape[1:]) != size:
            raise UserError(f"generated images must be of the size of the data, {size}, got {list(pixels.shape[1:])}")
        absent = [label for user, label in data.id2label.items() if user not in users]
        if absent:
            raise UserError(f"each sample must hold images of every user, there are none of {', '.join(absent)}")
    comparable = sum(int((data.test.users == user).sum()) // 2 for user in data.id2label)
    if comparable <= NEIGHBOURS:
        raise UserError(
            f"half of the held-out images of all users must be more than {NEIGHBOURS}, they are {comparable}"
        )
