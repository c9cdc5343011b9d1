"""The image of the README: held-out simulated spectrograms beside generated ones, with axes in seconds, Hz and m/s.

    python benchmarks/readme_image.py quickstart docs/images/spectrograms.png

Reads the folder of a finished `echoform quickstart`. The images are spread evenly over each set; none is picked by
eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor

from echoform_train.data.figure import figure, save_figure
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.files import SPLIT
from echoform_train.scoring.generated_images import read_generated, read_metadata

IMAGES_PER_SET = 2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where to read from and what to show."""

    quickstart: tyro.conf.Positional[Path]
    """Folder of a finished quickstart on simulated walkers."""
    output: tyro.conf.Positional[Path]
    """File to write: .png, .svg or .pdf."""
    users: int = 3
    """Users to show, one row each."""
    resolution: int = 64
    """Height and width of the quickstart's spectrograms, in pixels."""


def main(config: Config) -> None:
    folder = config.quickstart
    data = load_spectrograms(folder / "data", split_file=folder / "vq-vae" / SPLIT, resolution=config.resolution)
    pixels, users = read_generated(read_metadata(folder / "generated" / "seed-0"), data)[0]
    # One row per user: held-out images of the test part on the left, generated ones on the right.
    rows = {
        data.id2label[user]: torch.cat(
            [evenly_spread(data.test.pixels[data.test.users == user]), evenly_spread(pixels[users == user])]
        )
        for user in range(config.users)
    }
    assert data.axes is not None  # the simulator always writes them
    draw(rows, data.axes, config.output)


def evenly_spread(pixels: Tensor) -> Tensor:
    """IMAGES_PER_SET images at equal distances in a set [N, C, H, W]."""
    return pixels[torch.linspace(0, len(pixels) - 1, IMAGES_PER_SET).round().long()]


def draw(rows: dict[str, Tensor], axes: dict[str, float], output: Path) -> None:
    """Write the figure.

    Args:
        rows: By user, uint8 [2 * IMAGES_PER_SET, 1, H, W], held-out images first; row 0 is the highest Doppler.
        axes: Content of axes.json.
        output: File to write: .png, .svg or .pdf.
    """
    drawn = figure(
        torch.cat(list(rows.values())),
        axes,
        columns=2 * IMAGES_PER_SET,
        rows=list(rows),
        groups=(
            ("Simulated radar, held out from training", IMAGES_PER_SET),
            ("Generated for the same user", IMAGES_PER_SET),
        ),
    )
    save_figure(drawn, output)


if __name__ == "__main__":
    main(tyro.cli(Config))
