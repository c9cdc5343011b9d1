"""Stage: tables of confusion between users, of one classifier without and one with generated images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.scoring.classifier_training import logits_of
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.accuracy.rows import BEST, BOTH, name_of_size
from echoform_train.study.classifiers.augmentations import recipe
from echoform_train.study.classifiers.recropping import Strips
from echoform_train.study.classifiers.training import train_classifier
from echoform_train.study.content_hashes import split_hashes
from echoform_train.study.plan import RealSubset
from echoform_train.study.stage_cache import StageFacts

SEED = 0


class ConfusionFacts(StageFacts):
    """Tables of confusion."""

    family: str
    augmentation: str
    n: int | None
    """Real images per user; None for all."""
    labels: list[str]
    """Labels of the users, in the order of rows and columns."""
    tables: dict[str, list[list[int]]]
    """By arm: number of test images of the true user (row) that were classified as another (column)."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Train a classifier with the best classical augmentation, and one with generated images too, and compare them."""

    data: SpectrogramData
    subset: RealSubset
    """The real images to train on."""
    generated: Sample
    generated_key: str
    """Key of the stage that selected the generated images."""
    family: str
    augmentation: str
    """The best classical augmentation of this family."""
    window_s: float | None
    train_images: int
    """Real images that each classifier sees."""
    generated_share: float
    generated_weight: float
    device: str
    name: str = "confusion"

    def inputs(self) -> dict[str, Any]:
        """The images and the settings."""
        return {
            "real images": split_hashes(self.data),
            "chosen images": self.subset.indices.tolist(),
            "generated images": self.generated_key,
            "settings": [
                self.family, SEED, self.augmentation, self.window_s, self.train_images, self.generated_share,
                self.generated_weight,
            ],
        }  # fmt: skip

    def make(self, folder: Path) -> ConfusionFacts:
        """Return the tables; no file is written."""
        return {
            "summary": f"tables of confusion at {name_of_size(self.subset.per_user)} images per user",
            "family": self.family,
            "augmentation": self.augmentation,
            "n": self.subset.per_user,
            "labels": list(self.data.id2label.values()),
            "tables": {BEST: self._table(None), BOTH: self._table(self.generated)},
        }

    def _table(self, generated: Sample | None) -> list[list[int]]:
        images, count = self.subset.images, len(self.data.id2label)
        classifier = train_classifier(
            self.family,
            (images.pixels, images.users),
            count,
            seed=SEED,
            recipe=recipe(self.augmentation, Strips(images, self.window_s)),
            generated=generated,
            generated_share=self.generated_share,
            generated_weight=self.generated_weight,
            train_images=self.train_images,
            device=self.device,
        )
        test = self.data.test
        named = logits_of(classifier, test.pixels).argmax(1)
        return torch.bincount(test.users * count + named, minlength=count**2).view(count, count).tolist()
