"""From what the stages of a study found to report.json, and the pictures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from echoform_train.data.painting import to_pictures
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.provenance import provenance
from echoform_train.study.accuracy.comparisons import name_of_size
from echoform_train.study.accuracy.measurement import Verdict, verdict
from echoform_train.study.accuracy.tables import (
    arm_findings,
    condition_findings,
    copied_share,
    most_suspicious,
    nearest_training,
    size_findings,
)
from echoform_train.study.images.selection import why_not_kept
from echoform_train.study.plan import Study, images_a_user
from echoform_train.study.run import Results

GALLERY_IMAGES = 4


def assemble(study: Study, results: Results, notes: Sequence[str]) -> dict[str, Any]:
    """Everything that report.json holds, and the page and the card are made from; JSON-able."""
    data, largest = study.data, study.largest
    decided = verdict(results.rows)
    chosen = results.chosen[largest.name]
    training = data.train
    nearest = nearest_training(chosen.sample[0], training.pixels) if len(chosen.kept) else None
    height, width = training.pixels.shape[-2:]
    physics = results.physics
    if physics["why_not"] is not None:
        notes = [*notes, f"Physics was not judged: {physics['why_not']}."]
    return {
        "title": f"Did it help? {_name_of(data)}",
        "subject": (
            f"Generated spectrograms as training data for classifiers that tell {len(data.id2label)} people apart: "
            f"{len(training)} real ones for training, {len(data.test)} held out, {width}x{height} pixels, "
            f"split {data.split.method}."
        ),
        "notes": list(notes),
        "verdict": decided,
        "over": _over(decided),
        "chance": 1 / len(data.id2label),
        "sizes": [_size(study, results, n) for n in study.sizes],
        "arms": arm_findings(results.rows, study.sizes),
        "conditions": condition_findings(results.rows),
        "confusion": results.confusion | {"size": _words(study, results.confusion["n"])},
        "suspicious": most_suspicious(nearest, chosen.sample[1], training, data.id2label) if nearest else [],
        "memorised": {
            "generated": copied_share(nearest) if nearest else 0.0,
            "real": copied_share(nearest_training(data.test.pixels, training.pixels)),
        },
        "physics": None if physics["why_not"] is not None else physics,
        "scores": results.scores,
        "axes": data.axes,
        "dataset": _dataset_words(study, results.dataset["counts"]),
        "cost": {
            "seconds": sum(stage.seconds for stage in results.stages),
            "cpu_seconds": sum(stage.cpu_seconds for stage in results.stages),
            "workers": study.workers,
            "stages": [
                {name: getattr(stage, name) for name in ("name", "seconds", "cpu_seconds")}
                | {"summary": stage.facts["summary"]}
                for stage in results.stages
            ],
        },
        "rows": results.rows,
        "provenance": provenance(),
    }


def draw_pictures(study: Study, results: Results, report: dict[str, Any]) -> dict[str, Any]:
    """Real and generated images of each person, and the most suspicious with their neighbours, for `write_page`."""
    data = study.data
    pixels, users = results.chosen[study.largest.name].sample
    gallery = [
        {
            "user": label,
            "real": _spread(data, data.test.pixels[data.test.users == user]),
            "generated": to_pictures(pixels[users == user][:GALLERY_IMAGES], data.colormap),
        }
        for user, label in data.id2label.items()
    ]
    suspicious = [
        [
            _picture(data, pixels[suspect["place"]]),
            *(_picture(data, data.train.pixels[suspect[which]]) for which in ("nearest", "second")),
        ]
        for suspect in report["suspicious"]
    ]
    return {"gallery": gallery, "suspicious": suspicious}


def _size(study: Study, results: Results, n: int | None) -> dict[str, Any]:
    tasks = [task for task in study.tasks if task.n == n and task.condition is None]
    chosen = [results.chosen[task.name] for task in tasks if task.name in results.chosen]
    reasons: dict[str, int] = {}
    for each in chosen:
        for reason, count in why_not_kept(each).items():
            reasons[reason] = reasons.get(reason, 0) + count
    found = size_findings(results.rows, n)
    best = found.pop("best_classical")
    names = list(dict.fromkeys(best.values()))
    return {
        "size": name_of_size(n),
        "images_a_user": images_a_user(tasks),
        "images": max(len(task.places) for task in tasks),
        "draws": len(tasks),
        "best_classical": (
            names[0] if len(names) == 1 else ", ".join(f"{name} ({family})" for family, name in best.items())
        ),
        "drawn": sum(len(each.drawn[1]) for each in chosen),
        "kept": sum(len(each.kept) for each in chosen),
        "reasons": reasons,
        **found,
    }


def _words(study: Study, n: int | None) -> str:
    return images_a_user([task for task in study.tasks if task.n == n and task.condition is None])


def _over(decided: Verdict) -> str:
    if decided["over"] == "draws":
        return f"{decided['n']} draws of images, each with a generator of its own"
    return f"{decided['n']} seeds of the classifiers, all on the same images and the same generator"


def _dataset_words(study: Study, counts: dict[str, dict[str, int]]) -> str:
    train = counts["train"]
    text = (
        f"The data set holds {train['real']:,} real and {train['generated']:,} generated images for training, and the "
        f"{counts['validation']['real']:,} validation and {counts['test']['real']:,} test images, all real."
    )
    short = sum(study.add.values()) - train["generated"]
    return text if short == 0 else f"{text} {short:,} fewer generated ones than asked for: too many were alike."


def _name_of(data: SpectrogramData) -> str:
    return Path(data.source).name if Path(data.source).exists() else data.source


def _spread(data: SpectrogramData, pixels: Tensor) -> list[Image.Image]:
    """Some images, spread over all of them."""
    places = torch.linspace(0, len(pixels) - 1, min(GALLERY_IMAGES, len(pixels))).round().long()
    return to_pictures(pixels[places], data.colormap)


def _picture(data: SpectrogramData, pixels: Tensor) -> Image.Image:
    return to_pictures(pixels[None], data.colormap)[0]
