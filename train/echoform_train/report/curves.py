"""Training curves as PNG: losses and learning rate over the images seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LOSSES = {"train/loss": "training", "validation/loss": "validation"}
RATE = "learning_rate"


def save_curves(log: Sequence[Mapping[str, float]], path: Path) -> None:
    """Write a PNG with the losses above and the learning rate below.

    Args:
        log: Rows that `read_log` returns: `seen`, and any of `train/loss`, `validation/loss` and `learning_rate`.
        path: File to write; its folder is created.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for name, label in LOSSES.items():
        above.plot(*_curve(log, name), marker="." if name.startswith("validation") else None, label=label)
    above.set(ylabel="loss", yscale="log")
    above.legend()
    below.plot(*_curve(log, RATE), color="tab:green")
    below.set(xlabel="images seen", ylabel="learning rate", ylim=(0, None))
    for axis in (above, below):
        axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)


def _curve(log: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    rows = [row for row in log if name in row]
    return [row["seen"] for row in rows], [row[name] for row in rows]
