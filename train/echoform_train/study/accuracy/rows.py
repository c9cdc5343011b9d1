"""A row of results, which is one trained and tested classifier, and the names of the arms that rows belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TypedDict

from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL

LONGER = "best classical, longer"
"""Arm: the best classical augmentation, trained on as many images as the arm with generated ones sees in all."""
GENERATED = "real + generated"
"""Arm: generated images are added, without classical augmentation."""
BOTH = "best classical + generated"
"""Arm: generated images are added, with the best classical augmentation, in the share and weight that did best."""
ARMS = (REAL, *CLASSICAL, LONGER, GENERATED, BOTH)
"""Arms that classifiers are trained for, beside those of `tried_arm`."""

BEST = "best classical"
"""Alias, not an arm: stands for the arm that `best_classical` names, for each family and size."""
RIVAL = "best without generated images"
"""Alias: BEST or LONGER, whichever is better on validation images."""
RECOMMENDED = "recommended"
"""Alias: BOTH where it is better than RIVAL on validation images, else RIVAL."""

_TRIED = "best classical + "


def tried_arm(share: float, weight: float) -> str:
    """Name of the arm that tries a share of generated images, such as "best classical + 1/4 generated, weight 1/2"."""
    words = [str(Fraction(number).limit_denominator(1000)) for number in (share, weight)]
    return f"{_TRIED}{words[0]} generated, weight {words[1]}"


def is_tried(arm: str) -> bool:
    """Whether the arm is one of `tried_arm`."""
    return arm.startswith(_TRIED) and arm != BOTH


class Row(TypedDict):
    """One classifier that was trained and tested."""

    n: int | None
    """Requested number of real images per user; None for all."""
    arm: str
    """One of ARMS, or `tried_arm`."""
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
    seen: int
    """Real images seen in training, counting an image each time that it is seen."""
    share: float
    """Share of generated images among all images seen; 0 without any."""
    weight: float
    """Weight of the loss of generated images."""
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
