"""The picture of the README: held-out spectrograms of some people and generated ones beside them.

    python benchmarks/picture.py quickstart benchmarks/walkers.png

Takes what `echoform quickstart` left in its folder; nothing is chosen: the images are spread evenly over each set.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor

from echoform_train.data.painting import save_sheet
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.scoring.generated_images import read_generated, read_metadata

EACH = 4


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where from and where to."""

    quickstart: tyro.conf.Positional[Path]
    """Folder of a finished quickstart."""
    picture: tyro.conf.Positional[Path]
    """PNG to write: a row a person, held-out ones left, generated ones right."""
    users: int = 4
    """People to show."""
    resolution: int = 64
    """That of the quickstart."""


def main(config: Config) -> None:
    folder = config.quickstart
    data = load_spectrograms(folder / "data", split_file=folder / "vq-vae" / "split.json", resolution=config.resolution)
    pixels, users = read_generated(read_metadata(folder / "generated" / "seed-0"), data)[0]
    rows = []
    for user in range(config.users):
        rows += [spread(data.test.pixels[data.test.users == user]), spread(pixels[users == user])]
    save_sheet(torch.cat(rows), 2 * EACH, data.colormap, config.picture)


def spread(pixels: Tensor) -> Tensor:
    return pixels[torch.linspace(0, len(pixels) - 1, EACH).round().long()]


if __name__ == "__main__":
    main(tyro.cli(Config))
