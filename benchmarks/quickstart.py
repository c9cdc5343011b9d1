"""Quality of what `echoform quickstart` makes: scores of the generated spectrograms, and of the VQ-VAE.

    python benchmarks/quickstart.py FOLDER [--data SPECTROGRAMS] [--output JSON]

Runs the whole quickstart into FOLDER with its default settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from record import print_tables, write_results
from scores_table import scores_table
from tables import RESULTS

from echoform_train.commands import quickstart
from echoform_train.engine.files import FACTS
from echoform_train.engine.json_files import read_json_object


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where to run it, and on which data."""

    folder: tyro.conf.Positional[Path]
    """Folder for everything that the quickstart makes."""
    data: str | None = None
    """Folder of spectrograms. Default: simulated walkers."""
    output: Path = RESULTS / "quickstart.json"
    """JSON file to write."""


def main(config: Config) -> None:
    result = quickstart.main(quickstart.Config(output_dir=config.folder, data=config.data))
    trained = {stage: read_json_object(config.folder / stage / FACTS) for stage in ("vq-vae", "ldm")}
    stages = {
        stage: {name: facts[name] for name in ("parameters", "images_seen", "best_after", "validation", "precision")}
        for stage, facts in trained.items()
    }
    tables = {"scores": scores_table({"generated": result.scores["scores"]})}
    scores = {"scores": result.scores["scores"], "users": result.scores["users"], "scoring": result.scores["settings"]}
    write_results(config, {**scores, "stages": stages}, tables)
    print_tables(tables)


if __name__ == "__main__":
    main(tyro.cli(Config))
