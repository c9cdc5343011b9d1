"""A row of results: one classifier that was trained and tested; and the arms of a study, which rows belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL

GENERATED = "real + generated"
"""Arm: generated images are added, without classical augmentation."""
BOTH = "best classical + generated"
"""Arm: generated images are added, with the best classical augmentation."""
BEST = "best classical"
"""Not an arm of its own: for each family and size, the rows of the arm that `best_classical` names."""
ARMS = (REAL, *CLASSICAL, GENERATED, BOTH)
"""All arms that classifiers are trained for."""


class Row(TypedDict):
    """One classifier that was trained and tested."""

    n: int | None
    """Real images per user that were asked for; None for all."""
    arm: str
    """One of ARMS."""
    family: str
    seed: int
    """Seed of the training."""
    draw: int
    """Number of the draw of real images, and of the generator that saw them."""
    condition: str | None
    """None, or "normal -> backpack" for a classifier that was tested on another condition than it was trained on."""
    augmentation: str
    """The classical augmentation; "real" for none."""
    images: int
    """Real images trained on, of all users together."""
    note: str | None
    """What a reader has to know about this row."""
    validation: float
    """Share of the validation images named right, 0..1."""
    accuracy: float
    """Share of the test images named right, 0..1."""
    hits: list[int]
    """Test images named right, by user."""


def rows_of(
    rows: Iterable[Row], sizes: Sequence[int | None], family: str | None = None, condition: str | None = None
) -> list[Row]:
    """The rows of these sizes (images per user) and this condition; of all families if none is named."""
    return [
        row for row in rows if row["n"] in sizes and row["condition"] == condition and family in (None, row["family"])
    ]


def name_of_size(per_user: int | None) -> str:
    """Name of a number of real images per user in reports: the number, or "all" for None."""
    return "all" if per_user is None else str(per_user)
