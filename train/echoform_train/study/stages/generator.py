"""Stage: the generator of one subset of the real images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echoform_train.engine.files import FACTS
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.seeds import mix_seed
from echoform_train.study.config import GeneratorConfig
from echoform_train.study.content_hashes import content_hash
from echoform_train.study.generators.training import train_generator
from echoform_train.study.plan import RealSubset
from echoform_train.study.stage_cache import FinishedStage, StageFacts

_SAMPLING = ("guidance_scale", "num_inference_steps")


class GeneratorFacts(StageFacts):
    """Facts on the trained generator."""

    pipeline: str
    """Exported pipeline, relative to the folder of the stage."""
    parameters: int
    """Number of parameters of both stages together."""
    images_seen: int


@dataclass(frozen=True, kw_only=True)
class GeneratorTraining:
    """Train a generator on the images of a subset."""

    subset: RealSubset
    settings: GeneratorConfig
    window_s: float | None
    """Length of one image, seconds; None if it is unknown."""
    pretrained: FinishedStage[StageFacts] | None
    """The stage to start from; None starts from random weights."""
    seed: int
    """Seed of the study."""

    @property
    def name(self) -> str:
        """Name of the stage."""
        return f"generator-{self.subset.name}"

    def inputs(self) -> dict[str, Any]:
        """The images, settings of the training, and the stage to start from."""
        data, settings = self.subset.data, asdict(self.settings)
        return {
            "images": content_hash(self.subset.images),
            "facts of the data": [data.id2label, data.condition_labels, data.colormap, data.axes],
            "seed": mix_seed(self.seed, self.subset.draw),
            "window_s": self.window_s,
            # Settings of sampling are left out, because they do not change the weights.
            "settings": {name: value for name, value in settings.items() if name not in _SAMPLING},
            "pretraining": None if self.pretrained is None else self.pretrained.key,
        }

    def make(self, folder: Path) -> GeneratorFacts:
        """Fill the folder as `train_generator` does."""
        pipeline = train_generator(
            self.subset.images,
            self.subset.data,
            folder,
            self.settings,
            seed=mix_seed(self.seed, self.subset.draw),
            window_s=self.window_s,
            pretrained=None if self.pretrained is None else self.pretrained.folder,
        )
        facts = read_json_object(pipeline / FACTS)
        parameters = facts["parameters"] + facts["first_stage"]["parameters"]
        images_seen = facts["images_seen"] + facts["first_stage"]["images_seen"]
        real = len(self.subset.indices)
        return {
            "summary": f"{parameters / 1e6:.1f} M parameters, {images_seen:,} images seen, of {real} real ones",
            "pipeline": pipeline.relative_to(folder).as_posix(),
            "parameters": parameters,
            "images_seen": images_seen,
        }
