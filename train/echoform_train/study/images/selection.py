"""Images drawn from a generator and those of them that are kept, as the same few real images say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from echoform_train.data.layout import SPLITS
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.seeds import mix_seed
from echoform_train.scoring.generated_images import Sample
from echoform_train.scoring.judge import train_judge
from echoform_train.study.classifiers.training import BATCH_SIZE
from echoform_train.study.gait.walk_check import Walks
from echoform_train.study.generators.training import GeneratorConfig, draw_sample
from echoform_train.study.images.augmented_dataset import first_of_each_user
from echoform_train.study.images.filtering import KEPT, Selection, agree, select
from echoform_train.study.stage_cache import write_json, write_tensors

ROUNDS = 3
"""How often is drawn, where near-duplicates leave too few."""
NOT_NEEDED = "more than were asked for"

_TENSORS, _ROWS = "chosen.safetensors", "chosen.json"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a generator made, and what was kept of it."""

    drawn: Sample
    """Pixels uint8 [N, C, H, W] and users int64 [N]."""
    rows: list[dict[str, Any]]
    """Of each drawn image {"user", "conditions", "seed"}, as `draw_sample` gives them."""
    kept: Tensor
    """Places of the kept images among the drawn ones, int64 [M], ascending."""
    agreement: Tensor
    """Probability that the scorer gives to the user of each drawn image, float32 [N], 0..1."""
    reasons: list[str]
    """Why each drawn image was not kept; "" for those that were."""
    real_agreement: dict[str, Tensor]
    """The same probability of the real images of each split, float32."""

    @property
    def sample(self) -> Sample:
        """The kept images."""
        return self.drawn[0][self.kept], self.drawn[1][self.kept]

    def save(self, folder: Path) -> None:
        """Write what `load` reads."""
        tensors = {"pixels": self.drawn[0], "users": self.drawn[1], "kept": self.kept, "agreement": self.agreement}
        real = {f"agreement of {split}": values for split, values in self.real_agreement.items()}
        write_tensors(folder / _TENSORS, tensors | real)
        write_json(folder / _ROWS, {"rows": self.rows, "reasons": self.reasons})

    @classmethod
    def load(cls, folder: Path) -> Chosen:
        """Read what `save` wrote."""
        tensors, facts = load_file(folder / _TENSORS), json.loads((folder / _ROWS).read_text(encoding="utf-8"))
        return cls(
            drawn=(tensors["pixels"], tensors["users"]),
            rows=facts["rows"],
            kept=tensors["kept"],
            agreement=tensors["agreement"],
            reasons=facts["reasons"],
            real_agreement={split: tensors[f"agreement of {split}"] for split in SPLITS},
        )


def choose_images(
    images: Spectrograms,
    data: SpectrogramData,
    pipeline: Path,
    settings: GeneratorConfig,
    wanted: Mapping[int, int],
    folder: Path,
    *,
    keep_share: float,
    max_duplicate: float,
    only_walks: bool,
    scorer_train_images: int,
    seed: int,
    device: str,
) -> Chosen:
    """Draw from a generator until enough images of each user are kept, at most three times.

    Kept are images that can show a walk, by what `images` tell of walking, and of those the ones that a scorer agrees
    with most: a ResNet of another width and another seed than the classifiers that measure the gain, trained on the
    same images.

    Args:
        images: The real images that the generator saw.
        data: What they are from.
        pipeline: The generator.
        settings: How it is sampled.
        wanted: Images of each user to keep.
        folder: Keeps what was drawn, so that nothing is drawn again after an interruption.
        keep_share: Share of a user's drawn images to keep, above 0 and at most 1.
        max_duplicate: Largest likeness of a kept image to a training image or another kept one.
        only_walks: Leave out what no walker can have made.
        scorer_train_images: Images that the scorer sees in training.
        seed: Of noise and scorer.
        device: Where the scorer is trained.
    """
    scorer = train_judge(
        images.pixels,
        images.users,
        len(data.id2label),
        seed=mix_seed(seed, 0),
        train_images=scorer_train_images,
        batch_size=BATCH_SIZE,
        device=device,
    )
    real = images.pixels, images.users
    walks = _walks_of(images, data) if only_walks else None

    def chosen_of(drawn: Sample, rows: list[dict[str, Any]]) -> Selection:
        possible = None if walks is None else _possible(walks, drawn[0], rows)
        return select(drawn, real, scorer=scorer, keep_share=keep_share, max_duplicate=max_duplicate, walks=possible)

    a_round = math.ceil(max(max(wanted.values()), 1) / keep_share)
    drawn, rows = _drawn(folder / "drawn-0", pipeline, images, a_round, settings, mix_seed(seed, 1, 0))
    selection = chosen_of(drawn, rows)
    for number in range(1, ROUNDS):
        counts = torch.bincount(drawn[1][selection.places], minlength=len(data.id2label))
        if all(int(counts[user]) >= count for user, count in wanted.items()):
            break
        more, its_rows = _drawn(
            folder / f"drawn-{number}", pipeline, images, a_round, settings, mix_seed(seed, 1, number)
        )
        drawn, rows = (torch.cat([drawn[0], more[0]]), torch.cat([drawn[1], more[1]])), rows + its_rows
        selection = chosen_of(drawn, rows)
    kept = selection.places[first_of_each_user(drawn[1][selection.places], wanted)]
    reasons = list(selection.reasons)
    for place in set(selection.places.tolist()) - set(kept.tolist()):
        reasons[place] = NOT_NEEDED
    return Chosen(
        drawn=drawn,
        rows=rows,
        kept=kept,
        agreement=selection.agreement,
        reasons=reasons,
        real_agreement={
            split: agree(scorer, getattr(data, split).pixels, getattr(data, split).users) for split in SPLITS
        },
    )


def why_not_kept(chosen: Chosen) -> dict[str, int]:
    """How many of the drawn images were left for each reason."""
    given = [reason for reason in chosen.reasons if reason != KEPT]
    return {reason: given.count(reason) for reason in dict.fromkeys(given)}


def _walks_of(images: Spectrograms, data: SpectrogramData) -> Walks | None:
    """What these few images tell of walking, or None where gait cannot be read from them."""
    try:
        return Walks.learn(images, data.axes)
    except ValueError as error:
        print(f"images are chosen without regard to gait: {error}", flush=True)
        return None


def _possible(walks: Walks, pixels: Tensor, rows: list[dict[str, Any]]) -> Tensor:
    """Which drawn images a walker can have made, bool [N]."""
    asked = {name: torch.tensor([row["conditions"][name] for row in rows]) for name in walks.headings}
    return torch.from_numpy(walks.possible(walks.features(pixels), asked))


def _drawn(
    stem: Path, pipeline: Path, images: Spectrograms, per_user: int, settings: GeneratorConfig, seed: int
) -> tuple[Sample, list[dict[str, Any]]]:
    tensors_file, rows_file = stem.with_suffix(".safetensors"), stem.with_suffix(".json")
    if rows_file.is_file():
        tensors = load_file(tensors_file)
        return (tensors["pixels"], tensors["users"]), json.loads(rows_file.read_text(encoding="utf-8"))
    sample, rows = draw_sample(pipeline, images, per_user, settings, seed=seed)
    write_tensors(tensors_file, {"pixels": sample[0], "users": sample[1]})
    write_json(rows_file, rows)
    return sample, rows
