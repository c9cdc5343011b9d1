"""What `echoform simulate --like` found: settings and statistics as JSON, and pictures side by side."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from echoform_train.engine.errors import UserError
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.provenance import provenance
from echoform_train.radar.image_statistics import STATISTICS
from echoform_train.radar.likeness import Likeness, Measured
from echoform_train.radar.likeness_fit import Fit
from echoform_train.radar.population import Population
from echoform_train.radar.receiver import Receiver
from echoform_train.radar.scatterers import Surface
from echoform_train.radar.view import View
from echoform_train.radar.walks import Route

_PARTS = {"view": View, "receiver": Receiver, "surface": Surface, "population": Population}
_SHOWN = 6


def write_likeness(path: Path, measured: Measured, fit: Fit) -> None:
    """Write the settings, the statistics that they were fitted to, and a hash of the pictures, to a JSON file."""
    table = {
        name: {"measured": measured, "simulated": simulated, "difference_over_spread": difference}
        for name, (measured, simulated, difference) in fit.table.items()
    }
    found = {"likeness": fit.likeness.as_dict(), "statistics": table, "images_sha256": measured.images_sha256}
    write_json(path, {**found, **provenance()})


def read_likeness_file(path: Path) -> Likeness:
    """Settings of a file that `write_likeness` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold settings of a simulation, or one is out of range.
    """
    content = read_json_object(path).get("likeness")
    if not isinstance(content, dict) or not isinstance(content.get("window_s"), int | float):
        raise UserError(f"{path} must hold the settings that echoform simulate --like wrote, it has none")
    parts: dict[str, Any] = {name: _settings(path, name, kind, content.get(name)) for name, kind in _PARTS.items()}
    # Files written before routes were found have none: their walks are straight.
    route = content.get("route", "straight")
    if route not in get_args(Route):
        raise UserError(f"route in {path} must be one of {', '.join(get_args(Route))}, got {route!r}")
    return Likeness(window_s=float(content["window_s"]), route=route, **parts)


def _settings(path: Path, name: str, kind: type[Any], values: Any) -> Any:
    known = {each.name for each in fields(kind)}
    if not isinstance(values, dict) or not set(values) <= known:
        raise UserError(f"{name} in {path} must be settings among {', '.join(sorted(known))}")
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    try:
        return kind(**settings)
    except TypeError as error:
        raise UserError(f"{name} in {path} must hold settings of the right type: {error}") from error


def likeness_lines(fit: Fit) -> list[str]:
    """The table of statistics as lines of text."""
    width = max(map(len, STATISTICS.values()))
    lines = [f"{'':<{width}}  {'measured':>9}  {'simulated':>9}  {'difference / spread':>19}"]
    for name, (measured, simulated, difference) in fit.table.items():
        lines.append(f"{STATISTICS[name]:<{width}}  {measured:>9.3f}  {simulated:>9.3f}  {difference:>19.2f}")
    return lines


def draw_likeness(path: Path, measured: Measured, fit: Fit) -> None:
    """Draw measured pictures in the first row and simulated ones in the second."""
    figure = Figure(figsize=(1.7 * _SHOWN, 4.0), layout="constrained")
    rows = figure.subplots(2, _SHOWN)
    for cells, images, title in ((rows[0], measured.level, "measured"), (rows[1], fit.images, "simulated")):
        for cell, image in zip(cells, _spread_out(images), strict=False):
            cell.imshow(image, cmap="jet", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        for cell in cells:
            cell.set_xticks([])
            cell.set_yticks([])
        cells[0].set_ylabel(f"{title}\nDoppler")
    rows[1][0].set_xlabel("time")
    figure.savefig(path, dpi=120)


def _spread_out(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Some images, evenly spread over all."""
    return images[np.linspace(0, len(images) - 1, min(_SHOWN, len(images))).round().astype(int)]
