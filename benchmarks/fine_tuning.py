"""The shipped walkers tuned to new people beside trainings from scratch, at the same number of images and at more.

    echoform quickstart --output-dir FOLDER/tuned
    echoform quickstart --from-scratch --vq-train-images 6000 --ldm-train-images 6000 --output-dir FOLDER/same-cost
    echoform quickstart --from-scratch --output-dir FOLDER/from-scratch
    python benchmarks/fine_tuning.py FOLDER [--output JSON]

The three quickstarts have the same people, images, split and judges. CPU seconds are those of all processes of a step,
which other processes of the machine change least; on two idle cores a step takes half as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from record import print_tables, write_results
from tables import RESULTS, Cell, Table, mean_cell

from echoform_train.engine.files import FACTS, SCORES
from echoform_train.engine.json_files import read_json_object
from echoform_train.study.stage_cache import STATE

ARMS = {
    "tuned": "the shipped walkers, tuned",
    "same-cost": "from scratch, as many images",
    "from-scratch": "from scratch, `--from-scratch`",
}
"""Folders below that of the quickstarts, and what they hold."""
SHARES = ("gan_test", "gan_train", "fine_energy_ratio")
VALUES = {"frechet": "{:.2f}", "log_spectral_distance": "{:.2f}"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where to read from."""

    folder: tyro.conf.Positional[Path]
    """Folder of the three finished quickstarts."""
    output: Path = RESULTS / "fine_tuning.json"
    """JSON file to write."""


def main(config: Config) -> None:
    arms = {name: read_arm(config.folder / name) for name in ARMS}
    first, *others = (arm["compared"] for arm in arms.values())
    for other in others:
        if other != first:
            raise ValueError(f"the quickstarts must differ in their training alone, got {first} and {other}")
    facts = {"arms": arms}
    tables = {"arms": describe(arms)}
    write_results(config, facts, tables)
    print_tables(tables)


def read_arm(folder: Path) -> dict[str, Any]:
    """Commands, images seen, CPU seconds and scores of a finished quickstart."""
    run, ldm = read_json_object(folder / SCORES), read_json_object(folder / "ldm" / FACTS)
    stages = {path.parent.name: read_json_object(path) for path in sorted((folder / "stages").glob(f"*/{STATE}"))}
    cpu_s = {name: stage["cpu_seconds"] for name, stage in stages.items()}
    # Only a first stage that was trained here has a log of it.
    trained = (folder / "vq-vae" / "log.jsonl").stat().st_size > 0
    first_stage = read_json_object(folder / "vq-vae" / FACTS)["images_seen"] if trained else 0
    return {
        "command": run["command"],
        "commit": run["commit"],
        "images": {"first stage": first_stage, "denoiser": ldm["images_seen"]},
        "cpu_s": cpu_s,
        "training_cpu_s": cpu_s["vq-vae"] + cpu_s["ldm"],
        "all_cpu_s": sum(cpu_s.values()),
        "compared": {"settings": run["settings"], "images": ldm["data"]["images_sha256"]},
        "scores": run["scores"],
    }


def describe(arms: dict[str, Any]) -> Table:
    """The table: one row per quickstart."""
    rows: list[list[Cell]] = []
    for name, arm in arms.items():
        scores, images = arm["scores"], arm["images"]
        rows.append(
            [
                ARMS[name],
                ["{:,} + {:,}", images["first stage"], images["denoiser"]],
                ["{:.0f}", arm["training_cpu_s"]],
                ["{:.0f}", arm["all_cpu_s"]],
                *(mean_cell(scores[share], "{:.1f}", " %", 100) for share in SHARES),
                *(mean_cell(scores[value], text) for value, text in VALUES.items()),
            ]
        )
    real = arms["tuned"]["scores"]
    floors = [["{:.1f} %", 100 * real[share]["floor"]] for share in SHARES]
    rows.append(["real images", "", "", "", *floors, *([text, real[value]["floor"]] for value, text in VALUES.items())])
    columns = ["", "images of both stages", "CPU s of the trainings", "CPU s in all"]
    columns += ["GAN-test", "GAN-train", "fine detail", "Fréchet distance", "log-spectral distance, dB"]
    return {"columns": columns, "rows": rows}


if __name__ == "__main__":
    main(tyro.cli(Config))
