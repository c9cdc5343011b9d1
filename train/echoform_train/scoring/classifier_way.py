"""How images are shown to a classifier that is trained: how they are augmented, and which others come beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from echoform_train.data.spectrograms import Spectrograms
from echoform_train.scoring.classifier_training import LABEL_SMOOTHING, Batch


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What `fit_classifier` reads."""

    batches: Iterator[Batch]
    """Batches of real images, without end."""
    more: Iterator[Batch | None] | None = None
    """Batches of other images, one or None per step."""
    more_weight: float = 1.0
    """Weight of the loss of `more`."""
    more_smoothing: float = LABEL_SMOOTHING
    """Label smoothing of `more`."""


class Way(Protocol):
    """How a classifier is trained on some images."""

    @property
    def name(self) -> str:
        """In words, for the card of the classifier."""
        ...

    def settings(self) -> dict[str, Any]:
        """Everything that can change the training, JSON-able."""
        ...

    def lessons(self, images: Spectrograms, left_out: tuple[int, ...], batch_size: int, seed: int) -> Lessons:
        """What a classifier of these images is shown.

        Args:
            images: Real images of the users who are not left out, whose ids count from 0.
            left_out: Ids, among all users, of those of whom nothing may be shown; ascending.
            batch_size: Images per batch.
            seed: Seed of order and augmentation.
        """
        ...
