"""Stage: images drawn from the generator of one subset, and which of them are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echoform_train.engine.seeds import mix_seed
from echoform_train.study.config import GeneratorConfig
from echoform_train.study.content_hashes import content_hash, split_hashes
from echoform_train.study.images.scorer import CadenceScorer
from echoform_train.study.images.selection import SelectionSettings, select_images
from echoform_train.study.plan import RealSubset
from echoform_train.study.stage_cache import StageFacts


class SelectionFacts(StageFacts):
    """Numbers of drawn and kept images."""

    drawn: int
    kept: int


@dataclass(frozen=True, kw_only=True)
class ImageSelection:
    """Draw images from a generator, and keep the best according to a classifier trained on the same real images."""

    subset: RealSubset
    pipeline: Path
    """The generator."""
    pipeline_key: str
    """Key of the stage that trained the generator, or hash of a given pipeline."""
    sampling: GeneratorConfig
    wanted: Mapping[int, int]
    """Number of images to keep by user."""
    settings: SelectionSettings
    seed: int
    """Seed of the study."""
    device: str

    @property
    def name(self) -> str:
        """Name of the stage."""
        return f"images-{self.subset.name}"

    def inputs(self) -> dict[str, Any]:
        """Generator, real images and settings."""
        return {
            "generator": self.pipeline_key,
            "real images": [content_hash(self.subset.images), *split_hashes(self.subset.data)],
            "settings": asdict(self.sampling),
            "number of images": self.wanted,
            "keep_share": self.settings.keep_share,
            "max_duplicate": self.settings.max_duplicate,
            "only_walks": self.settings.only_walks,
            "scorer": CadenceScorer.__name__,
            "classifier_train_images": self.settings.scorer_train_images,
            "seed": [self.seed, self.subset.draw],
        }

    def make(self, folder: Path) -> SelectionFacts:
        """Fill the folder with `SelectedImages`."""
        selected = select_images(
            self.subset.images,
            self.subset.data,
            self.pipeline,
            self.sampling,
            self.wanted,
            folder,
            self.settings,
            seed=mix_seed(self.seed, self.subset.draw, 1),
            device=self.device,
        )
        selected.save(folder)
        drawn, kept = len(selected.rows), len(selected.kept)
        limits = "" if selected.without_limits is None else f", without gait limits: {selected.without_limits}"
        return {"summary": f"{drawn:,} images drawn, {kept:,} kept{limits}", "drawn": drawn, "kept": kept}
