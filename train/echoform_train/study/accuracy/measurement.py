"""Train and test the classifiers of every arm at every number of real images per user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor
from tqdm.auto import tqdm

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.errors import UserError
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.accuracy.comparisons import best_classical
from echoform_train.study.accuracy.rows import BOTH, GENERATED, Row, name_of_size
from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL, recipe, without_recropping
from echoform_train.study.classifiers.networks import FAMILIES
from echoform_train.study.classifiers.recropping import Strips
from echoform_train.study.classifiers.training import hits, train_classifier

Draw = tuple[int | None, int]
"""A random choice of real images: number of images per user (None for all), and index of the choice from 0."""


@dataclass(frozen=True, kw_only=True)
class MeasurementSettings:
    """Settings of the classifiers: which are trained, and how."""

    sizes: tuple[int | None, ...] = (5, 10, 20, 50, None)
    """Real images per user; None for all."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One classifier per seed, arm and family; an interval needs at least two seeds."""
    screening_seeds: int = 2
    """Seeds used to choose the best classical augmentation; only the best one is then trained with the other seeds."""
    families: tuple[str, ...] = tuple(FAMILIES)
    """Families of classifiers."""
    train_images: int = 8_000
    """Images that each classifier sees in training, in every arm."""
    generated_share: float = 0.5
    """Share of generated images among `train_images`, in arms with generated images."""
    window_s: float | None = None
    """Length of one image, seconds, for re-cropping; None if it is unknown."""
    device: str = "cpu"
    """Where classifiers are trained."""

    def __post_init__(self) -> None:
        if not self.sizes or not self.families:
            raise UserError(f"at least one size and one family are needed, got {self.sizes} and {self.families}")
        if len(set(self.seeds)) < max(1, len(self.seeds)):
            raise UserError(f"seeds must be at least one, each once, got {self.seeds}")
        if not 1 <= self.screening_seeds <= len(self.seeds):
            raise UserError(f"screening_seeds must be in 1..{len(self.seeds)}, got {self.screening_seeds}")


def measure(
    data: SpectrogramData,
    subsets: Mapping[Draw, Tensor],
    generated: Mapping[Draw, Sample],
    settings: MeasurementSettings,
    done: Sequence[Row] = (),
    save: Callable[[list[Row]], None] = lambda rows: None,
    *,
    condition: str | None = None,
) -> list[Row]:
    """Train and test the classifiers of every arm at every size.

    At each size the classical arms are trained first, with the first `screening_seeds` seeds. The augmentation of each
    family that is best on validation images is then trained with all seeds, alone and with generated images. The k-th
    seed uses draw k modulo the number of draws; every size should have one draw, or as many as seeds.

    Args:
        data: The data with its split; if `condition` is given, the result of `across_conditions`.
        subsets: For each draw, the indices of its images in `data.train`, see `choose_per_user`.
        generated: For each draw, images of a generator that saw only the images of that draw; a draw that is missing
            here gets no arms with generated images.
        settings: Which classifiers to train.
        done: Rows that an interrupted call with the same arguments saved, which are not measured again. Rows of "best
            classical + generated" are dropped if their augmentation is no longer the best.
        save: Called with all rows after each new one.
        condition: Value for `Row.condition`.

    Returns:
        All rows: those of `done` first, then new ones in the order of measuring.

    Raises:
        ValueError: If a size has no draw, or there are no validation or test images.
    """
    if not len(data.validation) or not len(data.test):
        raise UserError(f"the study needs validation and test images, got {len(data.validation)} and {len(data.test)}")
    # Number of draws of each size.
    draws = {size: sum(1 for other, _ in subsets if other == size) for size in settings.sizes}
    if empty := [name_of_size(size) for size in settings.sizes if draws[size] == 0]:
        raise UserError(f"every size needs a draw of images, there is none for {', '.join(empty)}")
    # One family at a time, because each family has its own best augmentation.
    measurement = _Measurement(data, subsets, generated, settings, condition, list(done), save)
    with tqdm(
        total=_count_classifiers(settings, draws, generated), desc=condition or "classifiers", unit="classifier"
    ) as bar:
        for size in settings.sizes:
            for family in settings.families:
                for _ in measurement.measure_size(size, family, draws[size]):
                    bar.update()
    return measurement.rows


def _count_classifiers(
    settings: MeasurementSettings, draws: Mapping[int | None, int], generated: Mapping[Draw, Sample]
) -> int:
    seeds = len(settings.seeds)
    classical = len(CLASSICAL) * settings.screening_seeds + seeds - settings.screening_seeds
    with_generated = {size: sum((size, k % draws[size]) in generated for k in range(seeds)) for size in settings.sizes}
    return sum(len(settings.families) * (seeds + classical + 2 * with_generated[size]) for size in settings.sizes)


class _Result(TypedDict):
    """Test results of one classifier, which become part of its row."""

    validation: float
    accuracy: float
    hits: list[int]


@dataclass
class _Measurement:
    """State of one call of `measure`: the rows measured so far, and methods that measure missing rows."""

    data: SpectrogramData
    subsets: Mapping[Draw, Tensor]
    generated: Mapping[Draw, Sample]
    settings: MeasurementSettings
    condition: str | None
    rows: list[Row]
    save: Callable[[list[Row]], None]

    def __post_init__(self) -> None:
        self._images: dict[Draw, tuple[Spectrograms, Strips]] = {}

    def measure_size(self, size: int | None, family: str, draws: int) -> Iterator[Row]:
        """All rows of a size and a family, including rows that were measured before."""
        seeds = [(seed, number % draws) for number, seed in enumerate(self.settings.seeds)]
        screening = self.settings.screening_seeds

        # Every classical arm is trained with a few seeds, to choose the best arm.
        for number, (seed, draw) in enumerate(seeds):
            for arm in (REAL, *CLASSICAL) if number < screening else (REAL,):
                yield self.row(size, arm, family, seed, draw, arm)
        best = best_classical(self.rows, size, family, self.condition)
        self.rows = [row for row in self.rows if not self.is_stale(row, size, family, best)]

        # Only the best arm is trained with the other seeds, and with generated images.
        for seed, draw in seeds[screening:]:
            yield self.row(size, best, family, seed, draw, best)
        for seed, draw in seeds:
            if (size, draw) in self.generated:
                yield self.row(size, GENERATED, family, seed, draw, REAL)
                yield self.row(size, BOTH, family, seed, draw, best)

    def is_stale(self, row: Row, size: int | None, family: str, best: str) -> bool:
        """Whether a row combined generated images with an augmentation that is no longer the best."""
        cell = (row["n"], row["family"], row["condition"], row["arm"])
        return cell == (size, family, self.condition, BOTH) and row["augmentation"] != best

    def row(self, size: int | None, arm: str, family: str, seed: int, draw: int, augmentation: str) -> Row:
        """The row of this classifier; it is measured and saved if it does not exist yet."""
        for known in self.rows:
            key = (known["n"], known["arm"], known["family"], known["seed"], known["draw"], known["condition"])
            if key == (size, arm, family, seed, draw, self.condition):
                return known
        images, strips = self.prepare_images(size, draw)
        rest = without_recropping(arm) if arm in CLASSICAL and strips.why_none is not None else arm
        if rest is not None and rest != arm:
            # Without overlapping windows, arms with and without re-cropping are the same training, which is done once.
            row: Row = {
                **self.row(size, rest, family, seed, draw, rest),
                "arm": arm,
                "augmentation": arm,
                "note": f"copied from {rest}: {strips.why_none}",
            }
        else:
            generated = self.generated[size, draw] if arm in (GENERATED, BOTH) else None
            row = {
                "n": size,
                "arm": arm,
                "family": family,
                "seed": seed,
                "draw": draw,
                "condition": self.condition,
                "augmentation": augmentation,
                "images": len(images),
                "note": None,
                **self.train_and_test(images, strips, family, seed, augmentation, generated),
            }
        self.rows.append(row)
        self.save(self.rows)
        return row

    def prepare_images(self, size: int | None, draw: int) -> tuple[Spectrograms, Strips]:
        """The images of a draw and their strips; kept in memory until another size is requested."""
        if any(other != size for other, _ in self._images):
            self._images.clear()
        if (size, draw) not in self._images:
            images = self.data.train.select(self.subsets[size, draw])
            self._images[size, draw] = images, Strips(images, self.settings.window_s)
        return self._images[size, draw]

    def train_and_test(
        self,
        images: Spectrograms,
        strips: Strips,
        family: str,
        seed: int,
        augmentation: str,
        generated: Sample | None,
    ) -> _Result:
        """Train one classifier and test it on validation and test images."""
        classifier = train_classifier(
            family,
            (images.pixels, images.users),
            len(self.data.id2label),
            seed=seed,
            recipe=recipe(augmentation, strips),
            generated=generated,
            generated_share=self.settings.generated_share,
            train_images=self.settings.train_images,
            device=self.settings.device,
        )
        # Validation accuracy chooses the best augmentation; test accuracy is only reported.
        validation, test = self.data.validation, self.data.test
        named_right = hits(classifier, test.pixels, test.users)
        return {
            "validation": hits(classifier, validation.pixels, validation.users).double().mean().item(),
            "accuracy": named_right.double().mean().item(),
            "hits": torch.bincount(test.users[named_right], minlength=len(self.data.id2label)).tolist(),
        }
