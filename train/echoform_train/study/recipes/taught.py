"""Images that teachers have labelled: generated ones, and for comparison copies of the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.atomic_files import write_tensors
from echoform_train.engine.seeds import mix_seed
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.config import GeneratorConfig
from echoform_train.study.generators.sampling import draw_between_users
from echoform_train.study.recipes.copies import real_copies
from echoform_train.study.recipes.teachers import train_teachers

FILE = "taught.safetensors"
_BETWEEN, _COPIES = 1, 2  # mixed into the seed


@dataclass(frozen=True, kw_only=True)
class TaughtImages:
    """Images of one choice of the real ones with labels of teachers that had these real ones only.

    Pixels are uint8 [N, C, H, W], labels shares of users float32 [N, U].
    """

    asked: Tensor
    """Generated images of a user that was asked for."""
    asked_users: Tensor
    """That user, int64 [N]."""
    asked_labels: Tensor
    between: Tensor
    """Generated images of the null user and of mixes of two users."""
    between_labels: Tensor
    copies: Tensor
    """As many copies of the real images as there are in `asked`, see `real_copies`."""
    copies_labels: Tensor
    """By teachers that had not seen the images that were copied."""
    validation: Tensor
    """Labels of the validation images by all teachers together."""
    test: Tensor
    """Labels of the test images."""

    @property
    def soft(self) -> Sample:
        """Images that were asked for, labelled by the teachers."""
        return self.asked, self.asked_labels

    @property
    def soft_with_between(self) -> Sample:
        """All generated images, labelled by the teachers."""
        return torch.cat([self.asked, self.between]), torch.cat([self.asked_labels, self.between_labels])

    @property
    def relabelled(self) -> Sample:
        """Images that were asked for, with the user whom the teachers see, whoever was asked for."""
        return self.asked, self.asked_labels.argmax(1)

    @property
    def as_asked(self) -> Sample:
        """Images that were asked for, with the user who was asked for."""
        return self.asked, self.asked_users

    @property
    def soft_copies(self) -> Sample:
        """Copies of real images, labelled by teachers that had not seen these."""
        return self.copies, self.copies_labels

    def save(self, folder: Path) -> None:
        """Write the file that `load` reads."""
        write_tensors(folder / FILE, {each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def load(cls, folder: Path) -> TaughtImages:
        """Read the file that `save` wrote."""
        return cls(**load_file(folder / FILE))


def teach(
    images: Spectrograms,
    data: SpectrogramData,
    generated: Sample,
    pipeline: Path,
    sampling: GeneratorConfig,
    augmentations: Mapping[str, str],
    *,
    window_s: float | None,
    train_images: int,
    seed: int,
    device: str,
) -> TaughtImages:
    """Train teachers, and let them label generated images and copies of the real ones.

    Args:
        images: The real images of one choice.
        data: The data that they are from.
        generated: Images of a generator that saw `images` only, and the users that were asked for.
        pipeline: That generator, for images of other inputs: a third as many as `generated`.
        sampling: Guidance scale and number of steps.
        augmentations: Classical augmentation of the teachers, by their family.
        window_s: Length of one image, seconds; None if it is unknown.
        train_images: Real images that each teacher sees in training.
        seed: Seed of teachers, copies and noise.
        device: Where teachers are trained.
    """
    teachers = train_teachers(
        images,
        len(data.id2label),
        augmentations,
        window_s=window_s,
        train_images=train_images,
        seed=seed,
        device=device,
    )
    between = draw_between_users(pipeline, images, len(generated[0]) // 3, sampling, seed=mix_seed(seed, _BETWEEN))
    # Copies are made within one part, so that there are teachers that have seen nothing of them.
    copies, labels = [], []
    parts = len(teachers.without)
    for part in range(parts):
        ours = images.select((teachers.part_of_image == part).nonzero()[:, 0])
        count = len(generated[0]) * (part + 1) // parts - len(generated[0]) * part // parts
        generator = torch.Generator().manual_seed(mix_seed(seed, _COPIES, part))
        copies.append(real_copies(ours, count, window_s, generator))
        labels.append(teachers.label_of_part(copies[-1], part))
    return TaughtImages(
        asked=generated[0],
        asked_users=generated[1],
        asked_labels=teachers.label(generated[0]),
        between=between,
        between_labels=teachers.label(between) if len(between) else torch.empty(0, len(data.id2label)),
        copies=torch.cat(copies),
        copies_labels=torch.cat(labels),
        validation=teachers.label(data.validation.pixels),
        test=teachers.label(data.test.pixels),
    )
