"""A sheet that shows a simulation: spectrograms with axes, users in rows and their recordings in columns."""

from collections import defaultdict
from pathlib import Path
from typing import Any, get_args

from PIL import Image

from echoform_train.data.figure import figure, save_figure
from echoform_train.data.layout import natural_key
from echoform_train.engine.files import AXES, METADATA
from echoform_train.engine.json_files import read_json_lines, read_json_object
from echoform_train.radar.simulation_config import DB_MAX, DB_MIN
from echoform_train.radar.walks import Direction

DIRECTIONS = get_args(Direction)
MAX_USERS = 8
MAX_RECORDINGS = 6


def write_sheet(
    folder: Path,
    path: Path,
    *,
    users: int = MAX_USERS,
    recordings: int = MAX_RECORDINGS,
    figure_colormap: str | None = None,
    relative_to_body: bool = True,
) -> None:
    """Draw the middle window of some recordings of the first users as one figure.

    Args:
        folder: Folder that `echoform simulate` wrote: images, metadata.jsonl and axes.json.
        path: File to write, .png, .svg or .pdf.
        users: Largest number of rows.
        recordings: Largest number of columns; each condition and direction comes once before any comes twice.
        figure_colormap: Colour map of the figure only. Default: that of the images.
        relative_to_body: Whether 0 Hz is the Doppler of the body rather than that of standing still.

    Raises:
        FileNotFoundError: If the folder lacks metadata.jsonl or axes.json.
    """
    rows = read_json_lines(folder / METADATA)
    axes = read_json_object(folder / AXES)
    chosen = _choose(rows, users, recordings)
    columns = max(map(len, chosen.values()))
    cells = [row for shown in chosen.values() for row in (*shown, *[None] * (columns - len(shown)))]
    drawn = figure(
        [None if row is None else _load(folder / row["file_name"]) for row in cells],
        axes,
        ["" if row is None else _title(row) for row in cells],
        columns=columns,
        rows=[_name(user, shown[0]) for user, shown in chosen.items()],
        figure_colormap=figure_colormap,
        title=_heading(axes["carrier_hz"], relative_to_body=relative_to_body),
        level=_level(axes),
    )
    save_figure(drawn, path)


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


def _heading(carrier_hz: float, *, relative_to_body: bool) -> str:
    doppler = "Doppler relative to the body (see each title)" if relative_to_body else "Doppler"
    return f"{carrier_hz / 1e9:.0f} GHz, {doppler}; positive comes nearer"


def _level(axes: dict[str, Any]) -> str:
    """What the decibels are above, which `SimulationConfig.axes` decides."""
    if (axes["db_min"], axes["db_max"]) == (DB_MIN, DB_MAX):
        return "dB over one square metre at the walker's range"
    return "dB, 0 is the strongest cell of each image"


def _load(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _name(user: str, row: dict[str, Any]) -> str:
    return user if row.get("height_m") is None else f"{user}, {row['height_m']:.2f} m"


def _title(row: dict[str, Any]) -> str:
    what = " ".join(str(row[name]) for name in ("condition", "direction") if name in row)
    return f"{what}, {row['speed_mps']:.2f} m/s\n{row['body_doppler_hz']:+.0f} Hz, {row['cadence_hz']:.2f} steps/s"
