"""Comparisons of arms: the best classical augmentation, accuracies, and paired differences with their intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, TypedDict

import numpy as np

from echoform_train.engine.errors import UserError
from echoform_train.scoring.intervals import Interval, mean_interval, mean_share_interval, share_interval
from echoform_train.study.accuracy.rows import (
    BEST,
    BOTH,
    LONGER,
    RECOMMENDED,
    RIVAL,
    Row,
    name_of_size,
    rows_of,
)
from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL

Unit = Literal["draws", "seeds"]
"""Independent unit that an interval is computed over, see `paired`."""


class Difference(TypedDict):
    """Accuracy of one arm minus that of another, as a share of the test images, with its 95 % interval."""

    difference: float
    low: float
    high: float
    n: int
    """Number of independent pairs of `arm` and `baseline` that the interval is computed over."""
    over: Unit
    """Whether one pair is a draw or a seed."""


def best_classical(
    rows: Iterable[Row], per_user: int | None, family: str | None = None, condition: str | None = None
) -> str:
    """Name of the classical arm with the highest validation accuracy; "real" means no augmentation.

    Each arm is scored by its mean over the seeds that all arms share, and over families unless one is named. Test
    images are not used. The best of many arms is partly best by chance, which favours the baseline that generated
    images are compared with.

    Raises:
        ValueError: If the arms have no seed in common.
    """
    scores: dict[str, dict[tuple[str, int], float]] = {arm: {} for arm in (REAL, *CLASSICAL)}
    for row in rows_of(rows, [per_user], family, condition):
        if row["arm"] in scores:
            scores[row["arm"]][row["family"], row["seed"]] = row["validation"]
    common = set.intersection(*(set(values) for values in scores.values()))
    if not common:
        raise UserError(
            f"real and all classical arms must share a seed at {name_of_size(per_user)} images per user, none is"
        )
    # max() takes the first of several equal arms, which is the simpler one.
    return max(scores, key=lambda arm: float(np.mean([scores[arm][key] for key in sorted(common)])))


def recommends_generated(rows: Iterable[Row], per_user: int | None, family: str, condition: str | None = None) -> bool:
    """Whether generated images made a family better on validation images than its best rival without them."""
    cell = with_aliases(list(rows), [per_user], family, condition)
    return _better(cell, RIVAL, BOTH) == BOTH


def recommended_row(rows: Iterable[Row], per_user: int | None, family: str) -> Row:
    """A row of the arm that RECOMMENDED stands for, which tells how its classifiers were trained."""
    cell = with_aliases(list(rows), [per_user], family, None)
    return next(row for row in cell if row["arm"] == RECOMMENDED)


def accuracy_interval(
    rows: Sequence[Row], arm: str, per_user: int | None, family: str | None = None, condition: str | None = None
) -> Interval:
    """Accuracy of an arm or an alias, a share, with its 95 % interval.

    The interval covers other units of `paired` by Student's t and, where rows tell how many test images there were,
    other test images: see `share_interval`.
    """
    chosen = with_aliases(rows, [per_user], family, condition)
    values, _ = _values_per_unit(chosen, [per_user], arm, None)
    images = _test_images(chosen)
    return mean_share_interval(values) if images is None else share_interval(values, images)


def paired(
    rows: Sequence[Row],
    arm: str,
    baseline: str,
    sizes: Sequence[int | None],
    family: str | None = None,
    condition: str | None = None,
) -> Difference:
    """Mean difference of accuracy between two arms that differ in nothing else, with its 95 % interval.

    Two rows are a pair if size, family, seed and draw are equal, so that both classifiers had the same real images,
    initial weights and order. Differences are averaged over sizes and families. The interval is then computed by
    Student's t over one of these units:

    - "draws", if there are several. Each draw has real images and a generator of its own and counts once, whatever its
      number of seeds. The interval covers the choice of the real images, and the training of generator and classifiers.
    - "seeds", if all rows share one draw. The interval covers only the training of the classifiers.

    Neither covers other users, or other test recordings. Where all units gave one difference, its interval is that of
    the test images that it is at least made of, see `_of_equal_units`.

    Args:
        rows: All rows of a study.
        arm: An arm or an alias of rows.py.
        baseline: Another one.
        sizes: Images per user, None for all; only seeds that were measured at all these sizes count.
        family: None averages over all families; only seeds that were measured with all of them count.
        condition: Condition of the rows to compare; None for rows of the whole data.

    Raises:
        ValueError: If there are fewer than two pairs.
    """
    values, unit = _values_per_unit(with_aliases(rows, sizes, family, condition), sizes, arm, baseline)
    mean, low, high = mean_interval(values, least=-1.0, most=1.0)
    if low == high and (images := _test_images(rows_of(rows, sizes, family, condition))) is not None:
        low, high = _of_equal_units(mean, images)
    return {"difference": mean, "low": low, "high": high, "n": len(values), "over": unit}


def paired_interval(
    rows: Sequence[Row],
    arm: str,
    baseline: str,
    per_user: int | None,
    family: str | None = None,
    condition: str | None = None,
) -> Interval:
    """The difference of `paired` at one size, with its 95 % interval; shares of images."""
    found = paired(rows, arm, baseline, [per_user], family, condition)
    return Interval(found["difference"], found["low"], found["high"])


def with_aliases(
    rows: Sequence[Row], sizes: Sequence[int | None], family: str | None, condition: str | None
) -> list[Row]:
    """The selected rows, plus copies of the rows that BEST, RIVAL and RECOMMENDED stand for in each family and size."""
    chosen = rows_of(rows, sizes, family, condition)
    found: list[Row] = []
    for size in sizes:
        for name in sorted({row["family"] for row in chosen if row["n"] == size}):
            cell = rows_of(chosen, [size], name, condition)
            if any(row["arm"] in CLASSICAL for row in cell):
                cell += _named(cell, best_classical(cell, size, name, condition), BEST)
                cell += _named(cell, _better(cell, BEST, LONGER), RIVAL)
                cell += _named(cell, _better(cell, RIVAL, BOTH), RECOMMENDED)
            found += cell
    return found


def _of_equal_units(difference: float, images: int) -> tuple[float, float]:
    """Ends of the interval of a difference that came out equal each time, on `images` test images.

    At least this share of the images was classified differently, and it would be another share of other images.
    """
    _, low, high = share_interval([abs(difference)], images)
    if difference == 0:
        return -high, high
    return (low, high) if difference > 0 else (-high, -low)


def _test_images(rows: Sequence[Row]) -> int | None:
    """Number of test images behind the accuracies of rows; None if the rows do not tell."""
    told = [row for row in rows if row["hits"]]
    counts = [round(sum(row["hits"]) / row["accuracy"]) for row in told if row["accuracy"] > 0]
    return max(1, min(counts, default=1)) if told else None


def _named(cell: Iterable[Row], arm: str, alias: str) -> list[Row]:
    """Copies of the rows of an arm, under another name."""
    return [{**row, "arm": alias} for row in cell if row["arm"] == arm]


def _better(cell: Sequence[Row], first: str, second: str) -> str:
    """Which of two arms of one family and size is better on validation images, over the seeds that both have.

    The first one if they are equal, or the second was not measured.
    """
    values = [{row["seed"]: row["validation"] for row in cell if row["arm"] == arm} for arm in (first, second)]
    common = sorted(values[0].keys() & values[1].keys())
    means = [sum(each[seed] for seed in common) for each in values]
    return second if means[1] > means[0] else first


def _values_per_unit(
    rows: Sequence[Row], sizes: Sequence[int | None], arm: str, baseline: str | None
) -> tuple[list[float], Unit]:
    """One value per independent unit (accuracy of `arm`, or its difference to `baseline`), and the kind of unit."""
    cells = [(size, family) for size in sizes for family in sorted({row["family"] for row in rows})]
    results: dict[tuple[str, int], dict[tuple[int | None, str], tuple[int, float]]] = defaultdict(dict)
    for row in rows:
        results[row["arm"], row["seed"]][row["n"], row["family"]] = row["draw"], row["accuracy"]
    by_draws: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for seed in sorted({row["seed"] for row in rows}):
        ours = results[arm, seed]
        theirs = ours if baseline is None else results[baseline, seed]
        # A seed counts only if both arms were measured in every cell, on the same images.
        if not all(cell in ours and cell in theirs and ours[cell][0] == theirs[cell][0] for cell in cells):
            continue
        differences = [ours[cell][1] - (0.0 if baseline is None else theirs[cell][1]) for cell in cells]
        by_draws[tuple(ours[cell][0] for cell in cells)].append(float(np.mean(differences)))
    # Seeds of one draw share images and generator, so they are not independent of each other.
    if len(by_draws) > 1:
        return [float(np.mean(values)) for values in by_draws.values()], "draws"
    return [value for values in by_draws.values() for value in values], "seeds"
