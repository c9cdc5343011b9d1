"""Train and test the classifiers of the recipes and of their rivals at one number of real images per user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.scoring.classifier_training import logits_of
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.accuracy.measurement import MeasurementSettings
from echoform_train.study.accuracy.rows import Row
from echoform_train.study.classifiers.augmentations import recipe
from echoform_train.study.classifiers.recropping import Strips
from echoform_train.study.classifiers.training import train_classifier
from echoform_train.study.recipes.arms import (
    COPIES,
    ENSEMBLE,
    OF_COPIES,
    OF_TEACHERS,
    PRETRAINED,
    TEACHERS,
    TWICE,
    Variant,
)
from echoform_train.study.recipes.taught import TaughtImages


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """The real images of one draw, and what teachers that had only these have labelled."""

    images: Spectrograms
    taught: TaughtImages


def measure_recipes(
    data: SpectrogramData,
    per_user: int | None,
    draws: Mapping[int, Lesson],
    count_draws: int,
    augmentations: Mapping[str, str],
    settings: MeasurementSettings,
    done: Sequence[Row] = (),
    save: Callable[[list[Row]], None] = lambda rows: None,
) -> list[Row]:
    """Train and test the classifiers of the recipes and of their rivals.

    Real images are seen as often as in every other arm of the study, with the same seeds. Variant and share are chosen
    on validation images with the first `screening_seeds` seeds, those of the rival too; the chosen are then trained
    with all seeds.

    Args:
        data: The data with its split.
        per_user: Real images per user; None for all.
        draws: By index of the draw; a draw without generated images is missing.
        count_draws: Number of draws, with those that are missing: the k-th seed uses draw k modulo this number.
        augmentations: Best classical augmentation, by family.
        settings: Seeds, shares, length of the training.
        done: Rows that an interrupted call with the same arguments saved.
        save: Called with all rows after each new one.

    Returns:
        All rows, of the arms of arms.py and of each variant and share that was tried.
    """
    measurement = _Measurement(data, per_user, draws, augmentations, settings, list(done), save)
    seeds = [
        (seed, number % count_draws) for number, seed in enumerate(settings.seeds) if number % count_draws in draws
    ]
    for family in augmentations:
        measurement.best_of(OF_TEACHERS, TEACHERS, family, seeds)
        measurement.best_of(OF_COPIES, COPIES, family, seeds)
        for seed, draw in seeds:
            measurement.ensemble(family, seed, draw)
            measurement.pretrained(family, seed, draw)
            measurement.row(TWICE, family, seed, draw, seen=2 * settings.train_images)
    return measurement.rows


@dataclass
class _Measurement:
    data: SpectrogramData
    per_user: int | None
    draws: Mapping[int, Lesson]
    augmentations: Mapping[str, str]
    settings: MeasurementSettings
    rows: list[Row]
    save: Callable[[list[Row]], None]
    _strips: dict[int, Strips] = field(default_factory=dict)

    def best_of(self, variants: Sequence[Variant], name: str, family: str, seeds: Sequence[tuple[int, int]]) -> None:
        """Try every variant and share, and measure the best on validation images with all seeds, under a name."""
        first = seeds[: self.settings.screening_seeds]

        def row(tried: tuple[Variant, float], seed: int, draw: int) -> Row:
            variant, share = tried
            sample = variant.sample(self.draws[draw].taught)
            return self.row(variant.arm(share), family, seed, draw, others=sample, share=share)

        tried = [(variant, share) for variant in variants for share in sorted(self.settings.shares)]
        best = max(tried, key=lambda each: sum(row(each, *seed)["validation"] for seed in first))
        for seed in seeds:
            found = row(best, *seed)
            if self.known(name, family, *seed) is None:
                self.add({**found, "arm": name, "note": best[0].arm(best[1])})

    def ensemble(self, family: str, seed: int, draw: int) -> None:
        """The row of the teachers themselves, which are the same for both families."""
        if self.known(ENSEMBLE, family, seed, draw) is None:
            taught = self.draws[draw].taught
            found = _tested(self.data, taught.validation.argmax(1), taught.test.argmax(1))
            self.add({**self._described(ENSEMBLE, family, seed, draw), **found})  # pyright: ignore[reportArgumentType]

    def pretrained(self, family: str, seed: int, draw: int) -> None:
        """The row of a classifier that is trained on generated images, and then on the real ones."""
        if self.known(PRETRAINED, family, seed, draw) is None:
            initial = self.trained(family, seed, draw, self.draws[draw].taught.as_asked, self.settings.train_images)
            self.row(PRETRAINED, family, seed, draw, initial=initial)

    def known(self, arm: str, family: str, seed: int, draw: int) -> Row | None:
        """The row of this classifier if it was measured."""
        key = arm, family, seed, draw
        return next((row for row in self.rows if (row["arm"], row["family"], row["seed"], row["draw"]) == key), None)

    def add(self, row: Row) -> Row:
        """Append a row, and save all."""
        self.rows.append(row)
        self.save(self.rows)
        return row

    def row(
        self,
        arm: str,
        family: str,
        seed: int,
        draw: int,
        *,
        seen: int | None = None,
        others: Sample | None = None,
        share: float = 0.0,
        initial: nn.Module | None = None,
    ) -> Row:
        """The row of this classifier; it is measured and saved if it does not exist yet."""
        if (known := self.known(arm, family, seed, draw)) is not None:
            return known
        seen = seen or self.settings.train_images
        images = self.draws[draw].images
        trained = self.trained(
            family, seed, draw, (images.pixels, images.users), seen, others=others, share=share, initial=initial
        )
        named = [logits_of(trained, side.pixels).argmax(1) for side in (self.data.validation, self.data.test)]
        described = self._described(arm, family, seed, draw) | {"seen": seen, "share": share}
        return self.add({**described, **_tested(self.data, *named)})  # pyright: ignore[reportArgumentType]

    def trained(
        self,
        family: str,
        seed: int,
        draw: int,
        sample: Sample,
        seen: int,
        *,
        others: Sample | None = None,
        share: float = 0.0,
        initial: nn.Module | None = None,
    ) -> nn.Module:
        """A classifier of these images, with the best classical augmentation."""
        images = self.draws[draw].images
        if draw not in self._strips:
            self._strips[draw] = Strips(images, self.settings.window_s)
        shown = recipe(self.augmentations[family], self._strips[draw])
        # Generated images have no strips to cut windows from.
        is_real = sample[0] is images.pixels
        return train_classifier(
            family,
            sample,
            len(self.data.id2label),
            seed=seed,
            recipe=shown if is_real else replace(shown, strips=None),
            generated=others,
            generated_share=share,
            initial=initial,
            train_images=seen,
            device=self.settings.device,
        )

    def _described(self, arm: str, family: str, seed: int, draw: int) -> dict[str, object]:
        """What a row says of its training."""
        return {
            "n": self.per_user,
            "arm": arm,
            "family": family,
            "seed": seed,
            "draw": draw,
            "condition": None,
            "augmentation": self.augmentations[family],
            "images": len(self.draws[draw].images),
            "seen": self.settings.train_images,
            "share": 0.0,
            "weight": 1.0,
            "note": None,
        }


def _tested(data: SpectrogramData, validation: torch.Tensor, test: torch.Tensor) -> dict[str, object]:
    """Accuracies of the users that were named, int64 [N], on validation and test images."""
    right = test == data.test.users
    return {
        "validation": (validation == data.validation.users).double().mean().item(),
        "accuracy": right.double().mean().item(),
        "hits": torch.bincount(data.test.users[right], minlength=len(data.id2label)).tolist(),
    }
