"""The classical augmentations that a study compares: single changes of a batch, re-cropping, and combinations."""

from __future__ import annotations

from dataclasses import dataclass

from echoform_train.engine.errors import UserError
from echoform_train.scoring.augmentations import AUGMENTATIONS, Augmentation, chain
from echoform_train.scoring.walk_augmentations import bursts_and_floor, new_speckle, other_speed
from echoform_train.study.classifiers.mixing import Mixing, cutmix_in_time, mixup
from echoform_train.study.classifiers.recropping import Strips

REAL = "real"
"""No augmentation."""
RECROPPING = "re-cropping"
ALL = "all classical"

SECOND: dict[str, Augmentation] = {
    "other speed": other_speed,
    "new speckle": new_speckle,
    "bursts and floor": bursts_and_floor,
}
"""Augmentations by name that are tried after a time roll only, because alone they add less than it does."""
MIXINGS: dict[str, Mixing] = {"mixup": mixup, "CutMix in time": cutmix_in_time}
"""Mixings of two images by name, tried after a time roll only, too."""

COMBINATIONS: dict[str, tuple[str, ...]] = {
    "time roll and re-cropping": ("time roll", RECROPPING),
    "time roll, gain and noise": ("time roll", "gain", "noise floor"),
    ALL: (*AUGMENTATIONS, RECROPPING),
    **{f"time roll and {name}": ("time roll", name) for name in (*SECOND, *MIXINGS)},
}
"""Combinations by name: augmentations that are applied in this order."""

CLASSICAL = (*AUGMENTATIONS, RECROPPING, *COMBINATIONS)
"""Names of all classical augmentations and combinations."""


@dataclass(frozen=True)
class Recipe:
    """How the real images are augmented while a classifier is trained."""

    augmentation: Augmentation | None = None
    """Applied to every batch; None for no change."""
    strips: Strips | None = None
    """Strips of the real images, from which a new window is cut for each image; None for no re-cropping."""
    mixing: Mixing | None = None
    """Applied to every batch and its users after `augmentation`; None for no mixing."""


def recipe(name: str, strips: Strips) -> Recipe:
    """Make the recipe of an augmentation.

    Args:
        name: One of CLASSICAL, or "real" for no augmentation.
        strips: Strips of the images to train on; used if `name` includes re-cropping and some windows overlap.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in (REAL, *CLASSICAL):
        raise UserError(f"an augmentation must be one of {', '.join((REAL, *CLASSICAL))}, got {name}")
    parts = COMBINATIONS.get(name, (name,))
    on_batches = [(AUGMENTATIONS | SECOND)[part] for part in parts if part in AUGMENTATIONS | SECOND]
    mixing = next((MIXINGS[part] for part in parts if part in MIXINGS), None)
    can_crop = RECROPPING in parts and strips.why_none is None
    return Recipe(chain(on_batches) if on_batches else None, strips if can_crop else None, mixing)


def without_recropping(name: str) -> str | None:
    """Name of an augmentation in CLASSICAL with its re-cropping removed; None if the rest has no name."""
    parts = COMBINATIONS.get(name, (name,))
    if RECROPPING not in parts:
        return name
    rest = tuple(part for part in parts if part != RECROPPING)
    names = {(): REAL} | {(single,): single for single in AUGMENTATIONS} | {v: k for k, v in COMBINATIONS.items()}
    return names.get(rest)
