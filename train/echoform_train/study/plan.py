"""The plan of a study: which real images each generator and its rival classifiers see, and what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.seeds import mix_seed
from echoform_train.study.accuracy.rows import name_of_size
from echoform_train.study.config import ALL, LEAST_IMAGES, GeneratorConfig, StudyConfig, parse_sizes
from echoform_train.study.images.augmented_dataset import images_to_add
from echoform_train.study.images.subsets import across_conditions, choose_per_user
from echoform_train.study.plan_checks import check_held_out

PER_USER = 100
"""Generated images per user, if no number is given."""


@dataclass(frozen=True, kw_only=True)
class RealSubset:
    """Some real training images: one generator and its rival classifiers see these and no others."""

    name: str
    """Part of the names of its stages, such as "10", "10-draw-1" or "all-normal-backpack"."""
    per_user: int | None
    """Images per user that were asked for; None for all."""
    draw: int
    """Number of the draw at this size."""
    data: SpectrogramData
    """The data, with the validation and test images that belong to the subset."""
    indices: Tensor
    """Indices of the images of `data.train`, int64 [M]."""
    condition: str | None = None
    """Such as "normal -> backpack", for a test on another condition than was trained on."""

    @property
    def images(self) -> Spectrograms:
        """The images themselves."""
        return self.data.train.select(self.indices)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that a study does, decided before anything trains."""

    data: SpectrogramData
    subsets: Sequence[RealSubset]
    """Small sizes first, tests on another condition last."""
    settings: StudyConfig
    generator: GeneratorConfig
    pipeline: Path | None
    """A given generator, which is used instead of training any."""
    images_per_user: dict[int, int]
    """Number of generated images to keep by user."""
    to_add: dict[int, int]
    """Number of those that the augmented data set gets, by user."""
    window_s: float | None
    """Length of one image, seconds, for re-cropping; None if it is unknown."""
    device: str
    """Where classifiers and judges are trained."""
    workers: int
    """Processes that make stages side by side."""
    seed: int
    notes: list[str]
    """Sentences on what the study leaves out, and what a reader must know."""

    @property
    def sizes(self) -> list[int | None]:
        """Images per user at which accuracies are measured, in ascending order; None for all."""
        return list(dict.fromkeys(subset.per_user for subset in self.subsets if subset.condition is None))

    def of_size(self, per_user: int | None) -> list[RealSubset]:
        """The draws of one size."""
        return [subset for subset in self.subsets if subset.per_user == per_user and subset.condition is None]

    @property
    def groups(self) -> list[list[RealSubset]]:
        """Subsets whose classifiers are measured in one stage: the draws of each size, then each other condition."""
        across = [[subset] for subset in self.subsets if subset.condition is not None]
        return [self.of_size(size) for size in self.sizes] + across

    @property
    def largest(self) -> RealSubset:
        """The subset whose generator is scored and fills the augmented data set."""
        return self.of_size(self.sizes[-1])[0]

    @property
    def images_to_measure(self) -> dict[int, int]:
        """Generated images by user that classifiers see: equally many of each, however many the data set gets."""
        return dict.fromkeys(self.images_per_user, min(self.images_per_user.values()))

    @property
    def with_generator(self) -> list[RealSubset]:
        """Subsets that have a generator; a given pipeline has seen all training images, so only the largest has."""
        return list(self.subsets) if self.pipeline is None else [self.largest]

    @property
    def is_pretrained(self) -> bool:
        """Whether generators start from one of simulated people."""
        return self.pipeline is None and self.generator.pretrain_people > 0

    def count_stages(self) -> int:
        """Number of stages."""
        per_generator = 1 if self.pipeline else 2
        return self.is_pretrained + per_generator * len(self.with_generator) + 2 * len(self.groups) + 4


def plan_study(
    data: SpectrogramData,
    settings: StudyConfig,
    generator: GeneratorConfig,
    *,
    pipeline: Path | None,
    per_user: int | None,
    balance_to: int | None,
    window_s: float | None,
    device: str,
    workers: int,
    seed: int,
) -> Study:
    """Decide what a study does, and check that its data allow it.

    Args:
        data: The real images.
        settings: What to measure.
        generator: How generators are trained and sampled.
        pipeline: A given generator, which has seen all training images; None trains one per subset.
        per_user: Generated images per user for the augmented data set; PER_USER if `balance_to` is not given either.
        balance_to: Number of images, real and generated together, up to which each user is filled instead.
        window_s: Length of one image, seconds; None takes that of axes.json, if there is one.
        device: Where classifiers and judges are trained.
        workers: Processes that make stages side by side.
        seed: Of the choice of images, and of everything that is trained.

    Raises:
        ValueError: If the images are generated ones, or too few of a user, a part or a condition.
    """
    notes = []
    if pipeline is not None:
        settings = replace(settings, sizes=(ALL,), draws=1, across=())
        notes.append(
            "The generator was given, and has seen all training images: at fewer real images its gain would be theirs, "
            "so that only all of them are measured."
        )
    elif generator.pretrain_people:
        notes.append(
            f"The generators start from one of {generator.pretrain_people} simulated walkers, who are other people; "
            "the classifiers without generated images know nothing of those."
        )
    subsets, left_out = plan_subsets(data, settings, seed)
    if per_user is None and balance_to is None:
        per_user = PER_USER
    to_add = images_to_add(data.train.users, len(data.id2label), per_user=per_user, balance_to=balance_to)
    # A user who needs few more images still needs enough of them for the measurements.
    images_per_user = {user: max(count, per_user or PER_USER) for user, count in to_add.items()}
    check_held_out(data, images_per_user)
    return Study(
        data=data,
        subsets=subsets,
        settings=settings,
        generator=generator,
        pipeline=pipeline,
        images_per_user=images_per_user,
        to_add=to_add,
        window_s=window_s if window_s is not None else (data.axes or {}).get("window_s"),
        device=device,
        workers=workers,
        seed=seed,
        notes=notes + left_out,
    )


def plan_subsets(data: SpectrogramData, settings: StudyConfig, seed: int) -> tuple[list[RealSubset], list[str]]:
    """The subsets of real images of a study, and sentences on sizes that are left out.

    A size that no user has more images than would be the same as all, so it is left out.

    Args:
        data: The real images.
        settings: Sizes, draws and conditions.
        seed: Of the choice.

    Raises:
        ValueError: If a user has too few training images, no size remains, or a condition is unknown.
    """
    most = _check_counts(data)
    sizes = [size for size in parse_sizes(settings.sizes) if size is None or size < most]
    if not sizes:
        raise ValueError(
            f"--sizes must name one that some user has more images than, or all; nobody has more than {most} for "
            f"training, got {', '.join(settings.sizes)}"
        )
    subsets = [
        RealSubset(
            name=name_of_size(size) + (f"-draw-{draw}" if draw else ""),
            per_user=size,
            draw=draw,
            data=data,
            indices=choose_per_user(data.train, size, seed=mix_seed(seed, draw)),
        )
        for size in sizes
        for draw in range(settings.draws)
    ]
    subsets += [_across(data, text, seed) for text in settings.across]
    notes = [
        f"{size} real images of each person were asked for, but nobody has more than {most} for training: this size is "
        "left out."
        for size in parse_sizes(settings.sizes)
        if size not in sizes
    ]
    return subsets, notes


def describe_images_per_user(subsets: Sequence[RealSubset]) -> str:
    """Number of images of a user that the draws of one size really hold: "10", "7 to 10", or "24 (all)"."""
    counts = torch.cat([torch.bincount(subset.images.users) for subset in subsets])
    least, most = int(counts[counts > 0].min()), int(counts.max())
    text = str(least) if least == most else f"{least} to {most}"
    return text if subsets[0].per_user is not None else f"{text} (all)"


def _check_counts(data: SpectrogramData) -> int:
    """Check that each user has enough training images, and return the number of images of the user with most."""
    counts = torch.bincount(data.train.users, minlength=len(data.id2label))
    fewest = int(counts.argmin())
    if int(counts[fewest]) < LEAST_IMAGES:
        raise ValueError(
            f"a study needs at least {LEAST_IMAGES} training images of each user, "
            f"{data.id2label[fewest]} has {int(counts[fewest])}"
        )
    return int(counts.max())


def _across(data: SpectrogramData, text: str, seed: int) -> RealSubset:
    """All training images of one condition, for a test on another, written column:trained:tested."""
    column, trained, tested = text.split(":")
    of_conditions = across_conditions(data, column, trained, tested)
    return RealSubset(
        name=f"all-{trained}-{tested}",
        per_user=None,
        draw=0,
        data=of_conditions,
        indices=choose_per_user(of_conditions.train, None, seed=seed),
        condition=f"{trained} -> {tested}",
    )
