"""Functions that build the stages of a study from its plan, each with only the values that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from echoform_train.scoring.generated_images import Sample
from echoform_train.study.accuracy.comparisons import best_classical, recommended_row
from echoform_train.study.accuracy.measurement import MeasurementSettings
from echoform_train.study.accuracy.rows import BOTH, Row
from echoform_train.study.classifiers.networks import FAMILIES
from echoform_train.study.classifiers.way import StudyWay
from echoform_train.study.gait.findings import GaitFindings, UnreadableGait
from echoform_train.study.images.selection import SelectedImages, SelectionSettings
from echoform_train.study.images.subsets import first_of_each_user
from echoform_train.study.plan import RealSubset, Study
from echoform_train.study.stage_cache import FinishedStage, StageFacts
from echoform_train.study.stages.accuracies import AllAccuracies, ClassicalAccuracies
from echoform_train.study.stages.classifier import ClassifierTraining
from echoform_train.study.stages.confusion import Confusion
from echoform_train.study.stages.dataset import AugmentedDataset
from echoform_train.study.stages.gait import GaitComparison
from echoform_train.study.stages.generator import GeneratorTraining
from echoform_train.study.stages.pretraining import Pretraining
from echoform_train.study.stages.recipes import RecipeClassifiers, Teaching
from echoform_train.study.stages.scores import GeneratorScores
from echoform_train.study.stages.selection import ImageSelection

SCREENING_SEEDS = 2
"""Number of seeds used to choose the best classical augmentation."""
CONFUSION_SIZE = 10
"""Images per user for the tables of confusion; if it was not measured, the next larger number is used."""


@dataclass(frozen=True)
class Generated:
    """The generator of one subset of the real images, and its images."""

    pipeline: Path
    images: SelectedImages
    key: str
    """Key of the stage that selected the images."""


def has_images(generated: Mapping[str, Generated], subset: RealSubset) -> bool:
    """Whether any generated image of a subset was kept."""
    return subset.name in generated and len(generated[subset.name].images.kept) > 0


def pretraining(study: Study) -> Pretraining:
    """The stage that trains a generator on simulated people; they resemble the fewest images that a generator gets."""
    fewest = min(study.with_generator, key=lambda subset: len(subset.indices))
    return Pretraining(data=study.data, like=fewest.images, settings=study.generator, seed=study.seed)


def generator_training(
    study: Study, subset: RealSubset, pretrained: FinishedStage[StageFacts] | None
) -> GeneratorTraining:
    """The stage that trains the generator of a subset."""
    return GeneratorTraining(
        subset=subset, settings=study.generator, window_s=study.window_s, pretrained=pretrained, seed=study.seed
    )


def image_selection(study: Study, subset: RealSubset, pipeline: Path, pipeline_key: str) -> ImageSelection:
    """The stage that draws images from the generator of a subset and keeps the best."""
    return ImageSelection(
        subset=subset,
        pipeline=pipeline,
        pipeline_key=pipeline_key,
        sampling=study.generator,
        # The data set is filled from the generator of the largest subset; other generators only serve measurements.
        wanted=study.images_per_user if subset is study.largest else study.images_to_measure,
        settings=SelectionSettings(
            keep_share=study.settings.keep_share,
            max_duplicate=study.settings.max_duplicate,
            only_walks=study.settings.only_walks,
            scorer_train_images=study.settings.classifier_train_images,
        ),
        seed=study.seed,
        device=study.device,
    )


def classical_accuracies(study: Study, group: Sequence[RealSubset]) -> ClassicalAccuracies:
    """The stage that trains classifiers on real images only."""
    return ClassicalAccuracies(subsets=group, settings=_measurement_settings(study, group))


def all_accuracies(
    study: Study,
    group: Sequence[RealSubset],
    classical: FinishedStage[StageFacts],
    generated: Mapping[str, Generated],
) -> AllAccuracies:
    """The stage that trains classifiers with generated images too."""
    return AllAccuracies(
        subsets=group,
        settings=_measurement_settings(study, group),
        classical=classical,
        generated={
            (subset.per_user, subset.draw): _images_to_measure(study, generated[subset.name])
            for subset in group
            if has_images(generated, subset)
        },
        generated_keys=[generated[subset.name].key if subset.name in generated else None for subset in group],
    )


def confusion(study: Study, rows: Sequence[Row], generated: Mapping[str, Generated]) -> Confusion:
    """The stage that counts which users classifiers confuse."""
    family = next(iter(FAMILIES))
    measured = [subset for subset in study.subsets if has_images(generated, subset) and subset.condition is None]
    large = (subset for subset in measured if subset.per_user is None or subset.per_user >= CONFUSION_SIZE)
    subset = next(large, measured[-1])
    # Share and weight are those that the family was measured with.
    of_subset = (row for row in rows if (row["n"], row["family"], row["condition"]) == (subset.per_user, family, None))
    measured_row = next(row for row in of_subset if row["arm"] == BOTH)
    return Confusion(
        data=study.data,
        subset=subset,
        generated=_images_to_measure(study, generated[subset.name]),
        generated_key=generated[subset.name].key,
        family=family,
        augmentation=best_classical(rows, subset.per_user, family),
        window_s=study.window_s,
        train_images=study.settings.classifier_train_images,
        generated_share=measured_row["share"],
        generated_weight=measured_row["weight"],
        device=study.device,
    )


def generator_scores(study: Study, largest: Generated) -> GeneratorScores:
    """The stage that scores the generator of the largest subset."""
    return GeneratorScores(
        data=study.data,
        images=largest.images,
        images_key=largest.key,
        judge_seeds=study.settings.judge_seeds,
        judge_train_images=study.settings.judge_train_images,
        device=study.device,
    )


def gait_comparison(study: Study, largest: Generated) -> GaitComparison:
    """The stage that compares the gait in generated and in real images."""
    return GaitComparison(data=study.data, images=largest.images, images_key=largest.key, seed=study.seed)


def augmented_dataset(study: Study, largest: Generated, gait: GaitFindings | UnreadableGait) -> AugmentedDataset:
    """The stage that writes the augmented data set."""
    return AugmentedDataset(
        data=study.data, images=largest.images, images_key=largest.key, to_add=study.to_add, gait=gait
    )


def teaching(study: Study, rows: Sequence[Row], subset: RealSubset, generated: Generated) -> Teaching:
    """The stage that lets teachers label the generated images of a subset."""
    return Teaching(
        subset=subset,
        generated=_images_to_measure(study, generated),
        generated_key=generated.key,
        pipeline=generated.pipeline,
        sampling=study.generator,
        augmentations=_best_augmentations(rows, subset.per_user),
        window_s=study.window_s,
        train_images=study.settings.classifier_train_images,
        seed=study.seed,
        device=study.device,
    )


def recipe_classifiers(
    study: Study, rows: Sequence[Row], group: Sequence[RealSubset], taught: Mapping[int, FinishedStage[StageFacts]]
) -> RecipeClassifiers:
    """The stage that trains the classifiers of the recipes at one size."""
    return RecipeClassifiers(
        subsets=group,
        taught=taught,
        augmentations=_best_augmentations(rows, group[0].per_user),
        settings=_measurement_settings(study, group),
    )


def _best_augmentations(rows: Sequence[Row], per_user: int | None) -> dict[str, str]:
    return {family: best_classical(rows, per_user, family) for family in FAMILIES}


def classifier_training(study: Study, rows: Sequence[Row], largest: Generated) -> ClassifierTraining:
    """The stage that trains the classifier that is handed over, as its family did best at the largest size."""
    best = recommended_row(rows, study.sizes[-1], next(iter(FAMILIES)))
    return ClassifierTraining(
        data=study.data,
        way=StudyWay(
            augmentation=best["augmentation"],
            window_s=study.window_s,
            generated=_images_to_measure(study, largest) if best["share"] else None,
            generated_key=largest.key if best["share"] else None,
            share=best["share"],
            weight=best["weight"],
        ),
        train_images=best["seen"],
        false_accept_rate=study.settings.false_accept_rate,
        onnx=study.settings.onnx,
        seed=study.seed,
        device=study.device,
    )


def _measurement_settings(study: Study, group: Sequence[RealSubset]) -> MeasurementSettings:
    return MeasurementSettings(
        sizes=(group[0].per_user,),
        seeds=tuple(range(study.settings.seeds)),
        screening_seeds=min(SCREENING_SEEDS, study.settings.seeds),
        train_images=study.settings.classifier_train_images,
        shares=study.settings.shares,
        weights=study.settings.loss_weights,
        window_s=study.window_s,
        device=study.device,
    )


def _images_to_measure(study: Study, generated: Generated) -> Sample:
    """The generated images that classifiers see."""
    pixels, users = generated.images.sample
    chosen = first_of_each_user(users, study.images_to_measure)
    return pixels[chosen], users[chosen]
