"""Stage: pre-training on simulated people, from which the generators of all subsets start."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.study.config import GeneratorConfig
from echoform_train.study.generators.training import pretrain
from echoform_train.study.stage_cache import StageFacts


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """Train both stages of a generator on simulated people."""

    data: SpectrogramData
    like: Spectrograms
    """Training images that simulated people have to resemble."""
    settings: GeneratorConfig
    seed: int
    name: str = "pretraining"

    def inputs(self) -> dict[str, Any]:
        """Settings of the pre-training, and the properties that simulated images copy from the data."""
        settings = asdict(self.settings)
        return {
            "settings": {name: value for name, value in settings.items() if name.startswith("pretrain")},
            "facts of the data": [self.data.condition_labels, self.data.colormap, self.data.axes],
            "like": sorted(self.like.files),
            "size": list(self.data.train.pixels.shape[1:]),
            "seed": self.seed,
        }

    def make(self, folder: Path) -> StageFacts:
        """Fill the folder as `pretrain` does."""
        pretrain(self.data, self.like, folder, self.settings, seed=self.seed)
        images_seen = self.settings.pretrain_vq_images + self.settings.pretrain_ldm_images
        return {"summary": f"{self.settings.pretrain_people} simulated walkers, {images_seen:,} images seen"}
