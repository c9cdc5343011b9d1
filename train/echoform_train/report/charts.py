"""The charts of report pages: curves of a training, accuracies with intervals, distributions and confusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from echoform_train.engine.errors import UserError
from echoform_train.report.svg import COLORS, LINE_COLORS, Layout, new_chart, to_svg

Point = tuple[float, float | None, float | None]
"""Mean and the ends of its interval, None where there is none."""

_ROUND_STEPS = [1, 2, 5, 10]
_DODGE = 0.06
"""Horizontal shift between lines at the same size, so that their intervals do not overlap; sizes are 1 apart."""


def line_chart(lines: Mapping[str, Sequence[tuple[float, float]]], ylabel: str, *, logarithmic: bool) -> Markup:
    """Curves over the number of images seen in training.

    Args:
        lines: Points (images seen, value) of each line by its name; values must be positive on a logarithmic axis.
        ylabel: Title of the vertical axis, with its unit.
        logarithmic: Whether the vertical axis is logarithmic.

    Raises:
        ValueError: If there is no point, or a point is not finite or not positive on a logarithmic axis.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        raise UserError("a chart needs at least one point, got none")
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)) or (logarithmic and y <= 0):
            raise UserError(f"points must be finite, and positive on a logarithmic axis, got ({x}, {y})")
    figure, axes = new_chart("images seen", ylabel)
    for number, line in enumerate(lines.values()):
        x, y = zip(*line, strict=True)
        axes.plot(x, y, color=LINE_COLORS[number], linewidth=2, gid=f"line-{number}")
        axes.plot(x[-1:], y[-1:], "o", color=LINE_COLORS[number], markersize=5, gid=f"end-{number}")
    axes.set_xlim(0, max(x for x, _ in points) or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=_ROUND_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _thousands(value)))
    if logarithmic:
        _make_logarithmic(axes, [y for _, y in points])
    return to_svg(figure, ", ".join(lines))


def accuracy_chart(sizes: Sequence[str], lines: Mapping[str, Sequence[Point | None]]) -> Markup:
    """Accuracies over the number of real images, one line per arm, with intervals.

    Args:
        sizes: Labels along the horizontal axis, equally far apart.
        lines: By arm, its accuracy at each size, 0..1; None where it was not measured.

    Raises:
        ValueError: If nothing was measured.
    """
    least, most = _range(lines)
    low, high = math.floor(20 * max(0.0, least)) / 20, math.ceil(20 * min(1.0, most)) / 20
    ends = (low, high) if high > low else (low - 0.05, high)
    return _interval_chart(sizes, lines, ends, "accuracy (%)", "{:.0f}")


def difference_chart(sizes: Sequence[str], lines: Mapping[str, Sequence[Point | None]]) -> Markup:
    """Differences of accuracies in percentage points, with a line at zero; arguments like those of `accuracy_chart`."""
    least, most = _range(lines)
    pad = 0.08 * max(most, 0.0, -least) or 0.01
    return _interval_chart(
        sizes, lines, (min(least, 0.0) - pad, max(most, 0.0) + pad), "difference (points)", "{:+.3g}"
    )


def histogram_chart(sets: Mapping[str, Sequence[float]], xlabel: str, bins: int = 24) -> Markup:
    """Distributions of one quantity in several sets.

    Args:
        sets: Values by the name of the set; those that are not finite are left out.
        xlabel: Title of the horizontal axis, with its unit.
        bins: Number of bins of equal width. They span the range of all sets from the 1st to the 99th percentile; values
            beyond it count in the outermost bins.

    Raises:
        ValueError: If a set holds no finite value.
    """
    finite = {name: np.asarray(values, dtype=np.float64) for name, values in sets.items()}
    finite = {name: values[np.isfinite(values)] for name, values in finite.items()}
    if empty := [name for name, values in finite.items() if len(values) == 0]:
        raise UserError(f"each set of a histogram needs at least one finite number, {', '.join(empty)} has none")
    # One outlier would squeeze all others into a single bin, so the range ends at percentiles.
    ends = np.array([np.quantile(values, [0.01, 0.99]) for values in finite.values()])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    pad = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    edges = np.linspace(low - pad, high + pad, bins + 1)
    figure, axes = new_chart(xlabel, "share of images (%)")
    for number, values in enumerate(finite.values()):
        percent = 100 * np.histogram(values.clip(edges[0], edges[-1]), edges)[0] / len(values)
        color = LINE_COLORS[number]
        # Filled and outlined one by one: only the fill is transparent.
        axes.stairs(percent, edges, fill=True, color=color, alpha=0.18, linewidth=0, gid=f"area-{number}")
        axes.stairs(percent, edges, color=color, linewidth=1.5)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=_ROUND_STEPS))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    return to_svg(figure, ", ".join(sets))


def confusion_chart(table: Sequence[Sequence[int]], labels: Sequence[str]) -> Markup:
    """A confusion matrix as a square of cells; a darker cell is a larger share of the user's images.

    Args:
        table: Number of images by true user (row) and by the user that the classifier named (column).
        labels: Names of the users, in the order of rows and columns.

    Raises:
        ValueError: If the table is not square or the labels are not as many.
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.shape != (len(labels), len(labels)) or len(labels) == 0:
        raise UserError(f"a table of confusion must be {len(labels)}x{len(labels)}, got {list(counts.shape)}")
    # Shares of a row, as users differ in the number of their images.
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    figure, axes = new_chart("user named by the classifier", "user", Layout(height=400, left=88, bottom=92))
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=COLORS["rule"])
    titles = {}
    for row, column in np.argwhere(shares > 0).tolist():
        kind, share = "right" if row == column else "wrong", float(shares[row, column])
        gid, color = f"{kind}:{row}:{column}", LINE_COLORS[0 if row == column else 1]
        titles[gid] = f"{labels[row]} taken for {labels[column]}: {100 * share:.0f} %"
        alpha = 0.08 + 0.92 * share
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, alpha=alpha, linewidth=0, gid=gid))
    # At most 16 labels per side stay legible.
    shown = range(0, len(labels), math.ceil(len(labels) / 16))
    axes.set(xlim=(-0.5, len(labels) - 0.5), ylim=(len(labels) - 0.5, -0.5))
    axes.set_xticks(shown, [_short(labels[index]) for index in shown], rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(shown, [_short(labels[index]) for index in shown])
    return to_svg(figure, "table of confusion", titles)


def _interval_chart(
    sizes: Sequence[str],
    lines: Mapping[str, Sequence[Point | None]],
    ends: tuple[float, float],
    ylabel: str,
    tick: str,
) -> Markup:
    figure, axes = new_chart("real images per user", ylabel)
    low, high = (100 * end for end in ends)
    for number, line in enumerate(lines.values()):
        color, shift = LINE_COLORS[number], _DODGE * (number - (len(lines) - 1) / 2)
        # In percent; values beyond the axes are drawn at their ends. A point is a mean, or a mean and an interval.
        measured = [
            (index + shift, [min(max(100 * value, low), high) for value in point if value is not None])
            for index, point in enumerate(line)
            if point
        ]
        x, means = [x for x, _ in measured], [values[0] for _, values in measured]
        axes.plot(x, means, "-o", color=color, linewidth=2, markersize=6, gid=f"line-{number}")
        for x, values in measured:
            if len(values) == 3:
                axes.plot([x, x], values[1:], color=color, linewidth=1.5, alpha=0.7, gid=f"bar-{number}")
    # Only differences have a zero inside the axes.
    if low < 0 < high:
        axes.axhline(0, color=COLORS["soft"], linewidth=1, zorder=1, gid="zero")
    axes.set(xlim=(-0.5, len(sizes) - 0.5), ylim=(low, high))
    axes.set_xticks(range(len(sizes)), sizes)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=_ROUND_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if abs(value) < 1e-9 else tick.format(value)))
    return to_svg(figure, ", ".join(lines))


def _range(lines: Mapping[str, Sequence[Point | None]]) -> tuple[float, float]:
    values = [value for line in lines.values() for point in line if point for value in point if value is not None]
    if not values:
        raise UserError("a chart needs at least one measured point, got none")
    return min(values), max(values)


def _make_logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic vertical axis with plain numbers at round values, also where it spans less than a decade."""
    low, high = math.log10(min(values)), math.log10(max(values))
    pad = 0.05 * (high - low) or 0.1
    axes.set_yscale("log")
    axes.set_ylim(10 ** (low - pad), 10 ** (high + pad))
    few_decades = (1.0, 2.0, 5.0) if high - low <= 3 else (1.0,)
    locator = MaxNLocator(5, steps=_ROUND_STEPS) if high - low < 1 else LogLocator(subs=few_decades, numticks=12)
    axes.yaxis.set_major_locator(locator)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _thousands(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _short(label: str) -> str:
    return label if len(label) <= 8 else f"{label[:7]}…"
