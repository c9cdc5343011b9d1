"""Generators of latents and of pixels side by side: scores of finished quickstarts of the same data.

    python benchmarks/texture.py FOLDER FOLDER ... --output JSON

FOLDERs are those of quickstarts on this machine that differ in --first-stage; one column each. Command, commit and
versions of each stand in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from record import print_tables, write_results
from scores_table import scores_table

from echoform_train.engine.errors import UserError
from echoform_train.engine.files import FACTS, SCORES
from echoform_train.engine.json_files import read_json_object

COLUMNS = {"vq-vae": "latents of a VQ-VAE", "none": "pixels (`--first-stage none`)"}
"""Column of each kind of first stage."""
SHOWN = (
    "real_to_real",
    "gan_test",
    "gan_train",
    "frechet",
    "precision",
    "memorised",
    "two_sample_auc",
    "fine_energy_ratio",
    "log_spectral_distance",
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to read and write."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of finished quickstarts."""
    output: Path
    """JSON file to write."""


def main(config: Config) -> None:
    scores, runs = {}, {}
    for folder in config.folders:
        run, facts = read_json_object(folder / SCORES), read_json_object(folder / "ldm" / FACTS)
        column = COLUMNS[facts["first_stage"]["kind"]]
        if column in scores:
            raise UserError(f"the quickstarts must differ in --first-stage, {folder} is another one of {column}")
        stages = (facts["first_stage"], facts)
        images_seen = [stage["images_seen"] for stage in stages]
        scores[column] = run["scores"]
        runs[column] = {name: run[name] for name in ("command", "commit", "versions", "settings")}
        runs[column] |= {"data": {name: run["data"][name] for name in ("split_sha256", "images_sha256")}}
        runs[column] |= {"images_seen": images_seen, "training_s": [stage["seconds"] for stage in stages]}
    if len({str(run["data"]) for run in runs.values()}) > 1:
        raise UserError("the quickstarts must be of the same images and split")
    tables = {"scores": scores_table(scores, SHOWN)}
    write_results(config, {"scores": scores, "runs": runs}, tables)
    print_tables(tables)


if __name__ == "__main__":
    main(tyro.cli(Config))
