"""What makes the measurements of a study anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.study.accuracy.measurement import MeasurementSettings
from echoform_train.study.plan import RealSubset
from echoform_train.study.stage_cache import FinishedStage, StageFacts
from echoform_train.study.stages import accuracies
from echoform_train.study.stages.accuracies import AllAccuracies, ClassicalAccuracies


@pytest.fixture(scope="module")
def subset(walkers: Path) -> RealSubset:
    data = load_spectrograms(walkers)
    return RealSubset(name="2", per_user=2, draw=0, data=data, indices=torch.arange(6))


def classical(subset: RealSubset, settings: MeasurementSettings) -> dict[str, Any]:
    return ClassicalAccuracies(subsets=[subset], settings=settings).inputs()


def with_generated(subset: RealSubset, settings: MeasurementSettings) -> dict[str, Any]:
    finished: FinishedStage[StageFacts] = FinishedStage(
        name="classical-2",
        folder=Path(),
        key="key",
        facts={"summary": ""},
        seconds=0,
        cpu_seconds=0,
        skipped=False,
        made_by=[],
    )
    return AllAccuracies(subsets=[subset], settings=settings, classical=finished, generated_keys=["made"]).inputs()


SETTINGS = MeasurementSettings(sizes=(2,))


@pytest.mark.parametrize("changed", [{"shares": (0.25,)}, {"weights": (1.0,)}])
def test_other_shares_and_weights_keep_the_classifiers_of_real_images(subset, changed):
    other = replace(SETTINGS, **changed)
    assert classical(subset, other) == classical(subset, SETTINGS)
    assert with_generated(subset, other) != with_generated(subset, SETTINGS)


def test_another_length_of_training_makes_all_classifiers_anew(subset):
    other = replace(SETTINGS, train_images=80)
    assert classical(subset, other) != classical(subset, SETTINGS)
    assert with_generated(subset, other) != with_generated(subset, SETTINGS)


def test_a_new_classical_augmentation_makes_all_classifiers_anew(subset, monkeypatch):
    before = classical(subset, SETTINGS)
    monkeypatch.setattr(accuracies, "CLASSICAL", (*accuracies.CLASSICAL, "another one"))
    assert classical(subset, SETTINGS) != before
