"""Which training images and which noise each forward pass of a training gets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from echoform_train.engine.seeds import mix_seed


@dataclass(frozen=True)
class Draw:
    """The images of one forward pass of this process, and one noise generator per image.

    Both depend only on the seed and on how many images the run has seen, so that they are the same on one process or
    several, and after a resume.
    """

    indices: Tensor
    """int64 [B], indices of training images."""
    generators: list[torch.Generator]
    """One CPU generator per image."""

    def randn(self, *shape: int) -> Tensor:
        """Standard normal noise float32 [B, *shape]."""
        return torch.stack([torch.randn(shape, generator=generator) for generator in self.generators])

    def rand(self) -> Tensor:
        """Uniform noise float32 [B] in [0, 1)."""
        return torch.stack([torch.rand((), generator=generator) for generator in self.generators])


class BatchOrder:
    """The order of the training images: a new permutation of all of them in each epoch.

    Args:
        num_images: Size of the training set.
        seed: Seed of the permutations and of the noise.
    """

    def __init__(self, num_images: int, seed: int) -> None:
        self.num_images, self.seed = num_images, seed
        self._epoch: int | None = None
        self._permutation = torch.empty(0, dtype=torch.int64)

    def draw(self, counters: range) -> Draw:
        """The images at some positions of the whole training: counter 0 is the first image that it sees."""
        indices = torch.tensor([self._image(counter) for counter in counters])
        generators = [torch.Generator().manual_seed(mix_seed(self.seed, counter)) for counter in counters]
        return Draw(indices, generators)

    def _image(self, counter: int) -> int:
        epoch, position = divmod(counter, self.num_images)
        if self._epoch != epoch:
            generator = torch.Generator().manual_seed(mix_seed(self.seed, -1, epoch))
            self._epoch, self._permutation = epoch, torch.randperm(self.num_images, generator=generator)
        return int(self._permutation[position])
