"""Train and test the classifiers of every arm at every number of real images per user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor
from tqdm.auto import tqdm

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.errors import UserError
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.accuracy.comparisons import best_classical
from echoform_train.study.accuracy.rows import BOTH, GENERATED, LONGER, Row, name_of_size, tried_arm
from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL, recipe, without_recropping
from echoform_train.study.classifiers.networks import FAMILIES
from echoform_train.study.classifiers.recropping import Strips
from echoform_train.study.classifiers.training import hits, train_classifier
from echoform_train.study.config import check_shares

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
    """Real images that each classifier sees in training; arms with generated images see those in addition."""
    shares: tuple[float, ...] = (0.125, 0.25, 0.5)
    """Shares of generated images among all images seen, to choose from; 0 is always among them."""
    weights: tuple[float, ...] = (1.0, 0.5)
    """Weights of the loss of generated images, to choose from at the best share."""
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
        check_shares(self.shares, self.weights)


@dataclass(frozen=True, kw_only=True)
class _Arm:
    """What the classifiers of an arm are trained with."""

    name: str
    augmentation: str
    seen: int
    """Real images seen in training."""
    share: float = 0.0
    """Share of generated images among all images seen."""
    weight: float = 1.0

    def made(self, row: Row) -> bool:
        """Whether a row of this name was trained in this way."""
        return (row["augmentation"], row["seen"], row["share"], row["weight"]) == (
            self.augmentation, self.seen, self.share, self.weight,
        )  # fmt: skip


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
    family that is best on validation images is then trained with all seeds. Every share of generated images is added
    to it with the first seeds, and every loss weight at the best share; the best of them on validation images is
    trained with all seeds. So is the best augmentation once more, on as many images as that arm sees in all, because
    a rival must not lose by a shorter training. The k-th seed uses draw k modulo the number of draws.

    Args:
        data: The data with its split; if `condition` is given, the result of `across_conditions`.
        subsets: For each draw, the indices of its images in `data.train`, see `choose_per_user`.
        generated: For each draw, images of a generator that saw only the images of that draw; a draw that is missing
            here gets no arms with generated images.
        settings: Which classifiers to train.
        done: Rows that an interrupted call with the same arguments saved, which are not measured again. Rows are
            measured again if they depend on a choice that is now another one.
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
    seeds, screening = len(settings.seeds), settings.screening_seeds
    classical = len(CLASSICAL) * screening + seeds - screening
    tried = len(settings.shares) + len(settings.weights) - 1
    total = 0
    for size in settings.sizes:
        with_generated = sum((size, k % draws[size]) in generated for k in range(seeds))
        total += seeds + classical + tried * min(screening, with_generated) + 3 * with_generated
    return len(settings.families) * total


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
        screening, seen = self.settings.screening_seeds, self.settings.train_images

        # Every classical arm is trained with a few seeds, to choose the best arm.
        for number, (seed, draw) in enumerate(seeds):
            for name in (REAL, *CLASSICAL) if number < screening else (REAL,):
                yield self.row(size, _Arm(name=name, augmentation=name, seen=seen), family, seed, draw)
        best = best_classical(self.rows, size, family, self.condition)
        for seed, draw in seeds[screening:]:
            yield self.row(size, _Arm(name=best, augmentation=best, seen=seen), family, seed, draw)
        with_generated = [(seed, draw) for seed, draw in seeds if (size, draw) in self.generated]
        if with_generated:
            yield from self.measure_generated(size, family, best, with_generated)

    def measure_generated(
        self, size: int | None, family: str, best: str, seeds: Sequence[tuple[int, int]]
    ) -> Iterator[Row]:
        """The rows with generated images, and those of the rival that trains as long; `seeds` with their draws."""
        seen, first = self.settings.train_images, seeds[: self.settings.screening_seeds]
        shares, weights = sorted(self.settings.shares), self.settings.weights

        # The share is chosen first, then the weight at this share.
        tried = [self.tried(best, share, weights[0]) for share in shares]
        yield from (self.row(size, arm, family, *seed) for arm in tried for seed in first)
        weighted = [self.tried(best, self.best_of(tried, size, family, first).share, weight) for weight in weights]
        yield from (self.row(size, arm, family, *seed) for arm in weighted[1:] for seed in first)
        chosen = self.best_of(weighted, size, family, first)

        both = replace(chosen, name=BOTH)
        generated = replace(chosen, name=GENERATED, augmentation=REAL)
        longer = _Arm(name=LONGER, augmentation=best, seen=round(seen / (1 - chosen.share)))
        for seed in seeds:
            # The first seeds of the best arm were trained already.
            make = partial(self.copied, source=chosen) if seed in first else self.row
            yield make(size, both, family, *seed)
            yield self.row(size, generated, family, *seed)
            yield self.row(size, longer, family, *seed)

    def tried(self, best: str, share: float, weight: float) -> _Arm:
        """The arm that tries this share and this weight."""
        return _Arm(
            name=tried_arm(share, weight),
            augmentation=best,
            seen=self.settings.train_images,
            share=share,
            weight=weight,
        )

    def best_of(self, arms: Sequence[_Arm], size: int | None, family: str, seeds: Sequence[tuple[int, int]]) -> _Arm:
        """The arm that is best on validation images; the first of equal ones. All were measured with these seeds."""
        return max(arms, key=lambda arm: sum(self.row(size, arm, family, *seed)["validation"] for seed in seeds))

    def known(self, size: int | None, arm: _Arm, family: str, seed: int, draw: int) -> Row | None:
        """The row of this classifier if it exists; one that was trained in another way is dropped."""
        for row in self.rows:
            key = (row["n"], row["arm"], row["family"], row["seed"], row["draw"], row["condition"])
            if key == (size, arm.name, family, seed, draw, self.condition):
                if arm.made(row):
                    return row
                self.rows = [other for other in self.rows if other is not row]
                return None
        return None

    def add(self, row: Row) -> Row:
        """Append a row, and save all."""
        self.rows.append(row)
        self.save(self.rows)
        return row

    def copied(self, size: int | None, arm: _Arm, family: str, seed: int, draw: int, source: _Arm) -> Row:
        """The row of this classifier, which is that of another arm under this name."""
        row = self.known(size, arm, family, seed, draw)
        return row or self.add({**self.row(size, source, family, seed, draw), "arm": arm.name})

    def row(self, size: int | None, arm: _Arm, family: str, seed: int, draw: int) -> Row:
        """The row of this classifier; it is measured and saved if it does not exist yet."""
        known = self.known(size, arm, family, seed, draw)
        if known is not None:
            return known
        images, strips = self.prepare_images(size, draw)
        name = arm.name
        rest = without_recropping(name) if name in CLASSICAL and strips.why_none is not None else name
        if rest is not None and rest != name:
            # Without overlapping windows, arms with and without re-cropping are the same training, which is done once.
            same = self.row(size, replace(arm, name=rest, augmentation=rest), family, seed, draw)
            note = f"copied from {rest}: {strips.why_none}"
            return self.add({**same, "arm": name, "augmentation": name, "note": note})
        return self.add(
            {
                "n": size,
                "arm": name,
                "family": family,
                "seed": seed,
                "draw": draw,
                "condition": self.condition,
                "augmentation": arm.augmentation,
                "images": len(images),
                "seen": arm.seen,
                "share": arm.share,
                "weight": arm.weight,
                "note": None,
                **self.train_and_test(images, strips, family, seed, arm, draw=(size, draw)),
            }
        )

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
        arm: _Arm,
        *,
        draw: Draw,
    ) -> _Result:
        """Train one classifier and test it on validation and test images."""
        classifier = train_classifier(
            family,
            (images.pixels, images.users),
            len(self.data.id2label),
            seed=seed,
            recipe=recipe(arm.augmentation, strips),
            generated=self.generated[draw] if arm.share else None,
            generated_share=arm.share,
            generated_weight=arm.weight,
            train_images=arm.seen,
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
