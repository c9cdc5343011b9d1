"""Scores as a table of a card, and as the `model-index` of its metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from huggingface_hub import EvalResult, ModelCardData

from echoform_cards.rendering import number, percent


@dataclass(frozen=True)
class Metric:
    """Name and format of one score on a card."""

    label: str
    """Name in the table and in the Hub's metadata."""
    meaning: str
    """What the number measures, and which direction is good."""
    share: bool = False
    """Whether it is a share, which is printed in percent."""
    hub_type: str | None = None
    """Metric type in the Hub's `model-index`; None if the score does not belong there, as for scores of real images."""


class ScoreRow(TypedDict):
    """One row of a table of scores, as text."""

    label: str
    value: str
    """The score and its interval."""
    baselines: list[str]
    """The score of each other method, in the order of `ScoreTable.baselines`."""
    floor: str
    over: str
    """What the interval was computed over."""
    meaning: str


@dataclass(frozen=True)
class ScoreTable:
    """A table of scores, as text."""

    baselines: tuple[str, ...]
    """Headings of the columns for other methods."""
    floors: bool
    """Whether any score has a floor."""
    rows: tuple[ScoreRow, ...]


def score_table(scores: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Metric]) -> ScoreTable:
    """The table of scores that `complete` filled in; a score that is not in `metrics` is printed under its name."""
    baselines = tuple(dict.fromkeys(name for score in scores.values() for name in score["baselines"] or {}))
    rows = tuple(_row(metrics.get(name, Metric(name, "")), score, baselines) for name, score in scores.items())
    return ScoreTable(baselines, any(score["floor"] is not None for score in scores.values()), rows)


def pipeline_metadata(
    values: Mapping[str, Any],
    metrics: Mapping[str, Metric],
    *,
    task: str,
    tags: list[str],
    library: str = "diffusers",
    widget: list[dict[str, Any]] | None = None,
) -> ModelCardData:
    """Metadata of a pipeline's card, with the scores that the Hub shows beside a model.

    Args:
        values: Facts that `complete` filled in: `name`, `license`, `data`, `base_model` and `scores`.
        metrics: The scores that the card knows, by name.
        task: Task of the pipeline, as the Hub names it.
        tags: Tags on the Hub.
        library: Library that loads it.
        widget: Examples that the Hub shows.
    """
    hub_id = values["data"]["hub_id"]
    results = _eval_results(values["scores"], metrics, task, values["data"]["name"], hub_id)
    return ModelCardData(
        library_name=library,
        pipeline_tag=task,
        license=values["license"],
        tags=tags,
        datasets=[hub_id] if hub_id else None,
        base_model=values["base_model"],
        widget=widget,
        model_name=values["name"] if results else None,
        eval_results=results,
    )


def _eval_results(
    scores: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, Metric],
    task: str,
    data_name: str | None,
    data_id: str | None,
) -> list[EvalResult] | None:
    """Scores whose metric has a type on the Hub; None if the data that they were measured on has no name."""
    if not data_name:
        return None
    # A data set that is not on the Hub gets its name, spelled like an id, as its type.
    dataset_type = data_id or re.sub(r"[^a-z0-9]+", "-", data_name.lower()).strip("-")
    results = [
        EvalResult(
            task_type=task,
            dataset_type=dataset_type,
            dataset_name=data_name,
            dataset_split="test",
            metric_type=metric.hub_type,
            metric_name=metric.label,
            metric_value=round(score["mean"], 6),
        )
        for name, score in scores.items()
        if (metric := metrics.get(name)) is not None and metric.hub_type is not None
    ]
    return results or None


def _row(metric: Metric, score: Mapping[str, Any], baselines: tuple[str, ...]) -> ScoreRow:
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
