"""The HTML page about one training run: the verdict, real and generated side by side, scores, curves and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from echoform_train.engine.atomic_files import write_text
from echoform_train.report.charts import line_chart
from echoform_train.report.gallery import GalleryRow, shown_rows
from echoform_train.report.spectra import LINES, spectrum_charts
from echoform_train.scoring.scores import LABELS, SHARES, ScoreEntry, Scores, verdict

TEMPLATE = "report.html.j2"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training of the run."""

    name: str
    facts: Mapping[str, Any]
    """Contents of the stage's facts.json."""
    log: Sequence[Mapping[str, float]]
    """Rows of its log.jsonl."""


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """All contents of the page."""

    title: str
    subject: str
    """One sentence on the models and their training data."""
    note: str | None
    """A warning of one sentence, shown at the top; None shows none."""
    scores: Scores
    gallery: Sequence[GalleryRow]
    axes: Mapping[str, float] | None
    """Contents of axes.json of the data: window_s, doppler_min_hz, doppler_max_hz ..."""
    stages: Sequence[Stage]
    """Empty for a page about scores alone."""
    seconds: Mapping[str, float]
    """Duration of the other parts of the run, such as simulating and generating, by their names."""
    commands: Sequence[str]
    """Commands that make this page again."""
    provenance: Mapping[str, Any]
    """What `provenance()` returns."""
    colormap: str | None = None
    """Colour map of the images; None for RGB."""


@dataclass(frozen=True)
class Chart:
    """A chart of a page."""

    title: str
    svg: Markup
    names: Sequence[str]
    """Names of its lines, in the order of the classes line-0, line-1 ... of the page's style."""


@dataclass(frozen=True)
class _Curves:
    """A chart that is drawn for each training."""

    title: str
    unit: str
    keys: Mapping[str, str]
    """Key of the training log, by the name of each line."""
    logarithmic: bool


_CURVES = (
    _Curves("loss", "loss", {"training": "train/loss", "held-out": "validation/loss"}, True),
    _Curves("PSNR of held-out reconstructions", "PSNR (dB)", {"held-out": "validation/psnr"}, False),
)


def write_report(facts: ReportFacts, path: Path) -> None:
    """Write the page as one file that loads no other file.

    Args:
        facts: Contents of the page.
        path: The file; its folder is created.
    """
    scores = facts.scores
    page = page_environment().get_template(TEMPLATE).render(
        **vars(facts),
        rows=list(shown_rows(facts.gallery, facts.axes, facts.colormap)),
        verdict=verdict(scores),
        chance=1 / scores["settings"]["users"],
        score_rows=score_rows(scores["scores"]),
        stage_rows=[_stage_row(stage) for stage in facts.stages],
        charts=[chart for stage in facts.stages for chart in _charts(stage)],
        spectra=[Chart(title, svg, LINES) for title, svg in spectrum_charts(scores.get("spectra", {}))],
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)


def page_environment() -> Environment:
    """The templates of all pages. Text is escaped; filters: duration, extent and percent."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "percent": percent, "extent": extent}
    return environment


def score_rows(scores: Mapping[str, ScoreEntry]) -> list[dict[str, str]]:
    """Rows of the table of scores as text: "label", "value", "interval", "over" and "floor" of each of LABELS."""
    rows = []
    for name, label in LABELS.items():
        entry = scores[name]
        show = percent if name in SHARES else "{:.3g}".format
        rows.append(
            {
                "label": label,
                "value": show(entry["mean"]),
                "interval": _interval(name, entry),
                "over": _over(entry),
                "floor": "–" if entry["floor"] is None else show(entry["floor"]),
            }
        )
    return rows


def extent(axes: Mapping[str, float] | None) -> str:
    """What the axes of a spectrogram are, in a sentence, with the numbers that are known."""
    known = {} if axes is None else axes
    time = f" over {known['window_s']:g} s" if "window_s" in known else ""
    doppler = (
        f" from {known['doppler_min_hz']:.0f} to {known['doppler_max_hz']:.0f} Hz"
        if {"doppler_min_hz", "doppler_max_hz"} <= set(known)
        else ""
    )
    return f"Time runs to the right{time}, Doppler frequency up{doppler}."


def duration(seconds: float) -> str:
    """A duration in readable units: 8.3 s, 4 min 10 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def percent(share: float) -> str:
    """A share 0..1 in percent, with a space that does not break."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _over(entry: ScoreEntry) -> str:
    """What the interval covers, or why there is none."""
    if entry["interval_over"]:
        return f"{entry['n']} {entry['interval_over']}"
    return "one seed" if entry["n"] == 1 else f"{entry['n']} equal seeds"


def _interval(name: str, entry: ScoreEntry) -> str:
    if entry["low"] is None or entry["high"] is None:
        return "–"
    if name in SHARES:
        return f"{100 * entry['low']:.1f} to {percent(entry['high'])}"
    return f"{entry['low']:.3g} to {entry['high']:.3g}"


def _stage_row(stage: Stage) -> dict[str, str]:
    facts = stage.facts
    return {
        "name": stage.name,
        "parameters": f"{facts['parameters'] / 1e6:.2f} M",
        "images": f"{facts['images_seen']:,}",
        "steps": f"{facts['images_seen'] // facts['images_a_step']:,}",
        "time": duration(facts["seconds"]),
    }


def _charts(stage: Stage) -> Iterator[Chart]:
    for curves in _CURVES:
        lines = {
            name: [(row["seen"], row[key]) for row in stage.log if key in row] for name, key in curves.keys.items()
        }
        lines = {name: line for name, line in lines.items() if line}
        if lines:
            svg = line_chart(lines, curves.unit, logarithmic=curves.logarithmic)
            yield Chart(f"{stage.name}: {curves.title}", svg, list(lines))
