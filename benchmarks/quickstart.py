"""Quality of what `echoform quickstart` made: scores of the generated spectrograms, and of the VQ-VAE.

    python benchmarks/quickstart.py FOLDER [--output JSON]

FOLDER is that of a finished quickstart on this machine. Command, commit, versions and date are those of its scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import tyro
from record import machine, print_tables
from scores_table import scores_table
from tables import RESULTS, Table

from echoform_train.commands.quickstart import STAGES as RECORDS
from echoform_train.engine.files import FACTS, SCORES
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.study.stage_cache import STATE

STAGES = ("vq-vae", "ldm")
PARTS = {
    "data": "simulating",
    "vq-vae": "first stage",
    "ldm": "diffusion model",
    "generated": "generating",
    "scores": "judging",
}
"""The parts of a quickstart of simulated people, in their order, and what they are called in the table."""
OF_A_STAGE = ("parameters", "precision", "images_seen", "best_after", "validation")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where to read from."""

    folder: tyro.conf.Positional[Path]
    """Folder of a finished quickstart."""
    output: Path = RESULTS / "quickstart.json"
    """JSON file to write."""


def main(config: Config) -> None:
    run = read_json_object(config.folder / SCORES)
    facts = {stage: read_json_object(config.folder / stage / FACTS) for stage in STAGES}
    written = datetime.fromtimestamp((config.folder / SCORES).stat().st_mtime, timezone.utc)
    seconds = {part: read_json_object(config.folder / RECORDS / part / STATE)["seconds"] for part in PARTS}
    tables = {"scores": scores_table({"generated": run["scores"]}), "seconds": _seconds_table(seconds)}
    # The run names its machine in one sentence that begins with the number of threads.
    threads = int(run["machine"].split()[0])
    results = {
        "origin": "written by the run",
        "date": written.date().isoformat(),
        **{name: run[name] for name in ("command", "commit", "versions")},
        "machine": machine() | {"threads": threads, "load_average": None},
        **{name: run[name] for name in ("settings", "scores", "users")},
        "stages": {stage: {name: facts[stage][name] for name in OF_A_STAGE} for stage in STAGES},
        "seconds": seconds,
        "tables": tables,
    }
    write_json(config.output, results)
    print_tables(tables)


def _seconds_table(seconds: dict[str, float]) -> Table:
    rows: list[list[Any]] = [[PARTS[part], f"{found:.0f}"] for part, found in seconds.items()]
    return {"columns": ["part", "seconds"], "rows": [*rows, ["in all", f"{sum(seconds.values()):.0f}"]]}


if __name__ == "__main__":
    main(tyro.cli(Config))
