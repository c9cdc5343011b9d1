"""One self-contained HTML page about a run: the verdict, real and generated side by side, curves, numbers and cost."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from echoform_train.scoring.scores import LABELS, SHARES

TEMPLATE = "report.html.j2"

# Each chart: title, log rows by the name of the line, whether the ordinate is logarithmic.
_CHARTS = (
    ("loss", {"training": "train/loss", "held-out": "validation/loss"}, True),
    ("PSNR of held-out reconstructions, dB", {"held-out": "validation/psnr"}, False),
)
_CHART_SIZE = (420, 210)
_MARGIN = {"left": 48, "right": 14, "top": 12, "bottom": 36}


def write_report(facts: Mapping[str, Any], path: Path) -> None:
    """Write the page; it asks for nothing from anywhere else.

    Args:
        facts: What the run gathered:

            - "title": heading, str.
            - "subject": one sentence on what was trained on what, str.
            - "note": one sentence of warning to show on top, str or None.
            - "scores": what `score_generated.score` returns.
            - "gallery": a list of {"user": label, "real": images, "generated": images}, each a list of PIL images.
            - "axes": axes.json of the data (window_s, doppler_min_hz, doppler_max_hz), or None.
            - "stages": a list of {"name": str, "facts": the stage's facts.json, "log": the rows of its log.jsonl}.
            - "seconds": {name: seconds} of the other parts of the run, such as simulating and generating.
            - "commands": a list of commands that make this page again.
            - "provenance": what `provenance()` returns.
        path: The file; its folder is made.

    Raises:
        ValueError: If a fact is missing.
    """
    needed = (
        "title", "subject", "note", "scores", "gallery", "axes", "stages", "seconds", "commands", "provenance",
    )  # fmt: skip
    if missing := [name for name in needed if name not in facts]:
        raise ValueError(f"a report needs {', '.join(needed)}; the facts lack {', '.join(missing)}")
    scores = facts["scores"]
    template = page_environment().get_template(TEMPLATE)
    page = template.render(
        **{name: facts[name] for name in needed},
        verdict=verdict(scores),
        chance=1 / scores["settings"]["users"],
        score_rows=score_rows(scores["scores"]),
        stage_rows=[_stage_row(stage) for stage in facts["stages"]],
        charts=[chart for stage in facts["stages"] for chart in _charts(stage)],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def page_environment() -> Environment:
    """The templates of all pages, whose text is escaped, with the filters data_uri, duration and percent."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": data_uri, "duration": duration, "percent": percent}
    return environment


def verdict(scores: Mapping[str, Any]) -> str:
    """The one sentence to remember: who is named right in what share of generated images, and of real ones."""
    made, real = scores["scores"]["gan_test"], scores["scores"]["real_to_real"]
    return (
        f"A judge trained on real spectrograms only names the asked person in {percent(made['mean'])} of generated "
        f"ones, and the right person in {percent(real['mean'])} of held-out real ones."
    )


def score_rows(scores: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of the "scores" of `score_generated.score`, as text: label, value, interval, over and floor of each."""
    rows = []
    for name, label in LABELS.items():
        entry = scores[name]
        show = percent if name in SHARES else "{:.3g}".format
        rows.append(
            {
                "label": label,
                "value": show(entry["mean"]),
                "interval": _interval(name, entry),
                "over": f"{entry['n']} {entry['interval_over']}" if entry["interval_over"] else "one seed",
                "floor": "–" if entry["floor"] is None else show(entry["floor"]),
            }
        )
    return rows


def line_chart(lines: Mapping[str, Sequence[tuple[float, float]]], *, logarithmic: bool) -> str:
    """An SVG of lines, coloured by the classes line-0, line-1 ... of the page's style.

    Args:
        lines: Points (images seen, value) of each line by its name; values must be positive on a logarithmic ordinate.
        logarithmic: Whether the ordinate is.

    Raises:
        ValueError: If there is no point, or one that is not finite or cannot stand on the ordinate.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        raise ValueError("a chart needs at least one point, got none")
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)) or (logarithmic and y <= 0):
            raise ValueError(f"points must be finite, and positive on a logarithmic ordinate, got ({x}, {y})")
    scale = math.log10 if logarithmic else float
    (width, height), margin = _CHART_SIZE, _MARGIN
    right, bottom = width - margin["right"], height - margin["bottom"]
    last_x = max(x for x, _ in points) or 1.0
    low, high = min(scale(y) for _, y in points), max(scale(y) for _, y in points)
    pad = 0.05 * (high - low) or 0.1 * abs(high) or 0.1
    low, high = low - pad, high + pad

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            margin["left"] + (right - margin["left"]) * x / last_x,
            bottom - (bottom - margin["top"]) * (y - low) / (high - low),
        )

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{Markup.escape(", ".join(lines))}">']
    for tick in _decade_ticks(low, high) if logarithmic else ticks(low, high):
        y = place(0, tick)[1]
        label = f"{10**tick if logarithmic else tick:.3g}"
        parts.append(f'<line class="grid" x1="{margin["left"]}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{margin["left"] - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for tick in ticks(0, last_x):
        x = place(tick, low)[0]
        anchor = "end" if x > right - 20 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="{anchor}">{_thousands(tick)}</text>')
    centre = (margin["left"] + right) / 2
    parts.append(f'<text x="{centre}" y="{height - 4}" text-anchor="middle">images seen</text>')
    for number, line in enumerate(lines.values()):
        places = [place(x, scale(y)) for x, y in line]
        parts.append(f'<polyline class="line-{number}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>')
        parts += [f'<circle class="line-{number}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in places[-1:]]
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values inside low..high, at most some five steps apart."""
    raw = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(magnitude * factor for factor in (1, 2, 5, 10) if magnitude * factor >= raw)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def data_uri(image: Image.Image) -> str:
    """A PNG of the image, to stand inside a page."""
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 8.3 s, 4 min 10 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def percent(share: float) -> str:
    """A share 0..1 in percent, with a space that does not break."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _interval(name: str, entry: Mapping[str, Any]) -> str:
    if entry["low"] is None:
        return "–"
    if name in SHARES:
        return f"{100 * entry['low']:.1f} to {percent(entry['high'])}"
    return f"{entry['low']:.3g} to {entry['high']:.3g}"


def _stage_row(stage: Mapping[str, Any]) -> dict[str, str]:
    facts = stage["facts"]
    return {
        "name": stage["name"],
        "parameters": f"{facts['parameters'] / 1e6:.2f} M",
        "images": f"{facts['images_seen']:,}",
        "steps": f"{facts['images_seen'] // facts['images_a_step']:,}",
        "time": duration(facts["seconds"]),
    }


def _charts(stage: Mapping[str, Any]) -> list[dict[str, Any]]:
    charts = []
    for title, keys, logarithmic in _CHARTS:
        lines = {name: [(row["seen"], row[key]) for row in stage["log"] if key in row] for name, key in keys.items()}
        lines = {name: line for name, line in lines.items() if line}
        if lines:
            svg = Markup(line_chart(lines, logarithmic=logarithmic))
            charts.append({"title": f"{stage['name']}: {title}", "svg": svg, "names": list(lines)})
    return charts


def _decade_ticks(low: float, high: float) -> list[float]:
    """Logarithms, inside low..high, of powers of ten, with 2 and 5 times those, or of finer round values."""
    if high - low < 1:
        return [math.log10(value) for value in ticks(10**low, 10**high)]
    factors = (1,) if high - low > 3 else (1, 2, 5)
    decades = range(math.floor(low), math.ceil(high) + 1)
    values = [decade + math.log10(factor) for decade in decades for factor in factors]
    return [value for value in values if low <= value <= high]


def _thousands(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
