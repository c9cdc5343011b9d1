"""Stage: the classifier that a study hands over, trained in the recommended way on all training images."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echoform_train.data.config import DataConfig
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.files import CHECKPOINTS, CLASSIFIER, FACTS
from echoform_train.engine.json_files import read_json_object
from echoform_train.scoring.intervals import Interval
from echoform_train.study.classifiers.training import BATCH_SIZE
from echoform_train.study.classifiers.way import StudyWay
from echoform_train.study.content_hashes import split_hashes
from echoform_train.study.stage_cache import StageFacts
from echoform_train.trainers import classifier


class ClassifierFacts(StageFacts):
    """What the report says of the classifier."""

    way: str
    """How it was trained, in words."""
    images: int
    """Real images that it was trained on."""
    scores: dict[str, dict[str, Any]]
    """Scores of its card, on test images."""


@dataclass(frozen=True, kw_only=True)
class ClassifierTraining:
    """Train a classifier that is calibrated and knows when it sees nobody whom it knows, and export it."""

    data: SpectrogramData
    way: StudyWay
    train_images: int
    """Real images that it sees in training."""
    false_accept_rate: float
    onnx: bool
    seed: int
    device: str
    name: str = "classifier"

    def inputs(self) -> dict[str, Any]:
        """The images, what is known of them, the way and the settings."""
        data = self.data
        return {
            "real images": split_hashes(data),
            "facts of the data": [data.id2label, data.condition_labels, data.colormap, data.reading, data.native_size],
            "way": self.way.settings(),
            "settings": [self.train_images, self.false_accept_rate, self.onnx, self.seed],
        }

    def make(self, folder: Path) -> ClassifierFacts:
        """Fill `folder`/classifier as `echoform train classifier` does."""
        exported = folder / CLASSIFIER
        _keep_only_checkpoints(exported)
        config = classifier.Config(
            data=DataConfig(data=self.data.source),
            output_dir=exported,
            seed=self.seed,
            max_train_images=self.train_images,
            train_batch_size=BATCH_SIZE,
            false_accept_rate=self.false_accept_rate,
            onnx=self.onnx,
            device="cpu" if self.device == "cpu" else "cuda",
            resume_from_checkpoint="latest",
        )
        classifier.train(config, self.data, way=self.way)
        scores = read_json_object(exported / FACTS)["card"]["scores"]
        found = Interval(*(scores["accuracy"][end] for end in ("mean", "low", "high")))
        return {
            "summary": f"{100 * found.mean:.1f} % of held-out images right, trained with: {self.way.name}",
            "way": self.way.name,
            "images": len(self.data.train),
            "scores": scores,
        }


def _keep_only_checkpoints(folder: Path) -> None:
    """Remove what a run left that was killed while it wrote its result."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name != CHECKPOINTS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
