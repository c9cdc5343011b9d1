"""What was measured as report.json holds it: accuracies of the arms, copies, gait features and what was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from echoform_train.data.layout import SPLITS
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, to_model
from echoform_train.scoring.classifier_training import shrink
from echoform_train.scoring.generated_images import Sample
from echoform_train.scoring.intervals import Interval
from echoform_train.scoring.metrics import Nearest, nearest_two
from echoform_train.study.accuracy.comparisons import (
    ARMS,
    BEST,
    BOTH,
    GENERATED,
    Row,
    accuracy_interval,
    best_classical,
    name_of_size,
)
from echoform_train.study.accuracy.measurement import paired_difference
from echoform_train.study.classifiers.augmentations import REAL
from echoform_train.study.gait.limits import wasserstein
from echoform_train.study.gait.walk_check import Walks

SHOWN = {"real": REAL, "classical": BEST, "generated": GENERATED, "both": BOTH}
"""The four arms of a page by their names in report.json."""

COPY_RATIO = 1 / 3
_UNITS = {"_mps": "m/s", "_px": "rows", "_per_picture": "a picture"}


def size_findings(rows: Sequence[Row], n: int | None) -> dict[str, Any]:
    """Of one size the "best_classical" arm of each family, and points of the four arms and of their difference.

    Args:
        rows: Of `measure`.
        n: Images a user, None for all.

    Returns:
        As `report.write_page` takes it.
    """
    ours = [row for row in rows if row["n"] == n and row["condition"] is None]
    families = _families(ours)
    measured = {row["arm"] for row in ours}
    found: dict[str, Any] = {"best_classical": {family: best_classical(ours, n, family) for family in families}}
    for name, arm in SHOWN.items():
        there = arm == BEST or arm in measured
        found[name] = (
            _each(families, lambda family, arm=arm: accuracy_interval(ours, arm, n, family)) if there else None
        )
    if BOTH not in measured:
        return found | {"difference": None}
    return found | {"difference": _each(families, lambda family: paired_difference(ours, BOTH, BEST, n, family))}


def arm_findings(rows: Sequence[Row], sizes: Sequence[int | None]) -> dict[str, dict[str, Any]]:
    """Points of every arm at every size, over both families; arms that only screening saw have fewer seeds."""
    found: dict[str, dict[str, Any]] = {}
    for arm in ARMS:
        of_arm = [row for row in rows if row["arm"] == arm and row["condition"] is None]
        points = {name_of_size(n): _mean_point([row for row in of_arm if row["n"] == n]) for n in sizes}
        found[arm] = {name: point for name, point in points.items() if point is not None}
    return found


def condition_findings(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The four arms of each test on another condition."""
    found = []
    for condition in dict.fromkeys(row["condition"] for row in rows if row["condition"] is not None):
        ours = [row for row in rows if row["condition"] == condition]
        measured = {row["arm"] for row in ours}
        points = {
            name: _point(accuracy_interval(ours, arm, None, None, condition))
            if arm == BEST or arm in measured
            else None
            for name, arm in SHOWN.items()
        }
        found.append({"condition": condition, **points})
    return found


def nearest_training(pixels: Tensor, training: Tensor) -> Nearest:
    """Nearest training images of each image, both uint8 [N, C, H, W], at the size that judges see."""
    small, known = (torch.cat([shrink(to_model(part)) for part in each.split(256)]) for each in (pixels, training))
    side = float(np.prod(known.shape[1:])) ** 0.5
    found = nearest_two(small, known)
    return Nearest(found.distance / side, found.training_index)


def copied_share(nearest: Nearest) -> float:
    """Share of images that lie nearer than a third of the second nearest."""
    return float((nearest.distance[:, 0] < COPY_RATIO * nearest.distance[:, 1]).double().mean())


def most_suspicious(
    nearest: Nearest, users: Tensor, training: Spectrograms, id2label: Mapping[int, str], count: int = 8
) -> list[dict[str, Any]]:
    """The images that lie nearest to one training image, as a share of the distance to the second.

    Returns:
        {"place" of the image, "user", "ratio", "nearest" and "second": places of training images, "nearest_file"}.
    """
    ratio = nearest.distance[:, 0] / nearest.distance[:, 1].clamp(min=1e-12)
    found = []
    for place in ratio.argsort()[:count].tolist():
        first, second = nearest.training_index[place].tolist()
        facts = {"place": place, "user": id2label[int(users[place])], "ratio": float(ratio[place])}
        found.append(facts | {"nearest": first, "second": second, "nearest_file": training.files[first]})
    return found


def gait_findings(
    data: SpectrogramData, drawn: Sample, kept: Tensor, conditions: Sequence[Mapping[str, int]], *, seed: int
) -> dict[str, Any]:
    """Gait of drawn images beside that of held-out real ones.

    What is possible is learned from the training images and from what is known of walkers. A generated image must also
    head the way that its conditions ask for, where they tell one.

    Args:
        data: The real images.
        drawn: Pixels uint8 [N, C, H, W] and users int64 [N].
        kept: Places of the images that were kept of those, int64 [M].
        conditions: Values asked for, of each drawn image.
        seed: Of the halves that the floors are taken over.

    Returns:
        JSON-able: "generated", "kept" and "real": shares possible for a walker, the last of the test images (None of
        no images); "possible": 0 or 1 for each image of "train", "validation", "test" and "drawn"; "features": by
        title, as `report.write_page` takes them. "why_not": None, or why gait cannot be read from these images, and
        then nothing else.
    """
    try:
        walks = Walks.learn(data.train, data.axes)
    except ValueError as error:
        return {"why_not": str(error)}
    features = {split: walks.features(getattr(data, split).pixels) for split in SPLITS}
    features["drawn"] = walks.features(drawn[0])
    asked = {split: getattr(data, split).conditions for split in SPLITS}
    asked["drawn"] = {name: torch.tensor([values[name] for values in conditions]) for name in data.condition_labels}
    passed = {part: walks.possible(features[part], asked[part]) for part in features}
    return {
        "why_not": None,
        "generated": float(passed["drawn"].mean()),
        "kept": float(passed["drawn"][kept.numpy()].mean()) if len(kept) else None,
        "real": float(passed["test"].mean()),
        "possible": {part: passes.astype(int).tolist() for part, passes in passed.items()},
        "features": _features(features["test"], features["drawn"], data.test.recordings, seed),
    }


def _features(
    real: Mapping[str, np.ndarray], generated: Mapping[str, np.ndarray], recordings: Sequence[str | None], seed: int
) -> dict[str, dict[str, Any]]:
    drifts = wasserstein(real, generated, recordings, seed)
    found = {}
    for name in real:
        if name == "heading":
            continue
        title, unit = _title(name)
        drift = drifts.get(name)
        found[title] = {
            "unit": unit,
            "real": _readable(real[name]),
            "generated": _readable(generated[name]),
            "unreadable": {"real": _unreadable(real[name]), "generated": _unreadable(generated[name])},
            "distance": None if drift is None else drift.distance,
            "floor": None if drift is None else drift.floor,
        }
    return found


def _families(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["family"] for row in rows))


def _each(families: Sequence[str], interval: Any) -> dict[str, dict[str, float]]:
    return {"all": _point(interval(None))} | {family: _point(interval(family)) for family in families}


def _point(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _mean_point(rows: Sequence[Row]) -> dict[str, float | None] | None:
    if not rows:
        return None
    return {"mean": float(np.mean([row["accuracy"] for row in rows])), "low": None, "high": None}


def _title(name: str) -> tuple[str, str]:
    """Feature's name in words, and its unit."""
    if name.endswith("_hz"):
        stem = name.removesuffix("_hz").replace("_", " ")
        return stem, "steps/s" if stem == "cadence" else "Hz"
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace("_", " "), unit
    return name.replace("_", " "), ""


def _readable(values: np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") for value in values[np.isfinite(values)]]


def _unreadable(values: np.ndarray) -> float:
    return float(1 - np.isfinite(values).mean())
