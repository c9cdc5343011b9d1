"""Make the plan of a study from its data and flags, and check that the data allow it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.errors import UserError
from echoform_train.engine.seeds import mix_seed
from echoform_train.publishing.onnx_files import check_onnx_packages
from echoform_train.study.accuracy.rows import name_of_size
from echoform_train.study.config import ALL, LEAST_IMAGES, GeneratorConfig, StudyConfig, parse_sizes
from echoform_train.study.images.augmented_dataset import images_to_add
from echoform_train.study.images.subsets import across_conditions, choose_per_user
from echoform_train.study.plan import RealSubset, Study
from echoform_train.study.plan_checks import check_held_out
from echoform_train.trainers.classifier import check_data

PER_USER = 100
"""Default number of generated images per user."""


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
    """Make the plan of a study, and check that the data allow it.

    Args:
        data: The real images.
        settings: What to measure.
        generator: How generators are trained and sampled.
        pipeline: A given generator, which was trained on all training images; None trains one generator per subset.
        per_user: Generated images per user for the augmented data set; PER_USER if `balance_to` is not given either.
        balance_to: Alternative to `per_user`: number of images per user to reach, real and generated together.
        window_s: Length of one image, seconds; None takes that of axes.json, if there is one.
        device: Where classifiers and judges are trained.
        workers: Processes that make stages side by side.
        seed: Seed of the choice of images and of all trainings.

    Raises:
        ValueError: If the images are generated, or a user, a split or a condition has too few images.
    """
    if pipeline is not None:
        # At smaller sizes, the given generator would add knowledge of real images that the classifiers must not have.
        settings = replace(settings, sizes=(ALL,), draws=1, across=())
    subsets, left_out = plan_subsets(data, settings, seed)
    if per_user is None and balance_to is None:
        per_user = PER_USER
    to_add = images_to_add(data.train.users, len(data.id2label), per_user=per_user, balance_to=balance_to)
    # Users who need few added images still need enough generated ones for the measurements.
    images_per_user = {user: max(count, per_user or PER_USER) for user, count in to_add.items()}
    check_held_out(data, images_per_user)
    without_classifier = _notes_on_classifier(data, settings)
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
        hands_over=not without_classifier,
        notes=_notes_on_generator(pipeline, generator) + left_out + without_classifier,
    )


def _notes_on_classifier(data: SpectrogramData, settings: StudyConfig) -> list[str]:
    """Why no classifier is handed over; [] if one is.

    Raises:
        MissingPackageError: If it is to be written as ONNX, whose packages are missing.
    """
    if settings.onnx:
        check_onnx_packages("--onnx")
    try:
        check_data(data)
    except UserError as error:
        return [f"No classifier is handed over: {error}."]
    return []


def _notes_on_generator(pipeline: Path | None, generator: GeneratorConfig) -> list[str]:
    if pipeline is not None:
        return [
            "The given generator was trained on all training images. Only this size is measured, because at smaller "
            "sizes the generator would have seen more real images than the classifiers."
        ]
    if generator.pretrain_people:
        return [
            f"The generators were pre-trained on {generator.pretrain_people} simulated people, who are not in the "
            "data; classifiers without generated images have not seen them."
        ]
    return []


def plan_subsets(data: SpectrogramData, settings: StudyConfig, seed: int) -> tuple[list[RealSubset], list[str]]:
    """Choose the subsets of real images of a study, and list notes on sizes that are left out.

    A size that no user exceeds is left out, because it would be the same as "all".

    Args:
        data: The real images.
        settings: Sizes, draws and conditions.
        seed: Seed of the choice.

    Raises:
        ValueError: If a user has too few training images, no size remains, or a condition is unknown.
    """
    most = _check_counts(data)
    # A size that no user exceeds is the same as "all".
    wanted = parse_sizes(settings.sizes)
    sizes = [size for size in wanted if size is None or size < most]
    if not sizes:
        raise UserError(
            f"--sizes must contain all or a number below {most}, the largest number of training images of a user, got "
            f"{', '.join(settings.sizes)}"
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
        # There is only one choice of all images.
        for draw in range(1 if size is None else settings.count_draws)
    ]
    # Tests on another condition come last, and use all images of the trained condition.
    subsets += [_across(data, text, seed) for text in settings.across]
    notes = [
        f"{size} real images per user were requested, but no user has more than {most} for training: this size is "
        "left out."
        for size in wanted
        if size not in sizes
    ]
    return subsets, notes


def _check_counts(data: SpectrogramData) -> int:
    """Check that each user has enough training images, and return the number of images of the user with most."""
    counts = torch.bincount(data.train.users, minlength=len(data.id2label))
    fewest = int(counts.argmin())
    if int(counts[fewest]) < LEAST_IMAGES:
        raise UserError(
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
