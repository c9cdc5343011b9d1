"""Drawings of the study's page as SVG, coloured by the classes of the page's style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape

from echoform_train.report.page import ticks

_WIDTH, _HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 408, 12, 206
_DODGE = 5.0
"""Pixels between two lines at one place, so that their intervals do not hide one another."""

Point = tuple[float, float | None, float | None]
"""Mean and the ends of its interval, None where there is none."""


def accuracy_chart(sizes: Sequence[str], lines: Mapping[str, Sequence[Point | None]]) -> Markup:
    """Accuracies over the number of real images, a line an arm with its intervals.

    Args:
        sizes: Labels of the places on the abscissa, which stand equally far apart.
        lines: By arm, what it reached at each size, shares 0..1; None where it was not measured.

    Raises:
        ValueError: If nothing was measured.
    """
    least, most = _range(lines)
    low, high = math.floor(20 * max(0.0, least)) / 20, math.ceil(20 * min(1.0, most)) / 20
    return _interval_chart(sizes, lines, (low, high) if high > low else (low - 0.05, high), "{:.0f}")


def difference_chart(sizes: Sequence[str], lines: Mapping[str, Sequence[Point | None]]) -> Markup:
    """As `accuracy_chart`, of differences of two shares, in points around a line at zero."""
    least, most = _range(lines)
    pad = 0.08 * max(most, 0.0, -least) or 0.01
    return _interval_chart(sizes, lines, (min(least, 0.0) - pad, max(most, 0.0) + pad), "{:+.3g}")


def histogram_chart(sets: Mapping[str, Sequence[float]], unit: str, bins: int = 24) -> Markup:
    """Distributions of one number in several sets, each scaled to the same area.

    Args:
        sets: Numbers by name; what is not finite is left out.
        unit: Title of the abscissa.
        bins: Of equal width, over the range that holds all numbers but the farthest hundredth at each end.

    Raises:
        ValueError: If a set holds no finite number.
    """
    finite = {name: np.asarray(values, dtype=np.float64) for name, values in sets.items()}
    finite = {name: values[np.isfinite(values)] for name, values in finite.items()}
    if empty := [name for name, values in finite.items() if len(values) == 0]:
        raise ValueError(f"each set of a histogram needs at least one finite number, {', '.join(empty)} has none")
    ends = [np.quantile(values, [0.01, 0.99]) for values in finite.values()]
    low, high = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
    pad = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    edges = np.linspace(low - pad, high + pad, bins + 1)
    shares = {
        name: np.histogram(values.clip(edges[0], edges[-1]), edges)[0] / len(values) for name, values in finite.items()
    }
    most = max(float(share.max()) for share in shares.values())

    def x_of(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (value - edges[0]) / (edges[-1] - edges[0])

    parts = [_opening(", ".join(sets))]
    for tick in ticks(float(edges[0]), float(edges[-1])):
        x = x_of(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_BOTTOM + 16}" text-anchor="middle">{_plain(tick)}</text>')
    parts.append(_axis_title(unit))
    for number, share in enumerate(shares.values()):
        heights = _BOTTOM - (_BOTTOM - _TOP) * share / most
        corners = [f"{x_of(edges[0]):.1f},{_BOTTOM}"]
        for place, y in enumerate(heights):
            corners += [f"{x_of(edges[place]):.1f},{y:.1f}", f"{x_of(edges[place + 1]):.1f},{y:.1f}"]
        corners.append(f"{x_of(edges[-1]):.1f},{_BOTTOM}")
        parts.append(f'<polygon class="area-{number}" points="{" ".join(corners)}"/>')
    return Markup("".join([*parts, "</svg>"]))


def confusion_chart(table: Sequence[Sequence[int]], labels: Sequence[str]) -> Markup:
    """A table of confusion as a square of cells, the darker the larger the share of the person's images.

    Args:
        table: Images of the person of the row that were taken for the person of the column.
        labels: Of the people, in the order of both.

    Raises:
        ValueError: If the table is not square or the labels are not as many.
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.shape != (len(labels), len(labels)) or len(labels) == 0:
        raise ValueError(f"a table of confusion must be {len(labels)}x{len(labels)}, got {list(counts.shape)}")
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side, margin = 360, 60
    cell = (side - margin) / len(labels)
    every = math.ceil(len(labels) / 16)
    parts = [f'<svg viewBox="0 0 {side} {side}" role="img" aria-label="table of confusion">']
    parts.append(f'<rect class="frame" x="{margin}" y="0" width="{side - margin}" height="{side - margin}"/>')
    for row, column in np.argwhere(shares > 0):
        kind = "right" if row == column else "wrong"
        title = f"{labels[row]} taken for {labels[column]}: {100 * shares[row, column]:.0f} %"
        parts.append(
            f'<rect class="{kind}" x="{margin + cell * column:.2f}" y="{cell * row:.2f}" width="{cell:.2f}" '
            f'height="{cell:.2f}" fill-opacity="{0.08 + 0.92 * shares[row, column]:.3f}">'
            f"<title>{escape(title)}</title></rect>"
        )
    for place in range(0, len(labels), every):
        centre, label = cell * (place + 0.5), escape(_short(labels[place]))
        x, y = margin + centre, side - margin + 8
        parts.append(f'<text x="{margin - 6}" y="{centre + 4:.1f}" text-anchor="end">{label}</text>')
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="end" transform="rotate(-60 {x:.1f} {y})">{label}</text>')
    return Markup("".join([*parts, "</svg>"]))


def _range(lines: Mapping[str, Sequence[Point | None]]) -> tuple[float, float]:
    values = [value for line in lines.values() for point in line if point for value in point if value is not None]
    if not values:
        raise ValueError("a chart needs at least one measured point, got none")
    return min(values), max(values)


def _interval_chart(
    sizes: Sequence[str], lines: Mapping[str, Sequence[Point | None]], ends: tuple[float, float], label: str
) -> Markup:
    low, high = ends
    step = (_RIGHT - _LEFT) / len(sizes)

    def y_of(share: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (min(max(share, low), high) - low) / (high - low)

    parts = [_opening(", ".join(lines))]
    for tick in ticks(low, high):
        y, kind = y_of(tick), "zero" if low < 0 and abs(tick) < 1e-9 else "grid"
        text = "0" if abs(tick) < 1e-9 else label.format(100 * tick)
        parts.append(f'<line class="{kind}" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for place, size in enumerate(sizes):
        x = _LEFT + step * (place + 0.5)
        parts.append(f'<text x="{x:.1f}" y="{_BOTTOM + 16}" text-anchor="middle">{escape(size)}</text>')
    parts.append(_axis_title("real images of each person"))
    for number, line in enumerate(lines.values()):
        shift = _DODGE * (number - (len(lines) - 1) / 2)
        places = [(_LEFT + step * (place + 0.5) + shift, point) for place, point in enumerate(line) if point]
        points = " ".join(f"{x:.1f},{y_of(point[0]):.1f}" for x, point in places)
        parts.append(f'<polyline class="line-{number}" points="{points}"/>')
        for x, (mean, least, most) in places:
            if least is not None and most is not None:
                parts.append(
                    f'<line class="line-{number} bar" x1="{x:.1f}" x2="{x:.1f}" y1="{y_of(least):.1f}" '
                    f'y2="{y_of(most):.1f}"/>'
                )
            parts.append(f'<circle class="line-{number}" cx="{x:.1f}" cy="{y_of(mean):.1f}" r="3"/>')
    return Markup("".join([*parts, "</svg>"]))


def _opening(label: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'


def _axis_title(text: str) -> str:
    return f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(text)}</text>'


def _plain(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.6g}"


def _short(label: str) -> str:
    return label if len(label) <= 8 else f"{label[:7]}…"
