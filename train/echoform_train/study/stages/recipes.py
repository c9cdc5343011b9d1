"""Stages of the recipes: images that teachers have labelled, and the classifiers of one number of real images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echoform_train.engine.json_files import write_json
from echoform_train.engine.seeds import mix_seed
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.accuracy.measurement import MeasurementSettings
from echoform_train.study.config import GeneratorConfig
from echoform_train.study.content_hashes import content_hash, split_hashes
from echoform_train.study.plan import RealSubset
from echoform_train.study.recipes.arms import OF_COPIES, OF_TEACHERS
from echoform_train.study.recipes.measurement import Lesson, measure_recipes
from echoform_train.study.recipes.taught import TaughtImages, teach
from echoform_train.study.recipes.teachers import PARTS
from echoform_train.study.stage_cache import FinishedStage, StageFacts
from echoform_train.study.stages.accuracies import ROWS, read_rows

_SEED = 5  # mixed into the seed


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """Train teachers on one choice of the real images, and let them label generated images."""

    subset: RealSubset
    generated: Sample
    generated_key: str
    """Key of the stage that selected the generated images."""
    pipeline: Path
    """Their generator."""
    sampling: GeneratorConfig
    augmentations: Mapping[str, str]
    """Best classical augmentation, by family."""
    window_s: float | None
    train_images: int
    seed: int
    """Seed of the study."""
    device: str

    @property
    def name(self) -> str:
        """Name of the stage."""
        return f"taught-{self.subset.name}"

    def inputs(self) -> dict[str, Any]:
        """The images and the settings."""
        return {
            "real images": [content_hash(self.subset.images), *split_hashes(self.subset.data)],
            "generated images": [self.generated_key, len(self.generated[0])],
            "sampling": [self.sampling.guidance_scale, self.sampling.num_inference_steps],
            "augmentations": dict(self.augmentations),
            "settings": [self.window_s, self.train_images, PARTS],
            "seed": [self.seed, self.subset.draw],
        }

    def make(self, folder: Path) -> StageFacts:
        """Fill the folder with `TaughtImages`."""
        taught = teach(
            self.subset.images,
            self.subset.data,
            self.generated,
            self.pipeline,
            self.sampling,
            self.augmentations,
            window_s=self.window_s,
            train_images=self.train_images,
            seed=mix_seed(self.seed, self.subset.draw, _SEED),
            device=self.device,
        )
        taught.save(folder)
        agreed = float((taught.asked_labels.argmax(1) == taught.asked_users).double().mean())
        return {"summary": f"teachers see the user that was asked for in {100 * agreed:.0f} % of generated images"}


@dataclass(frozen=True, kw_only=True)
class RecipeClassifiers:
    """Train the classifiers of the recipes and of their rivals."""

    subsets: Sequence[RealSubset]
    """All draws of one size."""
    taught: Mapping[int, FinishedStage[StageFacts]]
    """By index of the draw: its finished `Teaching`; draws without generated images are missing."""
    augmentations: Mapping[str, str]
    settings: MeasurementSettings

    @property
    def name(self) -> str:
        """Name of the stage."""
        return f"recipes-{self.subsets[0].name}"

    def inputs(self) -> dict[str, Any]:
        """The taught images and the settings."""
        settings = asdict(self.settings)
        del settings["weights"]
        return {
            "real images": split_hashes(self.subsets[0].data),
            "chosen images": [subset.indices.tolist() for subset in self.subsets],
            "taught images": {str(draw): stage.key for draw, stage in self.taught.items()},
            "augmentations": dict(self.augmentations),
            "settings": settings,
            "variants": [variant.name for variant in (*OF_TEACHERS, *OF_COPIES)],
        }

    def make(self, folder: Path) -> StageFacts:
        """Write rows.json after each classifier."""
        by_draw = {subset.draw: subset for subset in self.subsets}
        lessons = {
            draw: Lesson(images=by_draw[draw].images, taught=TaughtImages.load(stage.folder))
            for draw, stage in self.taught.items()
        }
        rows = measure_recipes(
            self.subsets[0].data,
            self.subsets[0].per_user,
            lessons,
            len(self.subsets),
            self.augmentations,
            self.settings,
            done=read_rows(folder),
            save=lambda rows: write_json(folder / ROWS, rows),
        )
        write_json(folder / ROWS, rows)
        return {"summary": f"{len(rows)} accuracies of recipes and their rivals"}
