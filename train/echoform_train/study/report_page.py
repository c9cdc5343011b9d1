"""The HTML page of a study, made from report.json: the verdict first, then all measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from markupsafe import Markup
from PIL import Image

from echoform_cards.augmentation import augmentation_rows
from echoform_train.engine.atomic_files import write_text
from echoform_train.engine.errors import UserError
from echoform_train.report import charts
from echoform_train.report.gallery import shown_rows, trio_uri
from echoform_train.report.page import Chart, page_environment, percent, score_rows
from echoform_train.scoring.scores import Scores
from echoform_train.study.accuracy.tables import Point, Points
from echoform_train.study.gait.findings import FeatureFindings, GaitFindings
from echoform_train.study.report_card import card_facts
from echoform_train.study.report_pictures import ReportPictures
from echoform_train.study.report_types import ConfusionReport, ReportFacts, SizeReport

TEMPLATE = "augment.html.j2"
GALLERY_USERS = 12
"""Largest number of users in the gallery."""
SUSPECT_NAMES = ("generated", "nearest", "second nearest")
"""The images of a possible copy, and of the training images that it is compared with."""

Arm = Literal["real", "classical", "generated", "both"]
ARM_NAMES: dict[Arm, str] = {
    "real": "real only",
    "classical": "best classical",
    "generated": "real + generated",
    "both": "classical + generated",
}
"""The four arms that the page shows, in the order of their lines in the charts."""

_MISSING = "–"


def write_page(report: ReportFacts, pictures: ReportPictures, path: Path) -> None:
    """Write the page as one HTML file with all images and styles inside.

    Args:
        report: Content of report.json.
        pictures: Spectrograms to show.
        path: The file; its folder is made.

    Raises:
        ValueError: If a fact is missing.
    """
    needed = ReportFacts.__annotations__
    if missing := [name for name in needed if name not in report]:
        raise UserError(f"a page needs {', '.join(needed)}; the report lacks {', '.join(missing)}")
    headline, _, rest = report["verdict"]["sentence"].partition(": ")
    sizes, gallery = report["sizes"], pictures.gallery
    families = [name for name in sizes[0]["classical"] or {} if name != "all"]
    text_rows = augmentation_rows(card_facts(report))
    page = page_environment().get_template(TEMPLATE).render(
        report=report,
        # The verdict is shown in large type up to its colon, and as a sentence after it.
        headline=headline,
        sentence=f"{rest[:1].upper()}{rest[1:]}",
        gain_rows=[_gain_row(row, size) for row, size in zip(text_rows, sizes, strict=True)],
        curves=[_accuracy_curves(sizes, "all", "Accuracy, % right"), *_difference_curves(sizes)],
        family_curves=[_accuracy_curves(sizes, family, f"{family}, % right") for family in families],
        size_names=[size["images_a_user"] for size in sizes],
        arm_rows=_arm_rows(report),
        recipe_rows=_recipe_rows(report),
        condition_rows=_condition_rows(report),
        gallery=list(shown_rows(gallery[:GALLERY_USERS], report["axes"], pictures.colormap)),
        more_users=max(0, len(gallery) - GALLERY_USERS),
        gallery_size=_images_seen(sizes[-1]),
        confusion_tables=_confusion_tables(report["confusion"]),
        suspects=_suspects(report, pictures.suspicious),
        histograms=list(_histograms(report["physics"])),
        score_columns=list(report["scores"]),
        score_rows=_score_rows(report["scores"]),
        size_rows=[_size_row(size) for size in sizes],
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)


def _gain_row(row: dict[str, str], size: SizeReport) -> dict[str, str]:
    """A row of the first table; "sign" is "up" or "down" if the interval of the difference excludes 0, else ""."""
    shares = {arm: row[arm] or _MISSING for arm in ARM_NAMES}
    cells = {"size": row["images_a_user"], **shares, "difference": _MISSING, "interval": "", "sign": ""}
    cells["recommended"] = size["recommended"]
    if size["difference"] is None:
        return cells
    found = size["difference"]["all"]
    cells["difference"] = _points(found["mean"])
    if found["low"] is not None and found["high"] is not None:
        cells["interval"] = f"{_points(found['low'])} to {_points(found['high'])}"
        cells["sign"] = "up" if found["low"] > 0 else "down" if found["high"] < 0 else ""
    return cells


def _accuracy_curves(sizes: Sequence[SizeReport], family: str, title: str) -> Chart:
    lines = {name: [_chart_point(size[arm], family) for size in sizes] for arm, name in ARM_NAMES.items()}
    svg = charts.accuracy_chart([size["images_a_user"] for size in sizes], lines)
    return Chart(title, svg, list(lines))


def _difference_curves(sizes: Sequence[SizeReport]) -> Iterator[Chart]:
    measured = next((size["difference"] for size in sizes if size["difference"]), None)
    if measured:
        names = {family: "together" if family == "all" else family for family in measured}
        lines = {name: [_chart_point(size["difference"], family) for size in sizes] for family, name in names.items()}
        svg = charts.difference_chart([size["images_a_user"] for size in sizes], lines)
        yield Chart("What generated images add to the best classical, points", svg, list(lines))


def _arm_rows(report: ReportFacts) -> list[dict[str, str | list[str]]]:
    names = [size["size"] for size in report["sizes"]]
    return [{"arm": arm, "cells": [_cell(found.get(name)) for name in names]} for arm, found in report["arms"].items()]


def _recipe_rows(report: ReportFacts) -> list[dict[str, str]]:
    shown = {size["size"]: size["images_a_user"] for size in report["sizes"]}
    rows = []
    for row in report["recipes"]:
        gain = row["gain"]
        cells = {name: _cell(row[name]) for name in ("accuracy", "classical", "same_idea", "ensemble")}
        has_ends = gain["low"] is not None and gain["high"] is not None
        interval = f"{_points(gain['low'])} to {_points(gain['high'])}" if has_ends else ""  # pyright: ignore
        rows.append(
            cells
            | {"recipe": row["recipe"], "size": shown.get(row["size"], row["size"]), "gain": _points(gain["mean"])}
            | {"interval": interval}
        )
    return rows


def _condition_rows(report: ReportFacts) -> list[dict[str, str]]:
    return [
        {"condition": row["condition"], **{arm: _cell(row[arm]) for arm in ARM_NAMES}} for row in report["conditions"]
    ]


@dataclass(frozen=True)
class _ConfusionTable:
    """A table of confusion to show."""

    arm: str
    accuracy: float
    svg: Markup


def _confusion_tables(confusion: ConfusionReport | None) -> list[_ConfusionTable]:
    if confusion is None:
        return []
    return [
        _ConfusionTable(
            arm,
            sum(row[index] for index, row in enumerate(table)) / sum(map(sum, table)),
            charts.confusion_chart(table, confusion["labels"]),
        )
        for arm, table in confusion["tables"].items()
    ]


@dataclass(frozen=True)
class _SuspectPictures:
    """A generated image beside its nearest and its second nearest training image."""

    user: str
    ratio: float
    src: str
    """The three as one figure, PNG in a data URI."""


def _suspects(report: ReportFacts, pictures: Sequence[Sequence[Image.Image]]) -> list[_SuspectPictures]:
    return [
        _SuspectPictures(suspect["user"], suspect["ratio"], trio_uri(images, report["axes"], SUSPECT_NAMES))
        for suspect, images in zip(report["suspicious"], pictures, strict=True)
    ]


@dataclass(frozen=True)
class _Histogram(Chart):
    """Histograms of a gait feature in real and generated images, and their distance in words."""

    text: str


def _histograms(gait: GaitFindings | None) -> Iterator[_Histogram]:
    for name, found in (gait["features"] if gait else {}).items():
        sets = {"held-out real": found["real"], "generated": found["generated"]}
        if all(sets.values()):
            svg = charts.histogram_chart(sets, f"{name}, {found['unit']}" if found["unit"] else name)
            yield _Histogram(name, svg, list(sets), _distance_in_words(found))


def _distance_in_words(found: FeatureFindings) -> str:
    if found["distance"] is None:
        return ""
    text = f"Wasserstein distance {found['distance']:.3g} {found['unit']}".rstrip()
    return text if found["floor"] is None else f"{text}, of real to real {found['floor']:.3g}"


@dataclass(frozen=True)
class _ScoreRow:
    """One score, of the drawn and of the kept images."""

    label: str
    cells: Sequence[dict[str, str]]
    floor: str


def _score_rows(scores: dict[str, Scores]) -> list[_ScoreRow]:
    tables = [score_rows(found["scores"]) for found in scores.values()]
    return [_ScoreRow(cells[0]["label"], cells, cells[0]["floor"]) for cells in zip(*tables, strict=True)]


def _size_row(size: SizeReport) -> dict[str, str | int]:
    reasons = ", ".join(f"{reason} ({count})" for reason, count in size["reasons"].items())
    return {
        "images_per_user": size["images_a_user"],
        "images": size["images"],
        "drawn": size["drawn"],
        "kept": size["kept"],
        "best_classical": size["best_classical"] or _MISSING,
        "reasons": reasons or _MISSING,
    }


def _images_seen(size: SizeReport) -> str:
    """The real training images of a generator, in words."""
    if size["size"] == "all":
        return f"all {size['images']:,} training images"
    return f"{size['images_a_user']} images per user"


def _chart_point(found: Points | None, family: str) -> charts.Point | None:
    if found is None:
        return None
    point = found[family]
    return point["mean"], point["low"], point["high"]


def _cell(point: Point | None) -> str:
    if point is None:
        return _MISSING
    if point["low"] is None or point["high"] is None:
        return percent(point["mean"])
    return f"{percent(point['mean'])} ± {50 * (point['high'] - point['low']):.1f}"


def _points(share: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}"
