"""How much simulated spectrograms look like measured ones: thin lines, default simulator, and a fitted simulation.

    python benchmarks/similarity.py FOLDER --data DIR [--data-name NAME] [--output JSON] ...

Each kind of simulation is compared with the measured pictures of DIR as `echoform score simulated` does. The fitted one
(`simulate --like`) is fitted to the first people of DIR alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from record import print_tables, write_results
from tables import RESULTS, Table, cell, mean_cell

from echoform_train.data.dataset import read_source
from echoform_train.engine.files import AXES
from echoform_train.radar.likeness import known_settings, read_likeness
from echoform_train.radar.likeness_fit import fit_likeness
from echoform_train.radar.likeness_source import measure_source
from echoform_train.radar.simulation import simulate
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.study.similarity import LABELS, SimilarityScores, WalkerImages, score_similarity

KINDS = {"ellipsoids": "--body ellipsoids", "default": "default simulator", "like": "--like"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to compare."""

    folder: tyro.conf.Positional[Path]
    """Folder for the simulated people."""
    data: str
    """Folder of measured spectrograms."""
    data_name: str = "measured"
    """Name of the data in the table."""
    output: Path = RESULTS / "similarity.json"
    """JSON file to write."""
    fitted_people: int = 3
    """People of DIR that the fitted simulation sees."""
    people: int = 16
    """Simulated people of each kind."""
    resolution: int = 64
    """Height and width at which images are compared, pixels."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each divides the people anew."""
    train_images: int = 6_400
    """Images that each network of the two-sample test sees."""


def main(config: Config) -> None:
    measured = _images(config, config.data)
    found: dict[str, SimilarityScores] = {}
    for kind in KINDS:
        folder = config.folder / kind
        if not (folder / AXES).is_file():
            simulate(_simulation(config, kind, folder))
        found[kind] = score_similarity(
            measured,
            _images(config, str(folder)),
            seeds=config.seeds,
            train_images=config.train_images,
            judge_train_images=12_000,
        )
        print(kind, found[kind]["scores"], flush=True)
    tables = {"similarity": _table(config, found)}
    write_results(config, {"scores": found}, tables)
    print_tables(tables)


def _simulation(config: Config, kind: str, folder: Path) -> SimulationConfig:
    base = SimulationConfig(output_dir=folder, users=config.people, recordings_per_user=2, seed=1, workers=1)
    if kind == "ellipsoids":
        return replace(base, body="ellipsoids")
    if kind == "default":
        return base
    measured = measure_source(config.data)
    chosen = measured.users < config.fitted_people
    first, statistics = read_likeness(replace(measured, level=measured.level[chosen], users=measured.users[chosen]))
    fit = fit_likeness(first, statistics, base, known=known_settings(measured))
    print(fit.likeness, flush=True)
    like = fit.likeness.applied_to(base)
    return replace(like, recording_s=max(base.recording_s, like.shown_s))


def _images(config: Config, source: str) -> WalkerImages:
    read = read_source(source, resolution=config.resolution, colormap="jet")
    return WalkerImages(
        pixels=torch.from_numpy(read.pixels.pixels),
        users=torch.from_numpy(np.asarray(read.dataset["user"][:], dtype=np.int64)),
        axes=read.axes,
    )


def _table(config: Config, found: dict[str, SimilarityScores]) -> Table:
    rows: list[list[Any]] = []
    for name, label in LABELS.items():
        row: list[Any] = [config.data_name, label]
        row += [mean_cell(scores["scores"][name], "{:.3f}") for scores in found.values()]
        row.append(cell("{:.3f}", next(iter(found.values()))["scores"][name]["floor"]))
        rows.append(row)
    return {"columns": ["data", "score", *KINDS.values(), "measured people and others"], "rows": rows}


if __name__ == "__main__":
    main(tyro.cli(Config))
