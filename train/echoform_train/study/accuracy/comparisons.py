"""Rows of trained classifiers, and what pairs of them say: differences between arms, and their intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypedDict

import numpy as np

from echoform_train.scoring.intervals import Interval, mean_interval
from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL

GENERATED = "real + generated"
BOTH = "best classical + generated"
BEST = "best classical"
"""No arm of its own: of each family at each size, the rows of the arm that `best_classical` names."""
ARMS = (REAL, *CLASSICAL, GENERATED, BOTH)
"""What is measured."""

Row = dict[str, Any]
"""A classifier that was trained and tested:

- "n": images a user that were asked for, None for all; "images": how many images that are, of all users together.
- "arm": of ARMS; "augmentation": the classical one in it, "real" for none.
- "family", "seed" (of the training) and "draw" (of the images, and of the generator that saw them).
- "condition": None, or words such as "normal -> backpack" where it was tested on what it was not trained on.
- "validation" and "accuracy": share of the validation and of the test images named right, 0..1.
- "hits": test images of each user named right.
- "note": what is to be said of it, or None.
"""


class Difference(TypedDict):
    """How much more one arm names right than another, shares of images, with a 95 % interval."""

    difference: float
    low: float
    high: float
    n: int
    """Independent pairs that the interval is taken over."""
    over: Literal["draws", "seeds"]
    """What a pair is, see `paired`."""


def best_classical(rows: Iterable[Row], n: int | None, family: str | None = None, condition: str | None = None) -> str:
    """The way to augment without a generator that names most validation images right, or "real" if none beats that.

    A mean over the seeds that every such arm was trained with, and over families unless one is named. Test images have
    no say; that the validation images choose among many arms favours the rival of generation.

    Raises:
        ValueError: If the arms have no seed in common.
    """
    scores: dict[str, dict[tuple[str, int], float]] = {arm: {} for arm in (REAL, *CLASSICAL)}
    for row in _of(rows, [n], condition, family):
        if row["arm"] in scores:
            scores[row["arm"]][row["family"], row["seed"]] = row["validation"]
    common = set.intersection(*(set(values) for values in scores.values()))
    if not common:
        raise ValueError(f"real and all classical arms must share a seed at {name_of_size(n)} images a user, none is")
    # max() takes the first of equals: the simpler arm.
    return max(scores, key=lambda arm: float(np.mean([scores[arm][key] for key in sorted(common)])))


def accuracy_interval(
    rows: Sequence[Row], arm: str, n: int | None, family: str | None = None, condition: str | None = None
) -> Interval:
    """Accuracy of an arm of ARMS or BEST, a share, with its 95 % interval by Student's t as in `paired`."""
    values, _ = _units(_resolved(rows, [n], family, condition), [n], arm, None)
    return mean_interval(values)


def paired(
    rows: Sequence[Row],
    arm: str,
    baseline: str,
    sizes: Sequence[int | None],
    family: str | None = None,
    condition: str | None = None,
) -> Difference:
    """Mean difference of accuracy between two arms that differ in nothing else, with its 95 % interval.

    Two rows are a pair where size, family, seed and draw are equal: the same images, the same first weights, the same
    order. Differences are averaged over sizes and families, then Student's t is taken over

    - "draws", where there are several: each has images and a generator of its own, and counts once, whatever its
      number of seeds. The interval then covers which few images were at hand, the training of the generator on them,
      and the training of the classifiers.
    - "seeds", where all rows share one draw: the interval covers the training of the classifiers alone, and says
      nothing of other images or another generator.

    Neither covers other people, or other test recordings than these.

    Args:
        rows: What was measured.
        arm: Of ARMS, or BEST.
        baseline: Likewise.
        sizes: Images a user, None for all; only seeds that were measured at each of them count.
        family: None averages over all that were measured; only seeds measured with each of them count.
        condition: Rows of this train and test condition; None for those of the whole data.

    Raises:
        ValueError: If there are fewer than two pairs.
    """
    values, over = _units(_resolved(rows, sizes, family, condition), sizes, arm, baseline)
    mean, low, high = mean_interval(values)
    return Difference(difference=mean, low=low, high=high, n=len(values), over=over)


def name_of_size(n: int | None) -> str:
    """The number, or the word all."""
    return "all" if n is None else str(n)


def _of(rows: Iterable[Row], sizes: Sequence[int | None], condition: str | None, family: str | None) -> list[Row]:
    return [
        row for row in rows if row["n"] in sizes and row["condition"] == condition and family in (None, row["family"])
    ]


def _resolved(rows: Sequence[Row], sizes: Sequence[int | None], family: str | None, condition: str | None) -> list[Row]:
    """The rows asked for, and once more as BEST those of the best classical arm of each family and size."""
    asked = _of(rows, sizes, condition, family)
    found = list(asked)
    for n in sizes:
        for name in sorted({row["family"] for row in asked if row["n"] == n}):
            if any(row["arm"] in CLASSICAL for row in asked if (row["n"], row["family"]) == (n, name)):
                best = best_classical(asked, n, name, condition)
                found += [
                    row | {"arm": BEST} for row in asked if (row["n"], row["family"], row["arm"]) == (n, name, best)
                ]
    return found


def _units(
    rows: Sequence[Row], sizes: Sequence[int | None], arm: str, baseline: str | None
) -> tuple[list[float], Literal["draws", "seeds"]]:
    """One value for each independent unit, and what a unit is."""
    families = sorted({row["family"] for row in rows})
    accuracy: dict[tuple[str, int], dict[tuple[int | None, str], tuple[int, float]]] = defaultdict(dict)
    for row in rows:
        accuracy[row["arm"], row["seed"]][row["n"], row["family"]] = row["draw"], row["accuracy"]
    cells = [(n, family) for n in sizes for family in families]
    by_draws: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for seed in sorted({row["seed"] for row in rows}):
        ours = accuracy[arm, seed]
        theirs = ours if baseline is None else accuracy[baseline, seed]
        if not all(cell in ours and cell in theirs and ours[cell][0] == theirs[cell][0] for cell in cells):
            continue
        differences = [ours[cell][1] - (0.0 if baseline is None else theirs[cell][1]) for cell in cells]
        by_draws[tuple(ours[cell][0] for cell in cells)].append(float(np.mean(differences)))
    if len(by_draws) > 1:
        return [float(np.mean(values)) for values in by_draws.values()], "draws"
    return [value for values in by_draws.values() for value in values], "seeds"
