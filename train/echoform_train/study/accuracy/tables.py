"""Tables of accuracies as report.json holds them: by number of real images per user, by arm, and by condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np

from echoform_train.scoring.intervals import Interval
from echoform_train.study.accuracy.comparisons import (
    accuracy_interval,
    best_classical,
    paired_interval,
    recommends_generated,
)
from echoform_train.study.accuracy.rows import (
    ARMS,
    BOTH,
    GENERATED,
    RIVAL,
    Row,
    is_tried,
    name_of_size,
    rows_of,
    tried_arm,
)
from echoform_train.study.classifiers.augmentations import REAL


class Point(TypedDict):
    """A mean accuracy and its 95 % interval, as shares of images."""

    mean: float
    low: float | None
    """None if there is no interval."""
    high: float | None


Points = dict[str, Point]
"""Key: family of classifiers, or "all" for the mean over families."""


class SizeAccuracies(TypedDict):
    """Accuracies at one number of real images per user; None for arms that were not measured."""

    best_classical: dict[str, str]
    """Key: family of classifiers. Value: its best classical augmentation."""
    real: Points | None
    classical: Points | None
    """The best classical augmentation; trained longer, where that is better on validation images."""
    generated: Points | None
    both: Points | None
    difference: Points | None
    """`both` minus `classical`."""
    recommended: dict[str, str]
    """Key: family of classifiers. Value: the share of generated images that is recommended, such as "1/4 generated,
    weight 1", or "none"."""


class ConditionAccuracies(TypedDict):
    """Mean accuracies of both families in a test on another condition; None for arms that were not measured."""

    condition: str
    real: Point | None
    classical: Point | None
    generated: Point | None
    both: Point | None


def size_accuracies(rows: Sequence[Row], per_user: int | None) -> SizeAccuracies:
    """Accuracies of the four arms of a report, and what generated images add, at one size.

    Args:
        rows: All rows of a study.
        per_user: Real images per user; None for all.
    """
    ours = [row for row in rows if row["n"] == per_user and row["condition"] is None]
    families = list(dict.fromkeys(row["family"] for row in ours))
    # RIVAL selects rows of the classical arms, which are always measured.
    measured = {row["arm"] for row in ours} | {RIVAL}

    def points(arm: str) -> Points | None:
        if arm not in measured:
            return None
        return _points(families, lambda family: accuracy_interval(ours, arm, per_user, family))

    return {
        "best_classical": {family: best_classical(ours, per_user, family) for family in families},
        "real": points(REAL),
        "classical": points(RIVAL),
        "generated": points(GENERATED),
        "both": points(BOTH),
        "difference": (
            _points(families, lambda family: paired_interval(ours, BOTH, RIVAL, per_user, family))
            if BOTH in measured
            else None
        ),
        "recommended": {family: _recommended(ours, per_user, family) for family in families},
    }


def _recommended(rows: Sequence[Row], per_user: int | None, family: str) -> str:
    """The recommended share and weight of generated images for a family, in words."""
    if not recommends_generated(rows, per_user, family):
        return "none"
    row = next(row for row in rows if row["arm"] == BOTH and row["family"] == family)
    return tried_arm(row["share"], row["weight"]).partition(" + ")[2]


def arm_accuracies(rows: Sequence[Row], sizes: Sequence[int | None]) -> dict[str, dict[str, Point]]:
    """Mean accuracy of both families, by arm and then by name of the size.

    No interval is given, because classical arms that were not the best have fewer seeds than the others.
    """
    found: dict[str, dict[str, Point]] = {}
    measured = rows_of(rows, sizes)
    tried = sorted({row["arm"] for row in measured if is_tried(row["arm"])})
    for arm in (*ARMS, *tried):
        found[arm] = {}
        for size in sizes:
            values = [row["accuracy"] for row in rows_of(measured, [size]) if row["arm"] == arm]
            if values:
                found[arm][name_of_size(size)] = {"mean": float(np.mean(values)), "low": None, "high": None}
    return {arm: points for arm, points in found.items() if points}


def condition_accuracies(rows: Sequence[Row]) -> list[ConditionAccuracies]:
    """Accuracies of the four arms of a report in each test on another condition."""
    conditions = list(dict.fromkeys(row["condition"] for row in rows if row["condition"] is not None))
    return [_of_condition(rows, condition) for condition in conditions]


def _of_condition(rows: Sequence[Row], condition: str) -> ConditionAccuracies:
    ours = [row for row in rows if row["condition"] == condition]
    measured = {row["arm"] for row in ours} | {RIVAL}

    def point(arm: str) -> Point | None:
        return _point(accuracy_interval(ours, arm, None, None, condition)) if arm in measured else None

    return {
        "condition": condition,
        "real": point(REAL),
        "classical": point(RIVAL),
        "generated": point(GENERATED),
        "both": point(BOTH),
    }


def _points(families: Sequence[str], interval: Callable[[str | None], Interval]) -> Points:
    return {"all": _point(interval(None))} | {family: _point(interval(family)) for family in families}


def _point(interval: Interval) -> Point:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}
