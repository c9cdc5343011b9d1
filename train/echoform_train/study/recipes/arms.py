"""The arms of the recipes: what their classifiers are trained with, and which rival each recipe has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from echoform_train.scoring.generated_images import Sample
from echoform_train.study.accuracy.rows import RIVAL
from echoform_train.study.recipes.taught import TaughtImages

Recipe = Literal["teachers", "pretrain"]

TEACHERS = "teachers label"
"""Generated images that teachers have labelled, beside the real ones; in the variant and share that did best."""
COPIES = "teachers label real copies"
"""The same with copies of the real images, in the share that did best."""
ENSEMBLE = "the teachers themselves"
"""No classifier is trained: the mean of the probabilities of all teachers."""
PRETRAINED = "pre-trained on generated"
"""Trained on generated images alone, and then on the real ones."""
TWICE = "best classical, twice as long"
"""Trained on the real images as long as both parts of PRETRAINED together."""

RECIPES: dict[Recipe, str] = {"teachers": TEACHERS, "pretrain": PRETRAINED}
"""The arm of each recipe."""
RIVALS: dict[Recipe, tuple[str, ...]] = {"teachers": (RIVAL, COPIES, ENSEMBLE), "pretrain": (RIVAL, TWICE)}
"""Arms or aliases that a recipe has to beat; the best of them on validation images counts."""
NAMES: dict[Recipe, str] = {
    "teachers": "Generated images labelled by teachers",
    "pretrain": "Pre-trained on generated images, tuned on real ones",
}
"""In tables for people."""


@dataclass(frozen=True)
class Variant:
    """One way of using images that teachers have labelled."""

    name: str
    sample: Callable[[TaughtImages], Sample]

    def arm(self, share: float) -> str:
        """Name of the arm that tries a share of these images, such as "soft labels, 1/4"."""
        return f"{self.name}, {Fraction(share).limit_denominator(1000)}"


OF_TEACHERS = (
    Variant("generated, labels of teachers", lambda taught: taught.soft),
    Variant("generated, also between users, labels of teachers", lambda taught: taught.soft_with_between),
    Variant("generated, relabelled by teachers", lambda taught: taught.relabelled),
)
OF_COPIES = (Variant("real copies, labels of teachers", lambda taught: taught.soft_copies),)
