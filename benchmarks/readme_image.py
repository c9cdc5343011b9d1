"""The image of the README: held-out simulated spectrograms beside generated ones, with axes in seconds, Hz and m/s.

    python benchmarks/readme_image.py quickstart docs/images/spectrograms.png

Reads the folder of a finished `echoform quickstart`. The images are spread evenly over each set; none is picked by
eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.constants import speed_of_light
from torch import Tensor

from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.files import SPLIT
from echoform_train.scoring.generated_images import read_generated, read_metadata

IMAGES_PER_SET = 2
DPI = 110


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where to read from and what to show."""

    quickstart: tyro.conf.Positional[Path]
    """Folder of a finished quickstart on simulated walkers."""
    output: tyro.conf.Positional[Path]
    """PNG to write."""
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
        axes: Content of axes.json: window_s, doppler_min_hz, doppler_max_hz, db_min, db_max, carrier_hz.
        output: PNG to write.
    """
    figure = Figure(figsize=(13, 2.7 * len(rows) + 0.9), layout="constrained", dpi=DPI)
    # A spacer column keeps the two sets apart.
    columns = ["image"] * IMAGES_PER_SET + ["space"] + ["image"] * IMAGES_PER_SET
    grid = figure.subplots(
        len(rows), len(columns), squeeze=False, width_ratios=[1.0 if kind == "image" else 0.12 for kind in columns]
    )
    places = [index for index, kind in enumerate(columns) if kind == "image"]
    for (user, images), cells in zip(rows.items(), grid, strict=True):
        cells[IMAGES_PER_SET].set_axis_off()
        for place, image in zip(places, images, strict=True):
            _show(cells[place], image[0].numpy(), axes)
        cells[places[0]].set_ylabel(f"{user}\nDoppler relative to body, Hz")
        _add_speed_axis(cells[places[-1]], axes["carrier_hz"])
    for place in places:
        grid[-1][place].set_xlabel("time, s")
    # Only the outer axes carry numbers, as all images share their scales.
    for cell in grid.flat:
        cell.label_outer()
    grid[0][places[0]].set_title("Simulated radar, held out from training", loc="left", fontsize=14, weight="bold")
    grid[0][places[IMAGES_PER_SET]].set_title("Generated for the same user", loc="left", fontsize=14, weight="bold")
    colors = ScalarMappable(Normalize(axes["db_min"], axes["db_max"]), "jet")
    figure.colorbar(colors, ax=grid, label="echo strength, dB", shrink=0.5, pad=0.02)
    output.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(output)


def _show(cell: Axes, image: np.ndarray, axes: dict[str, float]) -> None:
    extent = (0, axes["window_s"], axes["doppler_min_hz"], axes["doppler_max_hz"])
    cell.imshow(image, cmap="jet", vmin=0, vmax=255, extent=extent, aspect="auto", interpolation="nearest")
    cell.tick_params(labelsize=9)


def _add_speed_axis(cell: Axes, carrier_hz: float) -> None:
    """Radial speed on the right: a target at v m/s shifts the carrier by 2 v f / c."""
    hz_per_mps = 2 * carrier_hz / speed_of_light
    to_mps, to_hz = lambda hz: np.asarray(hz) / hz_per_mps, lambda mps: np.asarray(mps) * hz_per_mps
    right = cell.secondary_yaxis("right", functions=(to_mps, to_hz))
    right.set_ylabel("speed relative to body, m/s")
    right.tick_params(labelsize=9)


if __name__ == "__main__":
    main(tyro.cli(Config))
