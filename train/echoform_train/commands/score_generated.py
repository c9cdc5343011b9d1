"""`echoform score generated`: generated spectrograms judged against held-out real ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.files import SCORES
from echoform_train.engine.provenance import provenance
from echoform_train.scoring.generated import score_generated
from echoform_train.scoring.generated_images import read_generated, read_metadata, side_of
from echoform_train.scoring.scores import score_table


@dataclass(frozen=True, kw_only=True)
class Config:
    """Score generated spectrograms against held-out real ones, with judges trained on real images only."""

    data: str
    """Folder of the real spectrograms that the generator was trained on, or the id of the data set on the Hub."""
    split_file: Path
    """Split of that training, such as split.json of its output folder."""
    generated_dir: tuple[Path, ...]
    """Folders that `echoform generate` wrote, for example one a seed."""
    output: Path | None = None
    """JSON file for the scores. Default: scores.json in the first generated folder."""
    judge_seeds: tuple[int, ...] = (0, 1, 2)
    """Each seed trains a judge on real and at least one on generated images."""
    judge_train_images: int = 24_000
    """Images that a judge sees in training; half a minute for 24,000 on one core."""
    resolution: int | None = None
    """Height and width of the real images. Default: that of the generated ones."""
    colormap: str = "auto"
    """Colour map of the pictures: auto detects it, none keeps RGB, or its name."""
    skip_bad_files: bool = False
    """List and skip real files that cannot be used instead of stopping."""
    device: str = "auto"
    """Where the judges are trained; auto: on the GPU, if there is one."""


def main(config: Config) -> None:
    """Score, print the table and write the JSON file."""
    if not config.split_file.is_file():
        raise FileNotFoundError(f"{config.split_file} is no file; scoring needs the split of the generator's training")
    rows = [row for folder in config.generated_dir for row in read_metadata(folder)]
    data = load_spectrograms(
        config.data,
        split_file=config.split_file,
        resolution=config.resolution or side_of(rows[0].path),
        colormap=config.colormap,
        skip_bad_files=config.skip_bad_files,
    )
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    samples = read_generated(rows, data)
    scores = score_generated(
        data, samples, judge_train_images=config.judge_train_images, device=device, seeds=config.judge_seeds
    )
    output = config.output or config.generated_dir[0] / SCORES
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(scores | provenance(), indent=1) + "\n")
    print("\n".join(score_table(scores)))
    print(f"Written to {output}")
