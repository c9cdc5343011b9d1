"""The plan of a study: which real images each generator and the classifiers see, and what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.study.config import GeneratorConfig, StudyConfig


@dataclass(frozen=True, kw_only=True)
class RealSubset:
    """A subset of the real training images, which one generator and the compared classifiers are trained on."""

    name: str
    """Part of the names of its stages, such as "10", "10-draw-1" or "all-normal-backpack"."""
    per_user: int | None
    """Requested number of images per user; None for all."""
    draw: int
    """Index of the draw at this size."""
    data: SpectrogramData
    """The data, with the validation and test images that belong to the subset."""
    indices: Tensor
    """Indices of the images of `data.train`, int64 [M]."""
    condition: str | None = None
    """For a test on another condition: the trained and the tested one, such as "normal -> backpack"; else None."""

    @property
    def images(self) -> Spectrograms:
        """The images themselves."""
        return self.data.train.select(self.indices)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that a study does, decided before anything trains."""

    data: SpectrogramData
    subsets: Sequence[RealSubset]
    """Small sizes first, tests on another condition last."""
    settings: StudyConfig
    generator: GeneratorConfig
    pipeline: Path | None
    """A given generator, which is used instead of training any."""
    images_per_user: dict[int, int]
    """Number of generated images to keep by user."""
    to_add: dict[int, int]
    """Number of generated images to add to the augmented data set, by user."""
    window_s: float | None
    """Length of one image, seconds, for re-cropping; None if it is unknown."""
    device: str
    """Where classifiers and judges are trained."""
    workers: int
    """Number of parallel processes that make stages."""
    seed: int
    hands_over: bool
    """Whether a classifier can be trained that reads files as these images were read."""
    notes: list[str]
    """Notes for the report, such as on sizes that are left out."""

    @property
    def sizes(self) -> list[int | None]:
        """Images per user at which accuracies are measured, in ascending order; None for all."""
        return list(dict.fromkeys(subset.per_user for subset in self.subsets if subset.condition is None))

    def of_size(self, per_user: int | None) -> list[RealSubset]:
        """The draws of one size."""
        return [subset for subset in self.subsets if subset.per_user == per_user and subset.condition is None]

    @property
    def groups(self) -> list[list[RealSubset]]:
        """Subsets whose classifiers are measured in one stage: the draws of each size, then each other condition."""
        across = [[subset] for subset in self.subsets if subset.condition is not None]
        return [self.of_size(size) for size in self.sizes] + across

    @property
    def largest(self) -> RealSubset:
        """The subset whose generator is scored and fills the augmented data set."""
        return self.of_size(self.sizes[-1])[0]

    @property
    def images_to_measure(self) -> dict[int, int]:
        """Number of generated images that classifiers see, by user: equal for all users, unlike `to_add`."""
        return dict.fromkeys(self.images_per_user, min(self.images_per_user.values()))

    @property
    def with_generator(self) -> list[RealSubset]:
        """Subsets that have a generator: all, or only the largest one if a pipeline is given."""
        return list(self.subsets) if self.pipeline is None else [self.largest]

    @property
    def is_pretrained(self) -> bool:
        """Whether generators are pre-trained on simulated people."""
        return self.pipeline is None and self.generator.pretrain_people > 0

    def count_stages(self) -> int:
        """Number of stages."""
        of_sizes = [group for group in self.groups if group[0].condition is None]
        taught = sum(subset.condition is None for subset in self.with_generator)
        of_recipes = (taught + len(of_sizes)) * self.settings.recipes
        of_generators = self.is_pretrained + (1 if self.pipeline else 2) * len(self.with_generator)
        return of_generators + 2 * len(self.groups) + of_recipes + 4 + self.hands_over


def describe_images_per_user(subsets: Sequence[RealSubset]) -> str:
    """Actual number of images per user in the draws of one size: "10", "7 to 10", or "24 (all)"."""
    counts = torch.cat([torch.bincount(subset.images.users) for subset in subsets])
    least, most = int(counts[counts > 0].min()), int(counts.max())
    text = str(least) if least == most else f"{least} to {most}"
    return text if subsets[0].per_user is not None else f"{text} (all)"
