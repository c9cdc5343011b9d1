"""Does pre-training on simulated people help a classifier of measured ones? At a few images a user, over many draws.

    python benchmarks/pretraining.py FOLDER --data DIR [--data-name NAME] [--output JSON] ...

People are simulated like the training images of DIR (`simulate --like`), once with that fit and once with the default
simulator. A classifier is trained to tell them apart, and tuned on a few measured images per user with the best plain
augmentation (a time roll). Its rival is the same training without the pre-training. All draws share the test images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from record import print_tables, write_results
from tables import RESULTS, Table, mean_cell

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.engine.files import AXES
from echoform_train.radar.likeness import Measured, known_settings, read_likeness
from echoform_train.radar.likeness_fit import fit_likeness
from echoform_train.radar.simulation import simulate
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.scoring.augmentations import time_roll
from echoform_train.scoring.intervals import mean_interval, mean_share_interval
from echoform_train.study.classifiers.augmentations import Recipe
from echoform_train.study.classifiers.training import hits, train_classifier
from echoform_train.study.images.subsets import choose_per_user

FAMILY = "ResNet"
ARMS = {"without": "Without pre-training", "default": "Default simulator", "like": "Simulated like the training images"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train on and how long."""

    folder: tyro.conf.Positional[Path]
    """Folder for the simulated people."""
    data: str
    """Folder of measured spectrograms."""
    data_name: str = "measured"
    """Name of the data in the table."""
    output: Path = RESULTS / "pretraining.json"
    """JSON file to write."""
    people: int = 40
    """Simulated people."""
    recordings_per_user: int = 3
    """Walks per simulated person."""
    resolution: int = 64
    """Height and width, pixels."""
    per_user: tuple[int, ...] = (5, 10)
    """Measured images per user to train on."""
    draws: int = 8
    """Choices of these images; each is also a seed of the training."""
    pretrain_images: int = 30_000
    """Images seen in the pre-training."""
    train_images: int = 4_000
    """Images seen in each training on measured images."""


def main(config: Config) -> None:
    data = load_spectrograms(config.data, resolution=config.resolution)
    print({side: len(getattr(data, side)) for side in ("train", "validation", "test")}, flush=True)
    initial = {arm: _pretrained(config, arm, data) for arm in ("default", "like")}
    runs = []
    for per_user in config.per_user:
        for draw in range(config.draws):
            run: dict[str, Any] = {"per_user": per_user, "draw": draw}
            for arm in ARMS:
                run[arm] = _accuracy(config, data, per_user, draw, initial.get(arm))
            print(run, flush=True)
            runs.append(run)
    tables = {"accuracy": _table(config, runs)}
    write_results(config, {"runs": runs}, tables)
    print_tables(tables)


def _pretrained(config: Config, arm: str, data: SpectrogramData) -> torch.nn.Module:
    """A classifier of simulated people."""
    folder = config.folder / arm
    if not (folder / AXES).is_file():
        simulate(_simulation(config, arm, data, folder))
    simulated = load_spectrograms(folder, resolution=config.resolution, colormap="jet")
    sides = [simulated.train, simulated.validation, simulated.test]
    pixels, users = (torch.cat([getattr(side, name) for side in sides]) for name in ("pixels", "users"))
    classifier = train_classifier(
        FAMILY,
        (pixels, users),
        config.people,
        seed=0,
        recipe=Recipe(time_roll),
        train_images=config.pretrain_images,
        batch_size=32,
    )
    print(
        f"{arm}: {len(users)} simulated images, {hits(classifier, pixels, users).float().mean():.3f} right", flush=True
    )
    return classifier


def _simulation(config: Config, arm: str, data: SpectrogramData, folder: Path) -> SimulationConfig:
    base = SimulationConfig(
        output_dir=folder,
        users=config.people,
        recordings_per_user=config.recordings_per_user,
        resolution=config.resolution,
        seed=1,
        workers=1,
    )
    if arm == "default":
        return base
    axes: Mapping[str, float] = data.axes or {}
    measured = Measured(
        level=np.divide(data.train.pixels[:, 0].numpy(), 255, dtype=np.float32),
        users=data.train.users.numpy(),
        axes=data.axes,
        jpeg_quality=None,
        window_s=axes.get("window_s"),
    )
    first, found = read_likeness(measured)
    fit = fit_likeness(first, found, base, known=known_settings(measured))
    print(fit.likeness, flush=True)
    like = fit.likeness.applied_to(base)
    return replace(like, recording_s=max(base.recording_s, like.shown_s))


def _accuracy(
    config: Config, data: SpectrogramData, per_user: int, draw: int, initial: torch.nn.Module | None
) -> float:
    """Share of the test images that a classifier trained on a draw of the training images names right."""
    chosen = data.train.select(choose_per_user(data.train, per_user, seed=draw))
    classifier = train_classifier(
        FAMILY,
        (chosen.pixels, chosen.users),
        len(data.id2label),
        seed=draw,
        recipe=Recipe(time_roll),
        initial=initial,
        train_images=config.train_images,
    )
    return float(hits(classifier, data.test.pixels, data.test.users).float().mean())


def _table(config: Config, runs: list[dict[str, Any]]) -> Table:
    rows = []
    for per_user in config.per_user:
        of_size = [run for run in runs if run["per_user"] == per_user]
        row: list[Any] = [config.data_name, str(per_user)]
        gain = mean_interval([run["like"] - run["without"] for run in of_size])
        for interval in (*(mean_share_interval([run[arm] for run in of_size]) for arm in ARMS), gain):
            row.append(mean_cell(interval._asdict(), "{:.1f}", factor=100))
        rows.append(row)
    return {"columns": ["data", "images per user", *ARMS.values(), "gain of the last, points"], "rows": rows}


if __name__ == "__main__":
    main(tyro.cli(Config))
