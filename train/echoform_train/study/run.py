"""Run the stages of a study in order, from the real images to the results in its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from echoform_train.engine.errors import UserError
from echoform_train.engine.parallel import run_in_processes
from echoform_train.scoring.scores import Scores
from echoform_train.study import build_stages
from echoform_train.study.accuracy.rows import Row
from echoform_train.study.build_stages import Generated, has_images
from echoform_train.study.content_hashes import folder_hash
from echoform_train.study.gait.findings import GaitFindings, UnreadableGait
from echoform_train.study.images.augmented_dataset import Counts
from echoform_train.study.images.selection import SelectedImages
from echoform_train.study.plan import RealSubset, Study
from echoform_train.study.stage_cache import FinishedStage, StageCache, StageFacts
from echoform_train.study.stages.accuracies import read_rows
from echoform_train.study.stages.classifier import ClassifierFacts
from echoform_train.study.stages.confusion import ConfusionFacts
from echoform_train.study.stages.gait import read_gait


@dataclass(frozen=True)
class StudyResults:
    """Results of all stages."""

    images: dict[str, SelectedImages]
    """Generated images by name of the subset."""
    pipeline: Path
    """Generator of the largest subset."""
    rows: list[Row]
    recipe_rows: list[Row]
    """Classifiers of the recipes; [] if they were not asked for."""
    confusion: ConfusionFacts
    scores: dict[str, Scores]
    """Scores of the generator of the largest subset, by "drawn" and "kept" images."""
    gait: GaitFindings | UnreadableGait
    dataset: dict[str, Counts]
    """Number of images in the augmented data set by split."""
    classifier: FinishedStage[ClassifierFacts] | None
    """The classifier that is handed over; None if there is none."""
    stages: list[FinishedStage[Any]]


def run_study(study: Study, root: Path, dataset: Path) -> StudyResults:
    """Run all stages; those that were made before are skipped.

    Args:
        study: The plan.
        root: Folder of the stages.
        dataset: Folder of the augmented data set.

    Raises:
        ValueError: If no generated image is kept.
    """
    cache = StageCache(root, study.count_stages())
    pretrained = cache.run(build_stages.pretraining(study)) if study.is_pretrained else None

    # Generators and classifiers of real images do not depend on each other, so they are trained in parallel.
    generate = {subset.name: partial(_generate, study, subset, pretrained) for subset in study.with_generator}
    classical = [partial(_measure_classical, study, group) for group in study.groups]
    _make_ahead(study.workers, root, [*generate.values(), *classical])
    generated = {name: make(cache) for name, make in generate.items()}
    _check_some_kept(study, generated)

    # Scoring and classifiers of generated images do not depend on each other either.
    largest = generated[study.largest.name]
    score = partial(_score, study, largest)
    measure = [partial(_measure_all, study, group, generated) for group in study.groups]
    _make_ahead(study.workers, root, [score, *measure])
    rows = [row for measure_group in measure for row in measure_group(cache)]
    recipes: list[Callable[[StageCache], list[Row]]] = []
    if study.settings.recipes:
        sizes = [group for group in study.groups if group[0].condition is None]
        recipes = [partial(_measure_recipes, study, group, generated, rows) for group in sizes]
        _make_ahead(study.workers, root, recipes)
    recipe_rows = [row for measure_group in recipes for row in measure_group(cache)]
    confusion = cache.run(build_stages.confusion(study, rows, generated))
    scores = score(cache)
    gait = read_gait(cache.run(build_stages.gait_comparison(study, largest)))
    augmented = cache.run(build_stages.augmented_dataset(study, largest, gait), output=dataset)
    handed_over = None
    if study.hands_over:
        handed_over = cache.run(build_stages.classifier_training(study, rows, largest))
    return StudyResults(
        images={name: each.images for name, each in generated.items()},
        pipeline=largest.pipeline,
        rows=rows,
        recipe_rows=recipe_rows,
        confusion=confusion.facts,
        scores=scores,
        gait=gait,
        dataset=augmented.facts["counts"],
        classifier=handed_over,
        stages=cache.done,
    )


def _make_ahead(workers: int, root: Path, makers: Sequence[Callable[[StageCache], object]]) -> None:
    """Make stages in parallel if there are several workers; the later run in order then skips them as finished."""
    if workers > 1:
        run_in_processes([partial(_make_in_own_cache, root, make) for make in makers], workers)


def _make_in_own_cache(root: Path, make: Callable[[StageCache], object]) -> None:
    make(StageCache(root, total=None))


def _generate(
    study: Study, subset: RealSubset, pretrained: FinishedStage[StageFacts] | None, cache: StageCache
) -> Generated:
    """Train a generator on a subset, unless one was given, and select images from it."""
    if study.pipeline is not None:
        pipeline, key = study.pipeline, folder_hash(study.pipeline)
    else:
        trained = cache.run(build_stages.generator_training(study, subset, pretrained))
        pipeline, key = trained.folder / trained.facts["pipeline"], trained.key
    selection = cache.run(build_stages.image_selection(study, subset, pipeline, key))
    return Generated(pipeline, SelectedImages.load(selection.folder), selection.key)


def _check_some_kept(study: Study, generated: Mapping[str, Generated]) -> None:
    if not any(has_images(generated, subset) for subset in study.subsets if subset.condition is None):
        raise UserError(
            "a study needs generated images: all that were drawn are near-duplicates of training images or show no "
            "possible walk (--no-only-walks also keeps images that show no possible walk)"
        )


def _measure_classical(study: Study, group: Sequence[RealSubset], cache: StageCache) -> FinishedStage[StageFacts]:
    return cache.run(build_stages.classical_accuracies(study, group))


def _measure_all(
    study: Study, group: Sequence[RealSubset], generated: Mapping[str, Generated], cache: StageCache
) -> list[Row]:
    classical = _measure_classical(study, group, cache)
    return read_rows(cache.run(build_stages.all_accuracies(study, group, classical, generated)).folder)


def _measure_recipes(
    study: Study,
    group: Sequence[RealSubset],
    generated: Mapping[str, Generated],
    rows: Sequence[Row],
    cache: StageCache,
) -> list[Row]:
    taught = {
        subset.draw: cache.run(build_stages.teaching(study, rows, subset, generated[subset.name]))
        for subset in group
        if has_images(generated, subset)
    }
    if not taught:
        return []
    return read_rows(cache.run(build_stages.recipe_classifiers(study, rows, group, taught)).folder)


def _score(study: Study, largest: Generated, cache: StageCache) -> dict[str, Scores]:
    return cache.run(build_stages.generator_scores(study, largest)).facts["found"]
