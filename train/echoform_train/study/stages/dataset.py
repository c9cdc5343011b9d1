"""Stage: the augmented data set on disk, with agreement, distance and other columns of each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from echoform_train.data.layout import SPLITS
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.study.content_hashes import split_hashes
from echoform_train.study.gait.findings import GaitFindings, UnreadableGait
from echoform_train.study.images.augmented_dataset import Counts, write_dataset
from echoform_train.study.images.nearest_training import nearest_training
from echoform_train.study.images.selection import SelectedImages
from echoform_train.study.images.subsets import first_of_each_user
from echoform_train.study.stage_cache import StageFacts

_REAL_SEED = -1
"""Value of the seed column for real images."""


class DatasetFacts(StageFacts):
    """Content of the data set."""

    counts: dict[str, Counts]
    """Number of images by split."""


@dataclass(frozen=True, kw_only=True)
class AugmentedDataset:
    """Write the real images, and generated images for training."""

    data: SpectrogramData
    images: SelectedImages
    images_key: str
    """Key of the stage that selected the images."""
    to_add: Mapping[int, int]
    """Number of generated images by user."""
    gait: GaitFindings | UnreadableGait
    name: str = "dataset"

    def inputs(self) -> dict[str, Any]:
        """The images, the axes, and how many generated images are added."""
        return {
            "real images": split_hashes(self.data),
            "generated images": self.images_key,
            "added": self.to_add,
            "axes": self.data.axes,
        }

    def make(self, folder: Path) -> DatasetFacts:
        """Write the data set as `write_dataset` does."""
        pixels, users = self.images.sample
        chosen = first_of_each_user(users, self.to_add)
        sample = pixels[chosen], users[chosen]
        real_columns = {split: self._real_columns(split) for split in SPLITS}
        counts = write_dataset(self.data, real_columns, sample, self._generated_columns(chosen), folder)
        train = counts["train"]
        return {
            "summary": f"{train['real']:,} real and {train['generated']:,} generated images for training",
            "counts": counts,
        }

    def _generated_columns(self, chosen: torch.Tensor) -> list[dict[str, Any]]:
        """Columns of these images, given by their indices among the kept ones."""
        if not len(chosen):
            return []
        nearest = nearest_training(self.images.sample[0][chosen], self.data.train.pixels)
        return [
            self._columns(
                self.images.rows[index]["seed"],
                float(self.images.agreement[index]),
                float(nearest.distance[number, 0]),
                "drawn",
                index,
            )
            | self._condition_labels(self.images.rows[index]["conditions"])
            for number, index in enumerate(self.images.kept[chosen].tolist())
        ]

    def _real_columns(self, split: str) -> list[dict[str, Any]]:
        images: Spectrograms = getattr(self.data, split)
        # The nearest training image of a training image is itself, so the second nearest is used.
        column = 1 if split == "train" else 0
        distances = nearest_training(images.pixels, self.data.train.pixels).distance[:, column].tolist()
        agreements = self.images.real_agreement[split].tolist()
        return [
            self._columns(_REAL_SEED, agreement, distance, split, index)
            for index, (agreement, distance) in enumerate(zip(agreements, distances, strict=True))
        ]

    def _columns(self, seed: int, agreement: float, distance: float, part: str, index: int) -> dict[str, Any]:
        columns = {
            "seed": seed,
            "agreement": round(agreement, 6),
            "nearest_train_distance": round(distance, 6),
        }
        if not isinstance(self.gait, UnreadableGait):
            # Written as 0 or 1, because a boolean column would be read as a condition.
            columns["plausible"] = int(self.gait["possible"][part][index])
        return columns

    def _condition_labels(self, conditions: Mapping[str, int]) -> dict[str, str]:
        return {name: self.data.condition_labels[name][value] for name, value in conditions.items()}
