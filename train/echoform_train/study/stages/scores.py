"""Stage: scores of the generator of the largest subset, by judges that were not used in training or selection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.scoring.generated import score_generated
from echoform_train.scoring.scores import Scores
from echoform_train.scoring.set_scores import NEIGHBOURS
from echoform_train.study.content_hashes import split_hashes
from echoform_train.study.images.selection import SelectedImages
from echoform_train.study.plan_checks import count_comparable
from echoform_train.study.stage_cache import StageFacts


class ScoreFacts(StageFacts):
    """Scores of the drawn images, and of the kept ones if there are enough of them."""

    found: dict[str, Scores]
    """Scores by "drawn" and "kept"."""


@dataclass(frozen=True, kw_only=True)
class GeneratorScores:
    """Score the drawn and the kept images against held-out real ones."""

    data: SpectrogramData
    images: SelectedImages
    images_key: str
    """Key of the stage that selected the images."""
    judge_seeds: tuple[int, ...]
    judge_train_images: int
    device: str
    name: str = "scores"

    def inputs(self) -> dict[str, Any]:
        """The images and the settings of the judges."""
        return {
            "real images": split_hashes(self.data),
            "generated images": self.images_key,
            "settings": [list(self.judge_seeds), self.judge_train_images],
        }

    def make(self, folder: Path) -> ScoreFacts:
        """Return the scores; no file is written."""
        samples = {"drawn": self.images.drawn}
        if self._can_score_kept():
            samples["kept"] = self.images.sample
        found = {
            name: score_generated(
                self.data,
                [sample],
                judge_train_images=self.judge_train_images,
                device=self.device,
                seeds=self.judge_seeds,
            )
            for name, sample in samples.items()
        }
        ratio = found["drawn"]["scores"]["gan_train_ratio"]["mean"]
        return {"summary": f"GAN-train {100 * ratio:.0f} % of real to real", "found": found}

    def _can_score_kept(self) -> bool:
        """Whether some drawn images were not kept, and enough images of each user were kept."""
        counts = torch.bincount(self.images.sample[1], minlength=len(self.data.id2label)).tolist()
        if len(self.images.kept) == len(self.images.rows) or min(counts) == 0:
            return False
        return count_comparable(self.data, dict(enumerate(counts))) > NEIGHBOURS
