"""Comparison of the gait in generated images with that in held-out real images, in the form of report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from echoform_train.data.layout import SPLITS
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.errors import UserError
from echoform_train.study.gait.distances import wasserstein
from echoform_train.study.gait.limits import Array, Features
from echoform_train.study.gait.walk_check import WalkCheck

_UNITS = {"_mps": "m/s", "_px": "rows", "_per_picture": "per image"}


class UnreadableShares(TypedDict):
    """Share of images without a value of a feature, 0..1."""

    real: float
    generated: float


class FeatureFindings(TypedDict):
    """One gait feature of held-out real and of generated images."""

    unit: str
    """Empty for a number without unit."""
    real: list[float]
    """Values that could be read."""
    generated: list[float]
    unreadable: UnreadableShares
    distance: float | None
    """Wasserstein distance of generated from real images, in `unit`; None if there are too few values."""
    floor: float | None
    """The same distance between real images."""


class GaitFindings(TypedDict):
    """Comparison of the gait in generated images with that in held-out real images."""

    why_not: None
    generated: float
    """Share of the drawn images that can show a walking person, 0..1."""
    kept: float | None
    """The same share of the kept images; None if none were kept."""
    real: float
    """The same share of the real test images."""
    possible: dict[str, list[int]]
    """1 for each image of "train", "validation", "test" and "drawn" that can show a walking person, else 0."""
    features: dict[str, FeatureFindings]
    """Key: title of the feature."""


@dataclass(frozen=True)
class UnreadableGait:
    """No gait can be read from the images."""

    reason: str


def gait_findings(
    data: SpectrogramData, drawn: Tensor, kept: Tensor, conditions: Sequence[Mapping[str, int]], *, seed: int
) -> GaitFindings | UnreadableGait:
    """Compare the gait of generated images with that of held-out real ones.

    The gait limits are learned from the training images and bounded by published limits for walking adults. If the
    conditions of a generated image imply a walking direction, the image must also show that direction.

    Args:
        data: The real images.
        drawn: Generated images, uint8 [N, C, H, W].
        kept: Indices of the kept images among `drawn`, int64 [M].
        conditions: Conditions that each image of `drawn` was generated with.
        seed: Seed of the random halving of the real images, see `wasserstein`.
    """
    try:
        check = WalkCheck.learn(data.train, data.axes)
    except UserError as error:
        return UnreadableGait(str(error))
    # Test images give the pass rate of real images; the results of all images become columns of the data set.
    features = {split: check.features(getattr(data, split).pixels) for split in SPLITS}
    features["drawn"] = check.features(drawn)
    conditions_of = {split: getattr(data, split).conditions for split in SPLITS}
    conditions_of["drawn"] = {
        name: torch.tensor([values[name] for values in conditions]) for name in data.condition_labels
    }
    passed = {part: check.possible(features[part], conditions_of[part]) for part in features}
    return {
        "why_not": None,
        "generated": float(passed["drawn"].mean()),
        "kept": float(passed["drawn"][kept.numpy()].mean()) if len(kept) else None,
        "real": float(passed["test"].mean()),
        "possible": {part: passes.astype(int).tolist() for part, passes in passed.items()},
        "features": _compare_features(features["test"], features["drawn"], data.test.recordings, seed),
    }


def _compare_features(
    real: Features, generated: Features, recordings: Sequence[str | None], seed: int
) -> dict[str, FeatureFindings]:
    distances = wasserstein(real, generated, recordings, seed)
    found: dict[str, FeatureFindings] = {}
    for name in real:
        if name == "heading":
            continue
        title, unit = _title_and_unit(name)
        distance = distances.get(name)
        found[title] = {
            "unit": unit,
            "real": _readable(real[name]),
            "generated": _readable(generated[name]),
            "unreadable": {"real": _unreadable_share(real[name]), "generated": _unreadable_share(generated[name])},
            "distance": None if distance is None else distance.distance,
            "floor": None if distance is None else distance.floor,
        }
    return found


def _title_and_unit(name: str) -> tuple[str, str]:
    if name.endswith("_hz"):
        title = name.removesuffix("_hz").replace("_", " ")
        return title, "steps/s" if title == "cadence" else "Hz"
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace("_", " "), unit
    return name.replace("_", " "), ""


def _readable(values: Array) -> list[float]:
    return [float(f"{value:.5g}") for value in values[np.isfinite(values)]]


def _unreadable_share(values: Array) -> float:
    return float(1 - np.isfinite(values).mean())
