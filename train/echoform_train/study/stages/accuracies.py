"""Stages that measure classifiers at one number of real images: trained on real images, and on generated ones too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from echoform_train.engine.json_files import read_json, write_json
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.accuracy.measurement import Draw, MeasurementSettings, measure
from echoform_train.study.accuracy.rows import Row
from echoform_train.study.classifiers.augmentations import CLASSICAL
from echoform_train.study.content_hashes import split_hashes
from echoform_train.study.plan import RealSubset
from echoform_train.study.stage_cache import FinishedStage, StageFacts

ROWS = "rows.json"


@dataclass(frozen=True, kw_only=True)
class ClassicalAccuracies:
    """Train classifiers on real images only, with every classical augmentation.

    The inputs include nothing of the generator, so that the stage is kept when the generator changes.
    """

    subsets: Sequence[RealSubset]
    """All draws of one size, or the single subset of a test on another condition."""
    settings: MeasurementSettings

    @property
    def name(self) -> str:
        """Name of the stage."""
        return f"classical-{self.subsets[0].name}"

    def inputs(self) -> dict[str, Any]:
        """The real images and the settings, without those of generated images."""
        settings = asdict(self.settings)
        del settings["shares"], settings["weights"]
        return {
            "real images": split_hashes(self.subsets[0].data),
            "chosen images": [subset.indices.tolist() for subset in self.subsets],
            "settings": settings,
            "condition": self.subsets[0].condition,
            "augmentations": list(CLASSICAL),
        }

    def make(self, folder: Path) -> StageFacts:
        """Write rows.json after each classifier."""
        return _measure(folder, self.subsets, {}, self.settings, [])


@dataclass(frozen=True, kw_only=True)
class AllAccuracies(ClassicalAccuracies):
    """Train classifiers on real and generated images; the rows of `classical` are copied, not measured again."""

    classical: FinishedStage[StageFacts]
    """The finished stage that trained on real images only."""
    generated: Mapping[Draw, Sample] = field(default_factory=dict)
    """Generated images by draw; draws of which no generated image was kept are missing."""
    generated_keys: Sequence[str | None] = ()
    """For each subset: key of the stage that selected its generated images, or None."""

    @property
    def name(self) -> str:
        """Name of the stage."""
        return f"gain-{self.subsets[0].name}"

    def inputs(self) -> dict[str, Any]:
        """The inputs of ClassicalAccuracies, the generated images, and the shares and weights to choose from."""
        return super().inputs() | {
            "classifiers of real images": self.classical.key,
            "generated images": list(self.generated_keys),
            "shares": list(self.settings.shares),
            "loss weights": list(self.settings.weights),
            "training": "generated images in addition to the real ones",
        }

    def make(self, folder: Path) -> StageFacts:
        """Write rows.json after each classifier."""
        return _measure(folder, self.subsets, self.generated, self.settings, read_rows(self.classical.folder))


def read_rows(folder: Path) -> list[Row]:
    """The rows that a stage has saved, finished or interrupted; [] if it has not begun."""
    path = folder / ROWS
    return read_json(path) if path.is_file() else []


def _measure(
    folder: Path,
    subsets: Sequence[RealSubset],
    generated: Mapping[Draw, Sample],
    settings: MeasurementSettings,
    known: list[Row],
) -> StageFacts:
    rows = measure(
        subsets[0].data,
        {(subset.per_user, subset.draw): subset.indices for subset in subsets},
        generated,
        settings,
        done=read_rows(folder) or known,
        save=lambda rows: write_json(folder / ROWS, rows),
        condition=subsets[0].condition,
    )
    write_json(folder / ROWS, rows)
    return {"summary": f"{len(rows)} accuracies on {len(subsets[0].data.test)} held-out images"}
