"""`echoform score simulated`: how much simulated spectrograms look like measured ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import tyro

from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.json_files import write_json
from echoform_train.engine.resolution import Resolution
from echoform_train.engine.shown import ShownAsText

if TYPE_CHECKING:
    from echoform_train.data.spectrograms import SpectrogramData
    from echoform_train.study.similarity import SimilarityScores, WalkerImages


@dataclass(frozen=True, kw_only=True)
class Config:
    """Compare simulated spectrograms with measured ones, beside measured people with other measured people."""

    data: str
    """Folder of measured spectrograms of at least 4 people, or the id of a data set on the Hub."""
    simulated: Path
    """Folder that `echoform simulate` wrote."""
    output: Path | None = None
    """JSON file for the scores. Default: they are only printed."""
    resolution: Resolution = 64
    """Height and width to which both are resized, in pixels, such as 64 or 64x128; the native grid of most such radars
    is 64 or smaller."""
    colormap: str = "auto"
    """Colour map of the measured images: its name, auto to detect it, or none to compare RGB."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each seed divides the people anew into those that networks learn from and those that they are tested on."""
    train_images: int = 12_800
    """Images that each network of the two-sample test sees in training."""
    judge_train_images: int = 12_000
    """Images that each judge of measured people sees in training."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used, instead of stopping at them."""
    reading: Annotated[ReadingConfig, tyro.conf.arg(name="")] = field(default_factory=ReadingConfig)
    device: str = "auto"
    """Device that trains the networks; auto takes a GPU if there is one."""

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < 2:
            raise UserError(f"--seeds must be at least two different ones, for an interval, got {self.seeds}")
        for name in ("train_images", "judge_train_images"):
            if getattr(self, name) < 64:
                raise UserError(f"--{name.replace('_', '-')} must be at least 64, got {getattr(self, name)}")


def main(config: Config) -> SimilarityScores:
    """Score, print the tables, write the JSON file and return the scores.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If there are too few people, or the images cannot be compared.
    """
    from echoform_train.engine.evaluation import choose_device
    from echoform_train.engine.provenance import provenance
    from echoform_train.study.similarity import score_similarity

    measured = _load(config, config.data, config.colormap, config.reading)
    simulated = _load(config, str(config.simulated), measured.colormap or "none")
    scores = score_similarity(
        _all_images(measured),
        _all_images(simulated),
        seeds=config.seeds,
        train_images=config.train_images,
        judge_train_images=config.judge_train_images,
        device=choose_device(config.device),
    )
    for line in _tables(scores):
        print(line)
    if config.output is not None:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        data = {"measured_sha256": measured.images_sha256, "simulated_sha256": simulated.images_sha256}
        write_json(config.output, {**scores, "data": data, "resolution": config.resolution, **provenance()})
        print(f"Written to {config.output}")
    return cast("SimilarityScores", ShownAsText(scores, _tables(scores)))


def _load(config: Config, source: str, colormap: str, reading: ReadingConfig | None = None) -> SpectrogramData:
    from echoform_train.data.spectrograms import load_spectrograms

    return load_spectrograms(
        source,
        resolution=config.resolution,
        colormap=colormap,
        find_overlap=False,
        reading=reading,
        skip_bad_files=config.skip_bad_files,
    )


def _all_images(data: SpectrogramData) -> WalkerImages:
    """The images of all sides: people are divided, so that a split in time has no meaning here."""
    import torch

    from echoform_train.study.similarity import WalkerImages

    sides = [data.train, data.validation, data.test, data.left_out]
    return WalkerImages(
        pixels=torch.cat([side.pixels for side in sides]),
        users=torch.cat([side.users for side in sides]),
        axes=data.axes,
    )


def _tables(scores: SimilarityScores) -> list[str]:
    from echoform_train.scoring.chance import chance_sentence, nothing_learned
    from echoform_train.study.similarity import LABELS

    width = max(map(len, LABELS.values()))
    lines = [f"{'':<{width}}  {'value':>9}  {'95 % interval':>20}  {'floor':>9}"]
    for name, label in LABELS.items():
        entry = scores["scores"][name]
        interval = "" if entry["low"] is None else f"{entry['low']:.3f} .. {entry['high']:.3f}"
        lines.append(f"{label:<{width}}  {entry['mean']:>9.3f}  {interval:>20}  {entry['floor']:>9.3f}")
    if scores["gait"]:
        lines += ["", f"{'Wasserstein distance of':<{width}}  {'value':>9}  {'':>20}  {'floor':>9}"]
        for name, distance in scores["gait"].items():
            lines.append(f"{name:<{width}}  {distance['distance']:>9.3f}  {'':>20}  {distance['floor']:>9.3f}")
    judge = scores["judge"]
    told = nothing_learned(judge, judge["people"], images="spectrograms of its training")
    right = f"The judge names {100 * judge['mean']:.1f} % of the spectrograms of its training right."
    return [*lines, "", told or f"{right} {chance_sentence(judge['people'], 'people')}"]
