"""A sheet that shows a simulation: spectrograms with axes, users in rows and their recordings in columns."""

from collections import defaultdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image
from scipy.constants import speed_of_light

from echoform_train.data.layout import natural_key
from echoform_train.engine.files import AXES, METADATA
from echoform_train.engine.json_files import read_json_lines, read_json_object
from echoform_train.radar.walks import Direction

DIRECTIONS = get_args(Direction)
MAX_USERS = 8
MAX_RECORDINGS = 6


def write_sheet(folder: Path, path: Path, *, users: int = MAX_USERS, recordings: int = MAX_RECORDINGS) -> None:
    """Draw the middle window of some recordings of the first users as one PNG.

    Args:
        folder: Folder that `echoform simulate` wrote: images, metadata.jsonl and axes.json.
        path: PNG file to write.
        users: Largest number of rows.
        recordings: Largest number of columns; each condition and direction comes once before any comes twice.

    Raises:
        FileNotFoundError: If the folder lacks metadata.jsonl or axes.json.
    """
    rows = read_json_lines(folder / METADATA)
    axes = read_json_object(folder / AXES)
    chosen = _choose(rows, users, recordings)
    columns = max(map(len, chosen.values()))
    figure = Figure(figsize=(1.9 * columns + 1.9, 1.75 * len(chosen) + 1.0), layout="constrained")
    grid = figure.subplots(len(chosen), columns, squeeze=False, sharex=True, sharey=True)
    for line, (user, shown) in zip(grid, chosen.items(), strict=True):
        for cell, row in zip(line, shown, strict=False):
            _draw(cell, folder / row["file_name"], axes)
            cell.set_title(_title(row), fontsize=7, pad=3)
        for cell in line[len(shown) :]:
            cell.set_visible(False)
        height_m = shown[0].get("height_m")
        name = user if height_m is None else f"{user}\n{height_m:.2f} m"
        line[0].set_ylabel(f"{name}\nDoppler (Hz)", fontsize=7)
        # Only a full row has its last image at the edge, where the axis of speeds fits.
        if len(shown) == columns:
            _add_speed_axis(line[-1], axes["carrier_hz"])
    for cell in grid[-1]:
        cell.set_xlabel("time (s)", fontsize=7)
    _add_colour_bar(figure, grid.ravel().tolist(), axes)
    figure.suptitle(
        f"{axes['carrier_hz'] / 1e9:.0f} GHz, Doppler relative to the body (see each title); positive comes nearer",
        fontsize=9,
    )
    figure.savefig(path, dpi=110)


def _choose(rows: list[dict[str, Any]], users: int, recordings: int) -> dict[str, list[dict[str, Any]]]:
    """Rows of the middle windows to draw, by user: each condition and direction once, then a second time, and so on."""
    windows: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        windows[row["user"]][row["recording"]].append(row)
    chosen = {}
    for user in sorted(windows, key=natural_key)[:users]:
        middles = [shown[len(shown) // 2] for shown in windows[user].values()]
        kinds: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in sorted(middles, key=lambda row: DIRECTIONS.index(row["direction"])):
            kinds[row["direction"], row.get("condition", "")].append(row)
        turns = max(map(len, kinds.values()))
        in_turn = [kind[turn] for turn in range(turns) for kind in kinds.values() if turn < len(kind)]
        picked = in_turn[:recordings]
        chosen[user] = [row for kind in kinds.values() for row in kind if row in picked]
    return chosen


def _draw(cell: Axes, path: Path, axes: dict[str, float]) -> None:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    extent = (0.0, axes["window_s"], axes["doppler_min_hz"], axes["doppler_max_hz"])
    cell.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest")
    cell.tick_params(labelsize=6, length=2, pad=1)


def _title(row: dict[str, Any]) -> str:
    what = " ".join(str(row[name]) for name in ("condition", "direction") if name in row)
    return f"{what}, {row['speed_mps']:.2f} m/s\n{row['body_doppler_hz']:+.0f} Hz, {row['cadence_hz']:.2f} steps/s"


def _add_speed_axis(cell: Axes, carrier_hz: float) -> None:
    mps_per_hz = speed_of_light / carrier_hz / 2
    speed = cell.secondary_yaxis(
        "right",
        functions=(lambda shift_hz: np.asarray(shift_hz) * mps_per_hz, lambda mps: np.asarray(mps) / mps_per_hz),
    )
    speed.set_ylabel("m/s", fontsize=7)
    speed.tick_params(labelsize=6, length=2, pad=1)


def _add_colour_bar(figure: Figure, cells: list[Axes], axes: dict[str, float]) -> None:
    levels = ScalarMappable(Normalize(axes["db_min"], axes["db_max"]), colormaps["jet"])
    bar = figure.colorbar(levels, ax=cells, location="bottom", shrink=0.5, aspect=45, pad=0.02)
    bar.set_label("dB over one square metre at the walker's range", fontsize=7)
    bar.ax.tick_params(labelsize=6)
