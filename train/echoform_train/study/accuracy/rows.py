"""A row of results, which is one trained and tested classifier, and the names of the arms that rows belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL

GENERATED = "real + generated"
"""Arm: generated images are added, without classical augmentation."""
BOTH = "best classical + generated"
"""Arm: generated images are added, with the best classical augmentation."""
BEST = "best classical"
"""Alias, not an arm: stands for the arm that `best_classical` names, for each family and size."""
ARMS = (REAL, *CLASSICAL, GENERATED, BOTH)
"""All arms that classifiers are trained for."""


class Row(TypedDict):
    """One classifier that was trained and tested."""

    n: int | None
    """Requested number of real images per user; None for all."""
    arm: str
    """One of ARMS."""
    family: str
    seed: int
    """Seed of the training."""
    draw: int
    """Index of the draw of real images, and of the generator that was trained on them."""
    condition: str | None
    """None, or "normal -> backpack" for a classifier that was tested on another condition than it was trained on."""
    augmentation: str
    """The classical augmentation; "real" for none."""
    images: int
    """Number of real training images, of all users together."""
    note: str | None
    """Remark on how the row was measured, such as that it was copied; None if there is none."""
    validation: float
    """Accuracy on the validation images, 0..1."""
    accuracy: float
    """Accuracy on the test images, 0..1."""
    hits: list[int]
    """Number of correctly classified test images, by user."""


def rows_of(
    rows: Iterable[Row], sizes: Sequence[int | None], family: str | None = None, condition: str | None = None
) -> list[Row]:
    """The rows of these sizes (images per user), this condition and this family; None for all families."""
    return [
        row for row in rows if row["n"] in sizes and row["condition"] == condition and family in (None, row["family"])
    ]


def name_of_size(per_user: int | None) -> str:
    """Name of a number of real images per user in reports: the number, or "all" for None."""
    return "all" if per_user is None else str(per_user)
