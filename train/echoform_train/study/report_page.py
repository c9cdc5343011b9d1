"""The page of an augmentation study, made from its report.json: whether it helped, then what there is to see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from echoform_cards.augmentation import SHARES, Augmentation, AugmentationRow, augmentation_rows, points
from echoform_train.report.charts import Point, accuracy_chart, confusion_chart, difference_chart, histogram_chart
from echoform_train.report.page import page_environment, percent, score_rows

TEMPLATE = "augment.html.j2"
_SHOWN = (
    "title", "subject", "notes", "verdict", "over", "chance", "axes", "dataset", "cost", "provenance", "physics",
    "memorised",
)  # fmt: skip
GALLERY_USERS = 12
ARM_NAMES = {
    "real": "real only",
    "classical": "best classical",
    "generated": "real + generated",
    "both": "classical + generated",
}
"""The four arms of a page in the order of its lines."""

_NEEDED = (
    "title", "subject", "notes", "verdict", "over", "chance", "sizes", "arms", "conditions", "confusion", "suspicious",
    "memorised", "physics", "scores", "axes", "dataset", "cost", "provenance",
)  # fmt: skip


def write_page(report: Mapping[str, Any], pictures: Mapping[str, Any], path: Path) -> None:
    """Write the page; it asks for nothing from anywhere else.

    Args:
        report: JSON-able, what report.json holds:

            - "title", "subject": heading, and one sentence on what was studied on what.
            - "notes": sentences of warning to show on top, such as on sizes that were left out.
            - "verdict": {"word", "sentence", ...} of `gain.verdict`; "over": what intervals are taken over.
            - "chance": share that guessing names right.
            - "sizes": from small to large {"size": name, "images_a_user": text, "images": count, "best_classical":
              name or None, "drawn", "kept": generated images, "reasons": {why not kept: count}, and by arm of
              ARM_NAMES "real" ... "both", and for "difference" (both less classical): {"all": point, family: point},
              None where it was not measured}, where a point is {"mean", "low", "high"}, the last two perhaps None.
            - "arms": {arm: {size: point}}, every arm that was measured.
            - "conditions": a list of {"condition": text, "real" ... "both": point or None}.
            - "confusion": {"size", "family", "labels", "tables": {arm: table}} or None.
            - "suspicious": a list of {"user", "ratio", ...} as pictures["suspicious"]; "memorised": {"generated",
              "real"}: shares of images nearer than a third of the second nearest.
            - "physics": {"generated", "kept", "real": share possible for a walker, "features": {name: {"unit", "real",
              "generated": lists of numbers, "distance", "floor": Wasserstein distances, or None}}} or None.
            - "scores": {"drawn": what `score_generated.score` returns, "kept": the same of those kept, if any}.
            - "axes": axes.json of the data or None; "dataset": a sentence on the data set that was written.
            - "cost": {"seconds" and "cpu_seconds" of all stages together, "workers" that made them, "stages": a list of
              {"name", "seconds", "cpu_seconds", "summary"}}.
            - "provenance": what `provenance()` returns.
        pictures: "gallery", a list of {"user", "real", "generated"}, each a list of PIL images; and "suspicious", lists
            of three PIL images: generated, nearest and second nearest training image.
        path: The file; its folder is made.

    Raises:
        ValueError: If a fact is missing.
    """
    if missing := [name for name in _NEEDED if name not in report]:
        raise ValueError(f"a page needs {', '.join(_NEEDED)}; the report lacks {', '.join(missing)}")
    headline, _, rest = report["verdict"]["sentence"].partition(": ")
    sizes = report["sizes"]
    families = [name for name in sizes[0]["real"] if name != "all"]
    gallery = pictures["gallery"]
    template = page_environment().get_template(TEMPLATE)
    page = template.render(
        **{name: report[name] for name in _SHOWN},
        headline=headline,
        sentence=f"{rest[:1].upper()}{rest[1:]}",
        gain_rows=[_gain_row(row, size) for row, size in zip(card_rows(report), sizes, strict=True)],
        curves=[_curve(sizes, "all", "Accuracy, % right"), *_differences(sizes)],
        family_curves=[_curve(sizes, family, f"{family}, % right") for family in families],
        size_names=[size["images_a_user"] for size in sizes],
        arm_rows=[
            {"arm": arm, "cells": [_cell(by_size.get(size["size"])) for size in sizes]}
            for arm, by_size in report["arms"].items()
        ],
        condition_rows=[
            {"condition": row["condition"]} | {arm: _cell(row[arm]) for arm in SHARES} for row in report["conditions"]
        ],
        gallery=gallery[:GALLERY_USERS],
        more_users=max(0, len(gallery) - GALLERY_USERS),
        gallery_size=_generator_of(sizes[-1]),
        confusion=_confusion(report["confusion"]),
        suspicious=_suspects(report["suspicious"], pictures["suspicious"]),
        histograms=list(_histograms(report["physics"])),
        score_columns=list(report["scores"]),
        score_rows=_score_rows(report["scores"]),
        kept_too="kept" in report["scores"],
        size_rows=[_size_row(size) for size in sizes],
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def card_facts(report: Mapping[str, Any]) -> Augmentation:
    """What a model card says of the study."""
    verdict = report["verdict"]
    return {
        "verdict": verdict["word"],
        "sentence": verdict["sentence"],
        "over": report["over"],
        "rows": [_card_row(size) for size in report["sizes"]],
    }


def _card_row(size: Mapping[str, Any]) -> AugmentationRow:
    def of_all_users(name: str, number: str) -> float | None:
        return size[name]["all"][number] if size[name] else None

    return {
        "images_a_user": size["images_a_user"],
        "real": of_all_users("real", "mean"),
        "classical": of_all_users("classical", "mean"),
        "generated": of_all_users("generated", "mean"),
        "both": of_all_users("both", "mean"),
        "difference": of_all_users("difference", "mean"),
        "low": of_all_users("difference", "low"),
        "high": of_all_users("difference", "high"),
    }


def card_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """The table of accuracies as text, the same on the page and on the card."""
    return augmentation_rows(card_facts(report))


def _gain_row(row: Mapping[str, str], size: Mapping[str, Any]) -> dict[str, str]:
    found = size["difference"]["all"] if size["difference"] else None
    interval, sign = "", ""
    if found is not None and found["low"] is not None:
        interval = f"{points(found['low'])} to {points(found['high'])}"
        sign = "up" if found["low"] > 0 else "down" if found["high"] < 0 else ""
    shares = {arm: row[arm] or "–" for arm in SHARES}
    difference = "–" if found is None else points(found["mean"])
    return {"size": row["images_a_user"], **shares, "difference": difference, "interval": interval, "sign": sign}


def _curve(sizes: Sequence[Mapping[str, Any]], family: str, title: str) -> dict[str, Any]:
    lines = {name: [_point(size[arm], family) for size in sizes] for arm, name in ARM_NAMES.items()}
    svg = accuracy_chart([size["images_a_user"] for size in sizes], lines)
    return {"title": title, "svg": svg, "names": list(lines)}


def _differences(sizes: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    measured = [size["difference"] for size in sizes if size["difference"]]
    if measured:
        names = {family: "together" if family == "all" else family for family in measured[0]}
        lines = {name: [_point(size["difference"], family) for size in sizes] for family, name in names.items()}
        svg = difference_chart([size["images_a_user"] for size in sizes], lines)
        yield {"title": "What generated images add to the best classical, points", "svg": svg, "names": list(lines)}


def _histograms(physics: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    for name, found in (physics["features"] if physics else {}).items():
        sets = {"held-out real": found["real"], "generated": found["generated"]}
        if not all(sets.values()):
            continue
        text = ""
        if found["distance"] is not None:
            text = f"Wasserstein distance {found['distance']:.3g} {found['unit']}".rstrip()
            text += f", of real to real {found['floor']:.3g}" if found["floor"] is not None else ""
        svg = histogram_chart(sets, f"{name}, {found['unit']}" if found["unit"] else name)
        yield {"title": name, "svg": svg, "names": list(sets), "text": text}


def _confusion(confusion: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if confusion is None:
        return None
    tables = [
        {
            "arm": arm,
            "accuracy": sum(row[place] for place, row in enumerate(table)) / sum(map(sum, table)),
            "svg": confusion_chart(table, confusion["labels"]),
        }
        for arm, table in confusion["tables"].items()
    ]
    return {"size": confusion["size"], "family": confusion["family"], "tables": tables}


def _suspects(
    suspicious: Sequence[Mapping[str, Any]], pictures: Sequence[Sequence[Image.Image]]
) -> list[dict[str, Any]]:
    return [{**facts, "images": images} for facts, images in zip(suspicious, pictures, strict=True)]


def _score_rows(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    tables = [score_rows(found["scores"]) for found in scores.values()]
    return [{"label": rows[0]["label"], "cells": rows, "floor": rows[0]["floor"]} for rows in zip(*tables, strict=True)]


def _size_row(size: Mapping[str, Any]) -> dict[str, Any]:
    reasons = ", ".join(f"{reason} ({count})" for reason, count in size["reasons"].items())
    shown = ("images_a_user", "images", "drawn", "kept")
    return {name: size[name] for name in shown} | {
        "best_classical": size["best_classical"] or "–",
        "reasons": reasons or "–",
    }


def _generator_of(size: Mapping[str, Any]) -> str:
    if size["size"] == "all":
        return f"all {size['images']:,} training images"
    return f"{size['images_a_user']} images of each person"


def _point(points_of: Mapping[str, Any] | None, family: str) -> Point | None:
    if points_of is None:
        return None
    point = points_of[family]
    return point["mean"], point["low"], point["high"]


def _cell(point: Mapping[str, Any] | None) -> str:
    if point is None:
        return "–"
    if point["low"] is None:
        return percent(point["mean"])
    return f"{percent(point['mean'])} ± {50 * (point['high'] - point['low']):.1f}"
