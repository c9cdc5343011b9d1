"""Stages that judge what was generated: gain, mistakes, scores and gait; and the one that writes the data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echoform_train.data.layout import SPLITS
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.scoring.generated import score_generated
from echoform_train.scoring.generated_images import Sample
from echoform_train.scoring.set_scores import NEIGHBOURS
from echoform_train.study.accuracy.comparisons import BEST, BOTH, Row, best_classical, name_of_size
from echoform_train.study.accuracy.measurement import GainSettings, measure
from echoform_train.study.accuracy.tables import gait_findings, nearest_training
from echoform_train.study.classifiers.augmentations import Strips, recipe
from echoform_train.study.classifiers.training import FAMILIES, logits_of, train_classifier
from echoform_train.study.images.augmented_dataset import first_of_each_user, write_dataset
from echoform_train.study.images.selection import Chosen
from echoform_train.study.plan import Study, Task, count_comparable
from echoform_train.study.stage_cache import Stage, Stages, content_hash, write_json

ROWS, GAIT = "rows.json", "gait.json"
SCREENING_SEEDS = 2
CONFUSION_AT = 10
"""Images a user at which mistakes are shown, or the smallest size above."""


def capped(study: Study) -> dict[int, int]:
    """Images of each user for measuring: equally many, whatever larger numbers fill up the data set of some."""
    return dict.fromkeys(study.images_a_user, min(study.images_a_user.values()))


def _to_measure(study: Study, chosen: Chosen) -> Sample:
    """The generated images that classifiers see."""
    pixels, users = chosen.sample
    places = first_of_each_user(users, capped(study))
    return pixels[places], users[places]


def measure_classical(study: Study, tasks: Sequence[Task], stages: Stages) -> Stage:
    """Classifiers of real images alone at one size, or on one other condition; goes on where it was interrupted.

    No generator has a part in this, so that another one changes nothing of it.
    """
    return _measure(study, "classical", tasks, {}, [], {}, stages)


def measure_gain(
    study: Study, tasks: Sequence[Task], chosen: dict[str, Chosen], keys: dict[str, str], stages: Stages
) -> list[Row]:
    """Classifiers of all arms at one size, or on one other condition; goes on where it was interrupted."""
    classical = measure_classical(study, tasks, stages)
    generated = {
        (task.n, task.draw): _to_measure(study, chosen[task.name]) for task in tasks if has_images(chosen, task)
    }
    inputs = {
        "classifiers of real images": classical.key,
        "generated images": [keys.get(task.name) for task in tasks],
        "extra_share": study.config.extra_share,
    }
    return _read_rows(_measure(study, "gain", tasks, generated, _read_rows(classical.folder), inputs, stages).folder)


def _measure(
    study: Study,
    name: str,
    tasks: Sequence[Task],
    generated: dict[tuple[int | None, int], Sample],
    known: list[Row],
    inputs: dict[str, Any],
    stages: Stages,
) -> Stage:
    """Rows of classifiers, those that are known first."""
    settings = GainSettings(
        sizes=(tasks[0].n,),
        seeds=tuple(range(study.config.seeds)),
        screening_seeds=min(SCREENING_SEEDS, study.config.seeds),
        train_images=study.config.classifier_train_images,
        extra_share=study.config.extra_share,
        window_s=study.window_s,
        device=study.device,
    )
    data, condition = tasks[0].data, tasks[0].condition

    def make(folder: Path) -> dict[str, Any]:
        rows = measure(
            data,
            {(task.n, task.draw): task.places for task in tasks},
            generated,
            settings,
            done=_read_rows(folder) or known,
            save=lambda rows: write_json(folder / ROWS, rows),
            condition=condition,
        )
        write_json(folder / ROWS, rows)
        return {"summary": f"{len(rows)} accuracies on {len(data.test)} held-out images"}

    inputs = inputs | {
        "real images": hash_of_parts(data),
        "chosen images": [task.places.tolist() for task in tasks],
        "settings": {key: value for key, value in asdict(settings).items() if key != "extra_share"},
        "condition": condition,
    }
    return stages.run(f"{name}-{tasks[0].name}", inputs, make)


def has_images(chosen: dict[str, Chosen], task: Task) -> bool:
    """Whether there are generated images of a task; where all are copies, none are kept."""
    return task.name in chosen and len(chosen[task.name].kept) > 0


def show_confusion(
    study: Study, rows: list[Row], chosen: dict[str, Chosen], keys: dict[str, str], stages: Stages
) -> dict[str, Any]:
    """Who is taken for whom with and without generated images: one classifier each, of the first seed."""
    family, seed = next(iter(FAMILIES)), 0
    measured = [task for task in study.tasks if has_images(chosen, task) and task.condition is None]
    task = next((task for task in measured if task.n is None or task.n >= CONFUSION_AT), measured[-1])
    best = best_classical(rows, task.n, family)

    def make(folder: Path) -> dict[str, Any]:
        tables = {}
        for arm, extra in ((BEST, None), (BOTH, _to_measure(study, chosen[task.name]))):
            asked = recipe(best, Strips(task.images, study.window_s))
            classifier = train_classifier(
                family,
                task.images.pixels,
                task.images.users,
                len(study.data.id2label),
                augmentation=asked.augmentation,
                strips=asked.strips,
                seed=seed,
                train_images=study.config.classifier_train_images,
                extra=extra,
                extra_share=study.config.extra_share,
                device=study.device,
            )
            tables[arm] = _table(logits_of(classifier, study.data.test.pixels).argmax(1), study.data)
        return {
            "summary": f"who is taken for whom at {name_of_size(task.n)} images a user",
            "family": family,
            "augmentation": best,
            "n": task.n,
            "labels": list(study.data.id2label.values()),
            "tables": tables,
        }

    inputs = {
        "real images": hash_of_parts(study.data),
        "chosen images": task.places.tolist(),
        "generated images": keys[task.name],
        "settings": [
            family,
            seed,
            best,
            study.window_s,
            study.config.classifier_train_images,
            study.config.extra_share,
        ],
    }
    return stages.run("confusion", inputs, make).facts


def judge_scores(study: Study, chosen: Chosen, key: str, stages: Stages) -> dict[str, Any]:
    """What the generator of the largest size is worth to judges that had no part in it."""

    def make(folder: Path) -> dict[str, Any]:
        samples = {"drawn": chosen.drawn}
        if _can_be_judged(study.data, chosen):
            samples["kept"] = chosen.sample
        found = {
            name: score_generated(
                study.data,
                [sample],
                judge_train_images=study.config.judge_train_images,
                device=study.device,
                seeds=study.config.judge_seeds,
            )
            for name, sample in samples.items()
        }
        ratio = found["drawn"]["scores"]["gan_train_ratio"]["mean"]
        return {"summary": f"GAN-train {100 * ratio:.0f} % of real to real", "found": found}

    inputs = {
        "real images": hash_of_parts(study.data),
        "generated images": key,
        "settings": [list(study.config.judge_seeds), study.config.judge_train_images],
    }
    return stages.run("scores", inputs, make).facts["found"]


def _can_be_judged(data: SpectrogramData, chosen: Chosen) -> bool:
    """Whether the kept images are others than the drawn ones, and enough of them of each user."""
    counts = torch.bincount(chosen.sample[1], minlength=len(data.id2label)).tolist()
    some = len(chosen.kept) < len(chosen.drawn[1]) and min(counts) > 0
    return some and count_comparable(data, dict(enumerate(counts))) > NEIGHBOURS


def judge_physics(study: Study, chosen: Chosen, key: str, stages: Stages) -> dict[str, Any]:
    """How the gait of what was drawn compares with that of held-out real images."""

    def make(folder: Path) -> dict[str, Any]:
        found = gait_findings(
            study.data, chosen.drawn, chosen.kept, [row["conditions"] for row in chosen.rows], seed=study.seed
        )
        write_json(folder / GAIT, found)
        if found["why_not"] is not None:
            return {"summary": f"not judged: {found['why_not']}"}
        drawn, real = (f"{100 * found[part]:.1f} %" for part in ("generated", "real"))
        return {"summary": f"{drawn} of what was drawn possible for a walker, {real} of real ones"}

    inputs = {"real images": hash_of_parts(study.data), "generated images": key, "axes": study.data.axes}
    stage = stages.run("physics", inputs | {"seed": study.seed}, make)
    return json.loads((stage.folder / GAIT).read_text(encoding="utf-8"))


def make_dataset(
    study: Study, chosen: Chosen, key: str, physics: dict[str, Any], stages: Stages, folder: Path
) -> dict[str, Any]:
    """The augmented data set on disk."""
    data = study.data

    def make(output: Path) -> dict[str, Any]:
        pixels, users = chosen.sample
        places = first_of_each_user(users, study.add)
        of_drawn = chosen.kept[places]
        nearest = nearest_training(pixels[places], data.train.pixels) if len(places) else None
        generated_rows = [
            {
                "seed": chosen.rows[place]["seed"],
                "agreement": round(float(chosen.agreement[place]), 6),
                "nearest_train_distance": round(float(nearest.distance[number, 0]), 6) if nearest else 0.0,
                **_walk(physics, "drawn", place),
                **_labels(data, chosen.rows[place]["conditions"]),
            }
            for number, place in enumerate(of_drawn.tolist())
        ]
        counts = write_dataset(
            data, _real_rows(data, chosen, physics), (pixels[places], users[places]), generated_rows, output
        )
        train = counts["train"]
        return {
            "summary": f"{train['real']:,} real and {train['generated']:,} generated images for training",
            "counts": counts,
        }

    inputs = {"real images": hash_of_parts(data), "generated images": key, "added": study.add, "axes": data.axes}
    return stages.run("dataset", inputs, make, output=folder).facts


def _walk(physics: dict[str, Any], part: str, place: int) -> dict[str, int]:
    """Whether a walker can have made an image, as a number: a truth value would become a condition of a generator."""
    return {} if physics["why_not"] is not None else {"plausible": int(physics["possible"][part][place])}


def _real_rows(data: SpectrogramData, chosen: Chosen, physics: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the real images; the nearest of a training image is the nearest of the others."""
    rows = {}
    for split in SPLITS:
        images: Spectrograms = getattr(data, split)
        column = 1 if split == "train" else 0
        distance = nearest_training(images.pixels, data.train.pixels).distance[:, column].tolist()
        agreement = chosen.real_agreement[split].tolist()
        rows[split] = [
            {"seed": -1, "agreement": round(agreed, 6), "nearest_train_distance": round(apart, 6)}
            | _walk(physics, split, place)
            for place, (agreed, apart) in enumerate(zip(agreement, distance, strict=True))
        ]
    return rows


def _labels(data: SpectrogramData, conditions: dict[str, int]) -> dict[str, str]:
    return {name: data.condition_labels[name][value] for name, value in conditions.items()}


def _table(named: Tensor, data: SpectrogramData) -> list[list[int]]:
    count = len(data.id2label)
    return torch.bincount(data.test.users * count + named, minlength=count**2).view(count, count).tolist()


def hash_of_parts(data: SpectrogramData) -> list[str]:
    """Of the images of each part of the split."""
    return [content_hash(getattr(data, split)) for split in SPLITS]


def _read_rows(folder: Path) -> list[Row]:
    path = folder / ROWS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
