"""`echoform score generated`: what generated spectrograms are worth, beside what real ones reach."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from echoform_train.data.spectrograms import SpectrogramData, to_model
from echoform_train.scoring.generated_images import Sample
from echoform_train.scoring.judge import (
    Judge,
    accuracy_by_user,
    confusion,
    extract_features,
    predict,
    shrink,
    train_judge,
)
from echoform_train.scoring.metrics import (
    bootstrap_interval,
    frechet_distance,
    kernel_distance,
    manifold_scores,
    mean_interval,
    mean_pairwise_distance,
    memorised_share,
)

HALVINGS = 8
NEIGHBOURS = 5

SHARES = ("real_to_real", "gan_test", "gan_train", "precision", "recall", "coverage", "memorised")
"""Scores that are shares of images, 0..1."""

LABELS = {
    "real_to_real": "Real to real: judge trained on real, tested on held-out real",
    "gan_test": "GAN-test: judge trained on real, tested on generated",
    "gan_test_ratio": "GAN-test / real to real",
    "gan_train": "GAN-train: judge trained on generated, tested on held-out real",
    "gan_train_ratio": "GAN-train / real to real",
    "frechet": "Fréchet distance in the judge's features",
    "kid": "Kernel distance (KID) in the judge's features",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "memorised": "Memorised share (nearest training image < 1/3 of the second)",
    "diversity_features": "Diversity inside a user, the judge's features",
    "diversity_pixels": "Diversity inside a user, pixels",
}
"""What each score is, in words, in the order to show them."""


def score(
    data: SpectrogramData,
    generated: Sequence[Sample],
    *,
    judge_train_images: int = 24_000,
    device: torch.device | str = "cpu",
    seeds: Sequence[int] = (0, 1, 2),
    judges: Mapping[int, Judge] | None = None,
) -> dict[str, Any]:
    """Compare generated images with the held-out real ones of `data.test`.

    Judges are trained on `data.train` alone, but for those of GAN-train, on generated images alone. Judge seeds and
    sampling seeds are paired, the shorter list going round, so that len(seeds) + max(len(seeds), len(generated)) judges
    are trained. Sets are compared at one size: the held-out images of each user are halved at a random place in time,
    8 times; the generated ones meet one half, and what the other half reaches against it is the floor (the best that
    can be reached). Halves touch where windows overlap, which flatters the floor a little.

    Args:
        data: The real images, split as for the generator's training.
        generated: One sample a sampling seed.
        judge_train_images: Images that each judge sees.
        device: Where judges are trained.
        seeds: Of the judges.
        judges: Those trained on `data.train` by seed, where there are some already, from the score of other samples.

    Returns:
        JSON-able: "scores", by the names of LABELS, each {"mean", "low", "high", "n", "interval_over", "floor"}, where
        low..high is a 95 % interval over n pairs of seeds (interval_over "seeds"), over n images where there is one
        pair only and a score is a share of images ("images"), else None; "floor" is what real images reach. "users":
        by label {"real", "generated"}, shares named right by the judges, None without images. "settings": numbers of
        images and seeds.

    Raises:
        ValueError: If there are no seeds or samples, a sample is not of the data's size, a user has no generated image,
            there are too few held-out ones, or no judge names any of those.
    """
    _check(data, generated, seeds)
    pairs = [(seeds[i % len(seeds)], i % len(generated)) for i in range(max(len(seeds), len(generated)))]
    num_users = len(data.id2label)
    judges = {} if judges is None else dict(judges)
    missing = [seed for seed in seeds if seed not in judges]
    with tqdm(total=len(missing) + len(pairs), desc="judges", unit="judge") as bar:

        def trained(pixels: Tensor, users: Tensor, seed: int) -> Judge:
            judge = train_judge(pixels, users, num_users, seed=seed, train_images=judge_train_images, device=device)
            bar.update()
            return judge

        judges |= {seed: trained(data.train.pixels, data.train.users, seed) for seed in missing}
        results = [
            _compare(data, generated[place], judges[seed], trained(*generated[place], seed), number)
            for number, (seed, place) in enumerate(pairs)
        ]
    return {
        "scores": {name: _entry(name, results) for name in LABELS},
        "users": _by_user(data, generated, [(judges[seed], place) for seed, place in pairs]),
        "settings": {
            "judge_train_images": judge_train_images,
            "judge_seeds": list(seeds),
            "samples": len(generated),
            "generated_images": [len(users) for _, users in generated],
            "train_images": len(data.train),
            "test_images": len(data.test),
            "users": num_users,
        },
    }


def describe(scores: dict[str, Any]) -> Iterator[str]:
    """The scores as lines of a table."""
    width = max(map(len, LABELS.values()))
    yield f"{'':<{width}}  {'value':>8}  {'95 % interval':>18}  {'floor':>8}"
    for name, label in LABELS.items():
        entry = scores["scores"][name]
        interval = "" if entry["low"] is None else f"{entry['low']:.3f} .. {entry['high']:.3f}"
        floor = "" if entry["floor"] is None else f"{entry['floor']:.3f}"
        yield f"{label:<{width}}  {entry['mean']:>8.3f}  {interval:>18}  {floor:>8}"


@dataclass(frozen=True)
class _Result:
    """Scores of one pair of seeds."""

    hits: dict[str, np.ndarray]
    """0 or 1 an image, for the accuracies."""
    values: dict[str, float]
    floors: dict[str, float]


def _compare(data: SpectrogramData, sample: Sample, judge: Judge, generated_judge: Judge, number: int) -> _Result:
    pixels, users = sample
    test = data.test
    hits = {
        "real_to_real": (predict(judge, test.pixels) == test.users).numpy(),
        "gan_test": (predict(judge, pixels) == users).numpy(),
        "gan_train": (predict(generated_judge, test.pixels) == test.users).numpy(),
    }
    values: dict[str, float] = {name: float(hit.mean()) for name, hit in hits.items()}
    real = values["real_to_real"]
    floors = {"gan_test": real, "gan_train": real, "gan_test_ratio": 1.0, "gan_train_ratio": 1.0}
    if real == 0:
        raise ValueError("the judge must name some held-out real image right to score others, it names none of them")
    values |= {f"{name}_ratio": values[name] / real for name in ("gan_test", "gan_train")}

    features = extract_features(judge, pixels).numpy()
    test_features = extract_features(judge, test.pixels).numpy()
    sets = _compare_sets(features, users.numpy(), test_features, test.users.numpy(), number)
    small, test_small, train_small = (shrink(to_model(images)) for images in (pixels, test.pixels, data.train.pixels))
    values |= sets[0] | {
        "memorised": memorised_share(small, train_small),
        "diversity_features": _diversity(features, users.numpy()),
        "diversity_pixels": _diversity(_rms(small), users.numpy()),
    }
    floors |= sets[1] | {
        "memorised": memorised_share(test_small, train_small),
        "diversity_features": _diversity(test_features, test.users.numpy()),
        "diversity_pixels": _diversity(_rms(test_small), test.users.numpy()),
    }
    return _Result(hits, values, floors)


def _compare_sets(
    generated: np.ndarray, generated_users: np.ndarray, real: np.ndarray, real_users: np.ndarray, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Set scores of the generated features and of real ones in their place: each against half of the real ones."""
    rng = np.random.default_rng(seed)
    rounds: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    for _ in range(HALVINGS):
        reference, other, chosen = [], [], []
        for user in np.unique(real_users):
            # The order of files is the order of time: a half is a stretch of it, going round at the end.
            mine = np.roll(np.flatnonzero(real_users == user), rng.integers(1 << 16))
            theirs = rng.permutation(np.flatnonzero(generated_users == user))
            count = min(len(mine) // 2, len(theirs))
            reference.append(mine[len(mine) // 2 :])
            other.append(mine[:count])
            chosen.append(theirs[:count])
        base = real[np.concatenate(reference)]
        rounds[0].append(_set_scores(base, generated[np.concatenate(chosen)]))
        rounds[1].append(_set_scores(base, real[np.concatenate(other)]))
    mean = [{name: float(np.mean([scores[name] for scores in each])) for name in each[0]} for each in rounds]
    return mean[0], mean[1]


def _set_scores(real: np.ndarray, other: np.ndarray) -> dict[str, float]:
    return {
        "frechet": frechet_distance(real, other),
        "kid": kernel_distance(real, other),
        **manifold_scores(real, other, NEIGHBOURS)._asdict(),
    }


def _diversity(points: np.ndarray, users: np.ndarray) -> float:
    """Mean distance of two images of one user, the mean over users with at least two."""
    sets = [points[users == user] for user in np.unique(users)]
    return float(np.mean([mean_pairwise_distance(points) for points in sets if len(points) > 1]))


def _rms(image: Tensor) -> np.ndarray:
    """Points whose Euclidean distance is the root of the mean squared difference of two images."""
    flat = image.flatten(1)
    return (flat / flat.shape[1] ** 0.5).numpy()


def _entry(name: str, results: list[_Result]) -> dict[str, Any]:
    values = [result.values[name] for result in results]
    floors = [result.floors[name] for result in results if name in result.floors]
    entry: dict[str, Any] = {
        "mean": float(np.mean(values)),
        "low": None,
        "high": None,
        "n": len(values),
        "interval_over": None,
        "floor": float(np.mean(floors)) if floors else None,
    }
    if len(results) > 1:
        _, low, high = mean_interval(values)
        entry |= {"low": low, "high": high, "interval_over": "seeds"}
    elif name in results[0].hits:
        hits = results[0].hits[name]
        _, low, high = bootstrap_interval(hits, seed=0)
        entry |= {"low": low, "high": high, "interval_over": "images", "n": len(hits)}
    if entry["low"] is not None:
        # Student's t knows nothing of the ends of a scale; only the unbiased kernel distance goes below 0.
        least, most = -math.inf if name == "kid" else 0.0, 1.0 if name in SHARES else math.inf
        entry |= {"low": max(least, entry["low"]), "high": min(most, entry["high"])}
    return entry


def _by_user(
    data: SpectrogramData, generated: Sequence[Sample], pairs: list[tuple[Judge, int]]
) -> dict[str, dict[str, float | None]]:
    real = accuracy_by_user(sum_tables(confusion(judge, data.test.pixels, data.test.users) for judge, _ in pairs))
    made = accuracy_by_user(sum_tables(confusion(judge, *generated[place]) for judge, place in pairs))
    return {
        label: {"real": _number(real[index]), "generated": _number(made[index])}
        for index, label in data.id2label.items()
    }


def sum_tables(tables: Iterator[Tensor]) -> Tensor:
    """Sum of tables of `confusion`."""
    return torch.stack(list(tables)).sum(0)


def _number(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def _check(data: SpectrogramData, generated: Sequence[Sample], seeds: Sequence[int]) -> None:
    if not generated or not seeds:
        raise ValueError(f"at least one sample and one judge seed are needed, got {len(generated)} and {len(seeds)}")
    size = list(data.train.pixels.shape[1:])
    for pixels, users in generated:
        if list(pixels.shape[1:]) != size:
            raise ValueError(f"generated images must be of the size of the data, {size}, got {list(pixels.shape[1:])}")
        absent = [label for index, label in data.id2label.items() if index not in users]
        if absent:
            raise ValueError(f"each sample must hold images of every user, there are none of {', '.join(absent)}")
    comparable = sum(int((data.test.users == user).sum()) // 2 for user in data.id2label)
    if comparable <= NEIGHBOURS:
        raise ValueError(
            f"half of the held-out images of all users must be more than {NEIGHBOURS}, they are {comparable}"
        )
