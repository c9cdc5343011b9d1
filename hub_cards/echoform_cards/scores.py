"""Measured scores as a table of a card and as the `model-index` of its metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult

from echoform_cards.rendering import number, percent


@dataclass(frozen=True)
class Metric:
    """How a score is printed."""

    label: str
    """Name in the table and in the Hub's metadata."""
    meaning: str
    """What the number says, and which direction is good."""
    share: bool = False
    """Printed in percent."""
    hub_type: str | None = None
    """Metric type in the Hub's `model-index`; None keeps it out, where it is no property of the model."""


@dataclass(frozen=True)
class ScoreTable:
    """What a template prints, every cell as text."""

    baselines: tuple[str, ...]
    """Headings of the columns for other ways to do the same."""
    floors: bool
    """Whether any score has a floor."""
    rows: tuple[dict[str, Any], ...]
    """`label`, `value`, `baselines` (one text a column), `floor`, `over` and `meaning` of each score."""


def score_table(scores: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Metric]) -> ScoreTable:
    """The table of complete scores; one whose name is not in `metrics` is printed under that name."""
    baselines = tuple(dict.fromkeys(name for score in scores.values() for name in score["baselines"] or {}))
    rows = tuple(_row(metrics.get(name, Metric(name, "")), score, baselines) for name, score in scores.items())
    return ScoreTable(baselines, any(score["floor"] is not None for score in scores.values()), rows)


def eval_results(
    scores: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, Metric],
    *,
    task: str,
    data_name: str | None,
    data_id: str | None,
) -> list[EvalResult] | None:
    """What the Hub shows beside a model: scores of a known type, where the data that they were measured on are named.

    A data set that is not on the Hub gets its name, in the spelling of an id, as its type.
    """
    if not data_name:
        return None
    results = []
    for name, score in scores.items():
        metric = metrics.get(name)
        if metric is not None and metric.hub_type is not None:
            results.append(
                EvalResult(
                    task_type=task,
                    dataset_type=data_id or re.sub(r"[^a-z0-9]+", "-", data_name.lower()).strip("-"),
                    dataset_name=data_name,
                    dataset_split="test",
                    metric_type=metric.hub_type,
                    metric_name=metric.label,
                    metric_value=round(score["mean"], 6),
                )
            )
    return results or None


def _row(metric: Metric, score: Mapping[str, Any], baselines: tuple[str, ...]) -> dict[str, Any]:
    shown = percent if metric.share else number
    value = shown(score["mean"])
    if score["low"] is not None and score["high"] is not None:
        value += f" ({shown(score['low'])} to {shown(score['high'])})"
    others = score["baselines"] or {}
    return {
        "label": metric.label,
        "meaning": metric.meaning,
        "value": value,
        "baselines": [shown(others[name]) if others.get(name) is not None else "" for name in baselines],
        "floor": "" if score["floor"] is None else shown(score["floor"]),
        "over": " ".join(str(score[key]) for key in ("n", "interval_over") if score[key] is not None),
    }
