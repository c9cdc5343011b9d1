"""Draw images from a generator, and keep the best by criteria learned from the training images of the generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from echoform_train.data.layout import SPLITS
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.atomic_files import write_tensors
from echoform_train.engine.errors import UserError
from echoform_train.engine.json_files import read_json, write_json
from echoform_train.engine.seeds import mix_seed
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.config import GeneratorConfig
from echoform_train.study.gait.walk_check import WalkCheck
from echoform_train.study.generators.sampling import DrawnImage, draw_sample
from echoform_train.study.images.filtering import KEPT, Filtered, filter_images, score_agreement
from echoform_train.study.images.scorer import CadenceScorer, train_scorer
from echoform_train.study.images.subsets import first_of_each_user

ROUNDS = 3
"""Largest number of rounds of drawing, if too few images of a round are kept."""
NOT_NEEDED = "more than were asked for"
"""Reason for images that passed the filter, but exceed the number to keep."""

_TENSORS, _ROWS = "chosen.safetensors", "chosen.json"


@dataclass(frozen=True, kw_only=True)
class SelectedImages:
    """The N images that were drawn from a generator, and which of them are kept."""

    drawn: Sample
    """Pixels uint8 [N, C, H, W] and users int64 [N]."""
    rows: list[DrawnImage]
    """Inputs that each drawn image was generated from."""
    kept: Tensor
    """Indices of the kept images, int64 [M], ascending."""
    agreement: Tensor
    """Probability that the scorer assigns to the user of each drawn image, float32 [N], 0..1."""
    reasons: list[str]
    """Reason why each drawn image was not kept; "" for kept images."""
    real_agreement: dict[str, Tensor]
    """Probability that the scorer assigns to the user of each real image, float32, by split."""
    without_limits: str | None
    """Reason why no gait limits were applied although the settings ask for them; None if they were, or were not
    asked for."""

    @property
    def sample(self) -> Sample:
        """Pixels and users of the kept images."""
        return self.drawn[0][self.kept], self.drawn[1][self.kept]

    def save(self, folder: Path) -> None:
        """Write the files that `load` reads."""
        tensors = {"pixels": self.drawn[0], "users": self.drawn[1], "kept": self.kept, "agreement": self.agreement}
        real = {f"agreement of {split}": values for split, values in self.real_agreement.items()}
        write_tensors(folder / _TENSORS, tensors | real)
        write_json(folder / _ROWS, {"rows": self.rows, "reasons": self.reasons, "without_limits": self.without_limits})

    @classmethod
    def load(cls, folder: Path) -> SelectedImages:
        """Read the files that `save` wrote."""
        tensors, facts = load_file(folder / _TENSORS), read_json(folder / _ROWS)
        return cls(
            drawn=(tensors["pixels"], tensors["users"]),
            rows=facts["rows"],
            kept=tensors["kept"],
            agreement=tensors["agreement"],
            reasons=facts["reasons"],
            real_agreement={split: tensors[f"agreement of {split}"] for split in SPLITS},
            without_limits=facts["without_limits"],
        )


@dataclass(frozen=True, kw_only=True)
class SelectionSettings:
    """Which of the drawn images are kept."""

    keep_share: float
    """Share of the drawn images of each user to keep, above 0 and at most 1."""
    max_duplicate: float
    """Largest similarity of a kept image to a training image or to another kept one."""
    only_walks: bool
    """Keep only images that can show a walking person."""
    scorer_train_images: int
    """Images that the scorer sees in training."""


def select_images(
    images: Spectrograms,
    data: SpectrogramData,
    pipeline: Path,
    sampling: GeneratorConfig,
    wanted: Mapping[int, int],
    folder: Path,
    settings: SelectionSettings,
    *,
    seed: int,
    device: str,
) -> SelectedImages:
    """Draw images from a generator until enough of each user are kept, in at most ROUNDS rounds.

    Images must pass gait limits learned from `images`; of those that pass, the ones with the highest agreement of a
    scorer are kept. The scorer is trained on `images`, and is of another kind than the judges that score generated
    images and the classifiers that measure the gain.

    Args:
        images: The training images of the generator.
        data: The data that `images` are from.
        pipeline: The generator.
        sampling: Guidance scale and number of steps.
        wanted: Number of images to keep by user.
        folder: Folder where drawn images are stored, so that they are not drawn again after an interruption.
        settings: Which images to keep.
        seed: Seed of noise and scorer.
        device: Where the scorer is trained.
    """
    image_filter = _ImageFilter.learn(images, data, settings, mix_seed(seed, 0), device)
    # Only a share is kept, so more are drawn; one round is enough if there are no near-duplicates.
    per_round = math.ceil(max(max(wanted.values()), 1) / settings.keep_share)
    drawn: Sample = (images.pixels[:0], images.users[:0])
    rows: list[DrawnImage] = []
    rounds = 0
    while True:
        round_seed = mix_seed(seed, 1, rounds)
        more, more_rows = _draw_once(folder / f"drawn-{rounds}", pipeline, images, per_round, sampling, round_seed)
        drawn, rows = (torch.cat([drawn[0], more[0]]), torch.cat([drawn[1], more[1]])), rows + more_rows
        rounds += 1
        # All rounds are filtered together, so that the best of all rounds are kept.
        filtered = image_filter.apply(drawn, rows)
        counts = torch.bincount(drawn[1][filtered.indices], minlength=len(data.id2label))
        if rounds == ROUNDS or all(int(counts[user]) >= count for user, count in wanted.items()):
            break
    kept = filtered.indices[first_of_each_user(drawn[1][filtered.indices], wanted)]
    return SelectedImages(
        drawn=drawn,
        rows=rows,
        kept=kept,
        agreement=filtered.agreement,
        reasons=_final_reasons(filtered, kept),
        real_agreement={split: image_filter.agreement_of(getattr(data, split)) for split in SPLITS},
        without_limits=image_filter.without_limits,
    )


def count_reasons(selected: SelectedImages) -> dict[str, int]:
    """Number of drawn images that were not kept, by reason."""
    given = [reason for reason in selected.reasons if reason != KEPT]
    return {reason: given.count(reason) for reason in dict.fromkeys(given)}


@dataclass(frozen=True)
class _ImageFilter:
    """Scorer and gait limits, learned from the training images of a generator, that filter its generated images."""

    images: Spectrograms
    settings: SelectionSettings
    scorer: CadenceScorer
    check: WalkCheck | None
    """None if `only_walks` is off, or no gait can be read from the real images."""
    without_limits: str | None
    """Why no gait can be read from the real images, if it was to be read."""

    @classmethod
    def learn(
        cls, images: Spectrograms, data: SpectrogramData, settings: SelectionSettings, seed: int, device: str
    ) -> _ImageFilter:
        scorer = train_scorer(
            images.pixels,
            images.users,
            len(data.id2label),
            seed=seed,
            train_images=settings.scorer_train_images,
            device=device,
        )
        check, without_limits = None, None
        if settings.only_walks:
            try:
                check = WalkCheck.learn(images, data.axes)
            except UserError as error:
                without_limits = str(error)
        return cls(images, settings, scorer, check, without_limits)

    def apply(self, drawn: Sample, rows: list[DrawnImage]) -> Filtered:
        """Filter the drawn images, which were generated from `rows`."""
        walks = None
        if self.check is not None:
            conditions = {name: torch.tensor([row["conditions"][name] for row in rows]) for name in self.check.headings}
            walks = torch.from_numpy(self.check.possible(self.check.features(drawn[0]), conditions))
        return filter_images(
            drawn,
            (self.images.pixels, self.images.users),
            scorer=self.scorer,
            keep_share=self.settings.keep_share,
            max_duplicate=self.settings.max_duplicate,
            walks=walks,
        )

    def agreement_of(self, images: Spectrograms) -> Tensor:
        """Probability that the scorer assigns to the user of each real image, float32 [N]."""
        return score_agreement(self.scorer, images.pixels, images.users)


def _final_reasons(filtered: Filtered, kept: Tensor) -> list[str]:
    """The reasons of the filter, and NOT_NEEDED for images that passed but exceed the wanted number."""
    reasons = list(filtered.reasons)
    for index in set(filtered.indices.tolist()) - set(kept.tolist()):
        reasons[index] = NOT_NEEDED
    return reasons


def _draw_once(
    stem: Path, pipeline: Path, images: Spectrograms, per_user: int, sampling: GeneratorConfig, seed: int
) -> tuple[Sample, list[DrawnImage]]:
    """Draw images and store them, or read those that were stored before."""
    tensors_file, rows_file = stem.with_suffix(".safetensors"), stem.with_suffix(".json")
    # The rows are written last, so they mark a complete draw.
    if rows_file.is_file():
        tensors = load_file(tensors_file)
        return (tensors["pixels"], tensors["users"]), read_json(rows_file)
    sample, rows = draw_sample(pipeline, images, per_user, sampling, seed=seed)
    write_tensors(tensors_file, {"pixels": sample[0], "users": sample[1]})
    write_json(rows_file, rows)
    return sample, rows
