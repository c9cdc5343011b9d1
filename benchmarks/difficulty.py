"""How hard simulated people are to tell apart, on held-out recordings and in a condition that was not trained on.

    python benchmarks/difficulty.py FOLDER [--users 31] [--resolution 64] [--seeds 0 1 2] [--output JSON] ...

Measured data set the aim: a small network names 85 to 97 % of held-out recordings of 31 people right, and some 75 %
when it was trained on normal walks and is tested on walks with a backpack. Its accuracy on held-out normal walks
shows how much of the drop is due to the backpack. The people's differences and the load were chosen on
--simulation-seed 1 and 2, so publish other seeds. Simulates into FOLDER/data unless data is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from record import print_tables, write_results
from tables import RESULTS, Table, mean_cell

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, load_spectrograms
from echoform_train.engine.files import AXES
from echoform_train.radar.simulation import simulate
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.scoring.intervals import mean_share_interval
from echoform_train.scoring.judge import accuracy, accuracy_by_user, confusion, train_judge

BACKGROUND_LEVEL = 1 / 8
"""Values below this share of the colour scale count as background (dark blue in jet)."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to simulate and how to judge it."""

    folder: tyro.conf.Positional[Path]
    """Folder for the data."""
    output: Path = RESULTS / "difficulty.json"
    """JSON file to write."""
    users: int = 31
    """Simulated people."""
    recordings_per_user: int = 16
    """Recordings per person."""
    conditions: tuple[str, ...] = ("normal", "backpack")
    """What people carry; one judge is trained on the first alone and tested on each of the others."""
    resolution: int = 64
    """Height and width, in pixels; the judge reduces larger images to 64."""
    simulation_seed: int = 0
    """Seed of the people and their walks."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each seed makes one split and one judge of either kind; at least two, for an interval."""
    train_images: int = 60_000
    """Images that each judge sees in training; with 24,000 it does not know all of its own images yet."""
    workers: int = 1
    """Processes of the simulation."""


def main(config: Config) -> None:
    folder = config.folder / "data"
    if not (folder / AXES).is_file():
        settings = SimulationConfig(
            output_dir=folder,
            users=config.users,
            recordings_per_user=config.recordings_per_user,
            conditions=config.conditions,
            resolution=config.resolution,
            seed=config.simulation_seed,
            workers=config.workers,
        )
        simulate(settings)
    runs = [judge_seed(config, folder, seed) for seed in config.seeds]
    names = [name for name in runs[0] if name not in ("seed", "by_user")]
    means = {name: mean_share_interval([run[name] for run in runs])._asdict() for name in names}
    tables = {"accuracy": accuracy_table(config, means)}
    write_results(config, {"runs": runs, "mean": means}, tables)
    print_tables(tables)


def judge_seed(config: Config, folder: Path, seed: int) -> dict[str, Any]:
    data = load_spectrograms(folder, resolution=config.resolution, seed=seed)
    # A judge of all conditions, tested on recordings that it never saw.
    judge = train_judge(
        data.train.pixels, data.train.users, len(data.id2label), seed=seed, train_images=config.train_images
    )
    by_user = accuracy_by_user(confusion(judge, data.test.pixels, data.test.users))
    scores: dict[str, Any] = {
        "seed": seed,
        "background_share": (data.test.pixels < round(255 * BACKGROUND_LEVEL)).double().mean().item(),
        "all_conditions": accuracy(judge, data.test.pixels, data.test.users),
        "by_user": {data.id2label[user]: value for user, value in enumerate(by_user.tolist())},
    }
    # A judge of the first condition alone, tested on each of them.
    if len(config.conditions) > 1:
        first, *others = config.conditions
        plain = only(data, data.train, first)
        judge = train_judge(plain.pixels, plain.users, len(data.id2label), seed=seed, train_images=config.train_images)
        for condition in (first, *others):
            part = only(data, data.test, condition)
            scores[f"{first}_to_{condition}"] = accuracy(judge, part.pixels, part.users)
    return scores


def accuracy_table(config: Config, means: dict[str, dict[str, float]]) -> Table:
    """Accuracy of the judges on held-out recordings, with intervals over the seeds."""
    tested = {"all_conditions": ("all conditions", "all conditions, held-out recordings")}
    if len(config.conditions) > 1:
        first, *others = config.conditions
        tested |= {f"{first}_to_{other}": (first, other) for other in others}
        tested[f"{first}_to_{first}"] = (first, f"{first}, held-out recordings")
    rows = [[*tested[name], mean_cell(mean, "{:.1f}", " %", 100)] for name, mean in means.items() if name in tested]
    rows.append(["", "background, share of the pixels", mean_cell(means["background_share"], "{:.1f}", " %", 100)])
    return {"columns": ["trained on", "tested on", f"accuracy, {len(config.seeds)} seeds"], "rows": rows}


def only(data: SpectrogramData, part: Spectrograms, condition: str) -> Spectrograms:
    """The images of one condition in a part of the data."""
    number = next(key for key, label in data.condition_labels["condition"].items() if label == condition)
    return part.select(torch.nonzero(part.conditions["condition"] == number).flatten())


if __name__ == "__main__":
    main(tyro.cli(Config))
