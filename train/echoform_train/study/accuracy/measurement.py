"""The gain of augmentation: classifiers trained with and without it, their paired differences and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.scoring.generated_images import Sample
from echoform_train.scoring.intervals import Interval
from echoform_train.study.accuracy.comparisons import (
    BEST,
    BOTH,
    GENERATED,
    Difference,
    Row,
    best_classical,
    name_of_size,
    paired,
)
from echoform_train.study.classifiers.augmentations import CLASSICAL, REAL, Strips, recipe, without_recropping
from echoform_train.study.classifiers.training import FAMILIES, hits, train_classifier

Word = Literal["helps", "no measurable effect", "hurts"]


@dataclass(frozen=True, kw_only=True)
class GainSettings:
    """What to measure."""

    sizes: tuple[int | None, ...] = (5, 10, 20, 50, None)
    """Real images a user; None for all."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One classifier of each arm and family for each; at least two for an interval."""
    screening_seeds: int = 2
    """So many of the seeds choose the best classical augmentation; only that one is trained with the others."""
    families: tuple[str, ...] = tuple(FAMILIES)
    """Kinds of classifiers."""
    train_images: int = 8_000
    """Images that each classifier sees, in every arm."""
    extra_share: float = 0.5
    """Share of generated images among those, where there are any."""
    window_s: float | None = None
    """Seconds in one image, for re-cropping; None where it is unknown."""
    device: str = "cpu"
    """Where classifiers are trained."""

    def __post_init__(self) -> None:
        if not self.sizes or not self.families:
            raise ValueError(f"at least one size and one family are needed, got {self.sizes} and {self.families}")
        if len(set(self.seeds)) < max(1, len(self.seeds)):
            raise ValueError(f"seeds must be at least one, each once, got {self.seeds}")
        if not 1 <= self.screening_seeds <= len(self.seeds):
            raise ValueError(f"screening_seeds must be in 1..{len(self.seeds)}, got {self.screening_seeds}")


class SizeDifference(Difference):
    """The same of one size."""

    images_a_user: int | None


class Verdict(Difference):
    """What generated images add to the best classical augmentation, over all sizes."""

    word: Word
    sentence: str
    sizes: list[SizeDifference]
    """Each size alone; its interval is a plain one, not widened for there being several sizes."""


def measure(
    data: SpectrogramData,
    subsets: Mapping[tuple[int | None, int], Tensor],
    generated: Mapping[tuple[int | None, int], Sample],
    settings: GainSettings,
    done: Sequence[Row] = (),
    save: Callable[[list[Row]], None] = lambda rows: None,
    *,
    condition: str | None = None,
) -> list[Row]:
    """Train and test the classifiers of every arm at every size.

    At each size the classical arms come first, with the first `screening_seeds` seeds; the best of each family on the
    validation images goes on with all seeds, alone and with generated images. The k-th seed takes draw k, going round
    where a size has fewer draws than there are seeds. Give every size as many draws as seeds, or one.

    Args:
        data: Split for this study. Where `condition` is given, as `across` leaves it.
        subsets: By (n, draw), draw 0, 1, ...: places of the images of `data.train`, as `subsets.choose` gives them.
        generated: By the same keys, what a generator made that has seen those images and no others; where a key is
            absent, the generated arms are left out.
        settings: What to measure.
        done: Rows that an interrupted call with the same arguments has saved; they are not measured again. Rows of
            "best classical + generated" whose augmentation is no longer the best are dropped.
        save: Called with all rows after each new one.
        condition: Words for the rows of a test on another condition.

    Returns:
        All rows; of `done` first, in the order of their measuring.

    Raises:
        ValueError: If a size has no draw, or there are no validation or test images.
    """
    if not len(data.validation) or not len(data.test):
        raise ValueError(f"the study needs validation and test images, got {len(data.validation)} and {len(data.test)}")
    draws = {n: sum(1 for size, _ in subsets if size == n) for n in settings.sizes}
    if empty := [name_of_size(n) for n in settings.sizes if draws[n] == 0]:
        raise ValueError(f"every size needs a draw of images, there is none for {', '.join(empty)}")
    study = _Study(data, subsets, generated, settings, condition, list(done), save)
    screening = len(CLASSICAL) * settings.screening_seeds + len(settings.seeds) - settings.screening_seeds
    both = {n: 2 * sum((n, k % draws[n]) in generated for k in range(len(settings.seeds))) for n in settings.sizes}
    total = sum(len(settings.families) * (len(settings.seeds) + screening + both[n]) for n in settings.sizes)
    with tqdm(total=total, desc=condition or "classifiers", unit="classifier") as bar:
        for n in settings.sizes:
            for family in settings.families:
                for _ in study.measure_size(n, family, draws[n]):
                    bar.update()
    return study.rows


def across(data: SpectrogramData, column: str, trained: str, tested: str) -> SpectrogramData:
    """The data of a test on another condition: train and validation images of one, test images of another.

    Validation is of the trained one too: who meets a new condition has no images of it to choose by. A generator for
    this study may see chosen images of `train` here, and so none of the other condition.

    Args:
        data: The whole data.
        column: Of `data.condition_labels`.
        trained: Label of the condition to train on.
        tested: Label of the other one.

    Raises:
        ValueError: If the column or a label is unknown, or a part has no images.
    """
    if column not in data.condition_labels:
        raise ValueError(f"the column must be one of {', '.join(data.condition_labels) or 'none'}, got {column}")
    numbers = {label: number for number, label in data.condition_labels[column].items()}
    for label in (trained, tested):
        if label not in numbers:
            raise ValueError(f"{column} must be one of {', '.join(numbers)}, got {label}")

    def only(part: Spectrograms, side: str, label: str) -> Spectrograms:
        kept = part.select(torch.nonzero(part.conditions[column] == numbers[label]).flatten())
        if not len(kept):
            raise ValueError(f"{side} must hold images whose {column} is {label}, it holds none")
        return kept

    return replace(
        data,
        train=only(data.train, "train", trained),
        validation=only(data.validation, "validation", trained),
        test=only(data.test, "test", tested),
    )


def paired_difference(
    rows: Sequence[Row],
    arm: str,
    baseline: str,
    n: int | None,
    family: str | None = None,
    condition: str | None = None,
) -> Interval:
    """`paired` at one size, as an interval alone; shares of images."""
    found = paired(rows, arm, baseline, [n], family, condition)
    return Interval(found["difference"], found["low"], found["high"])


def verdict(rows: Sequence[Row]) -> Verdict:
    """Whether generated images help a classifier that has the best classical augmentation already.

    It is decided by one number that was fixed beforehand, so that no size can be picked afterwards: the difference
    between "best classical + generated" and "best classical", averaged over all sizes measured and both families. It
    "helps" if the 95 % interval of that lies above 0, "hurts" if it lies below, and has "no measurable effect"
    otherwise. Intervals of single sizes decide nothing; the sentence names each size whose own interval lies below 0.
    What the intervals cover is said in `paired`.

    Args:
        rows: What was measured; rows with a condition do not count.

    Raises:
        ValueError: If nothing was measured with generated images, or with fewer than two seeds.
    """
    sizes = sorted({row["n"] for row in rows if row["arm"] == BOTH and row["condition"] is None}, key=_by_size)
    if not sizes:
        raise ValueError(f"a verdict needs rows of the arm {BOTH!r}, there are none")
    pooled = paired(rows, BOTH, BEST, sizes)
    alone = [SizeDifference(**paired(rows, BOTH, BEST, [n]), images_a_user=n) for n in sizes]
    word: Word = "helps" if pooled["low"] > 0 else "hurts" if pooled["high"] < 0 else "no measurable effect"
    return Verdict(**pooled, word=word, sentence=_sentence(word, pooled, alone), sizes=alone)


class _Study:
    """The measuring of one call: what is there, and what is missing."""

    def __init__(
        self,
        data: SpectrogramData,
        subsets: Mapping[tuple[int | None, int], Tensor],
        generated: Mapping[tuple[int | None, int], Sample],
        settings: GainSettings,
        condition: str | None,
        rows: list[Row],
        save: Callable[[list[Row]], None],
    ) -> None:
        self.data, self.subsets, self.generated, self.settings = data, subsets, generated, settings
        self.condition, self.rows, self.save = condition, rows, save
        self.images: dict[tuple[int | None, int], tuple[Spectrograms, Strips]] = {}

    def measure_size(self, n: int | None, family: str, draws: int) -> Iterator[Row]:
        """All rows of a size and a family, those that were there too."""
        seeds = [(seed, place % draws) for place, seed in enumerate(self.settings.seeds)]
        for place, (seed, draw) in enumerate(seeds):
            for arm in (REAL, *CLASSICAL) if place < self.settings.screening_seeds else (REAL,):
                yield self.row(n, arm, family, seed, draw, arm)
        best = best_classical(self.rows, n, family, self.condition)
        self.rows = [row for row in self.rows if not self.stale(row, n, family, best)]
        for seed, draw in seeds[self.settings.screening_seeds :]:
            yield self.row(n, best, family, seed, draw, best)
        for seed, draw in seeds:
            if (n, draw) in self.generated:
                yield self.row(n, GENERATED, family, seed, draw, REAL)
                yield self.row(n, BOTH, family, seed, draw, best)

    def stale(self, row: Row, n: int | None, family: str, best: str) -> bool:
        ours = (row["n"], row["family"], row["condition"], row["arm"]) == (n, family, self.condition, BOTH)
        return ours and row["augmentation"] != best

    def row(self, n: int | None, arm: str, family: str, seed: int, draw: int, augmentation: str) -> Row:
        """The row of these numbers, measured where it is not there."""
        key = {"n": n, "arm": arm, "family": family, "seed": seed, "draw": draw, "condition": self.condition}
        for row in self.rows:
            if all(row[name] == value for name, value in key.items()):
                return row
        part, strips = self.prepared(n, draw)
        left = without_recropping(arm) if arm in CLASSICAL and strips.why_none is not None else arm
        if left is not None and left != arm:
            same = self.row(n, left, family, seed, draw, left)
            row = same | {"arm": arm, "augmentation": arm, "note": f"as {left}: {strips.why_none}"}
        else:
            extra = self.generated[n, draw] if arm in (GENERATED, BOTH) else None
            row = key | {"augmentation": augmentation, "images": len(part), "note": None}
            row |= self.score(part, strips, family, seed, augmentation, extra)
        self.rows.append(row)
        self.save(self.rows)
        return row

    def prepared(self, n: int | None, draw: int) -> tuple[Spectrograms, Strips]:
        """The images of a draw; those of one size at a time are kept."""
        if any(size != n for size, _ in self.images):
            self.images.clear()
        if (n, draw) not in self.images:
            part = self.data.train.select(self.subsets[n, draw])
            self.images[n, draw] = part, Strips(part, self.settings.window_s)
        return self.images[n, draw]

    def score(
        self, part: Spectrograms, strips: Strips, family: str, seed: int, augmentation: str, extra: Sample | None
    ) -> dict[str, Any]:
        """Train one classifier and test it."""
        asked = recipe(augmentation, strips)
        classifier = train_classifier(
            family,
            part.pixels,
            part.users,
            len(self.data.id2label),
            augmentation=asked.augmentation,
            strips=asked.strips,
            seed=seed,
            train_images=self.settings.train_images,
            extra=extra,
            extra_share=self.settings.extra_share,
            device=self.settings.device,
        )
        validation, test = self.data.validation, self.data.test
        right = hits(classifier, test.pixels, test.users)
        return {
            "validation": hits(classifier, validation.pixels, validation.users).double().mean().item(),
            "accuracy": right.double().mean().item(),
            "hits": torch.bincount(test.users[right], minlength=len(self.data.id2label)).tolist(),
        }


def _sentence(word: Word, pooled: Difference, alone: Sequence[SizeDifference]) -> str:
    opening = {
        "helps": "Generated spectrograms help",
        "no measurable effect": "Generated spectrograms have no measurable effect",
        "hurts": "Generated spectrograms hurt",
    }[word]
    names = _enumeration([name_of_size(one["images_a_user"]) for one in alone])
    where = f"{'mean over ' if len(alone) > 1 else 'at '}{names} real images a user"
    change = f"{abs(100 * pooled['difference']):.1f} points {'more' if pooled['difference'] >= 0 else 'fewer'}"
    interval = f"95 % interval {100 * pooled['low']:+.1f} to {100 * pooled['high']:+.1f}"
    covered = "each with images of its own" if pooled["over"] == "draws" else "all on the same images"
    said = (
        f"{opening}: added to the best classical augmentation they let classifiers name {change} of held-out "
        f"spectrograms right ({interval}; {pooled['n']} {pooled['over']}, {covered}; {where})."
    )
    worse = [one for one in alone if one["high"] < 0]
    if worse and len(alone) > 1:
        listed = [f"{name_of_size(one['images_a_user'])} ({100 * one['difference']:+.1f} points)" for one in worse]
        said += f" With so many real images a user they make it worse: {_enumeration(listed)}."
    return said


def _enumeration(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _by_size(n: int | None) -> float:
    return float("inf") if n is None else n
