"""The way in which a study trains classifiers, for the classifier that it hands over."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from echoform_train.data.spectrograms import Spectrograms
from echoform_train.scoring.classifier_way import Lessons
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.classifiers.augmentations import REAL, recipe
from echoform_train.study.classifiers.recropping import Strips
from echoform_train.study.classifiers.training import lessons


@dataclass(frozen=True, kw_only=True)
class StudyWay:
    """A classical augmentation, with or without generated images; a `Way`."""

    augmentation: str
    """One of CLASSICAL, or "real" for none."""
    window_s: float | None
    """Length of one image, seconds, for re-cropping; None if it is unknown."""
    generated: Sample | None = None
    generated_key: str | None = None
    """Key of the stage that selected the generated images."""
    share: float = 0.0
    """Share of generated images among all images seen."""
    weight: float = 1.0
    """Weight of the loss of generated images."""

    @property
    def name(self) -> str:
        """In words, such as "time roll; generated images as 1/4 of all, weight 1"."""
        classical = "no augmentation" if self.augmentation == REAL else self.augmentation
        if self.generated is None:
            return classical
        share, weight = (str(Fraction(number).limit_denominator(1000)) for number in (self.share, self.weight))
        return f"{classical}; generated images as {share} of all, weight {weight}"

    def settings(self) -> dict[str, Any]:
        """All but the images themselves, which the key stands for."""
        used = None if self.generated is None else [self.generated_key, self.share, self.weight]
        return {"augmentation": self.augmentation, "window_s": self.window_s, "generated images": used}

    def lessons(self, images: Spectrograms, left_out: tuple[int, ...], batch_size: int, seed: int) -> Lessons:
        """Batches as `train_classifier` makes them; no generated image of a user who is left out is shown."""
        return lessons(
            (images.pixels, images.users),
            int(images.users.max()) + 1,
            seed=seed,
            recipe=recipe(self.augmentation, Strips(images, self.window_s)),
            generated=None if self.generated is None else _without(self.generated, left_out),
            generated_share=self.share,
            generated_weight=self.weight,
            batch_size=batch_size,
        )


def _without(sample: Sample, left_out: tuple[int, ...]) -> Sample | None:
    """The images of all other users, whose ids count from 0 again; None if there are none."""
    pixels, users = sample
    missing = torch.tensor(left_out, dtype=torch.int64)
    kept = ~torch.isin(users, missing)
    if not bool(kept.any()):
        return None
    return pixels[kept], users[kept] - (users[kept][:, None] > missing).sum(1)
