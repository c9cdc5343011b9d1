"""Do recipes with generated images beat their honest rivals? A pilot at a few images a user, over draws of the images.

    python benchmarks/recipes.py FOLDER --data DIR [--data-name NAME] [--output JSON] ...

For each draw of the real images a small generator is trained on them, and teachers label its images (see
train/echoform_train/study/recipes). Every classifier has the same plain augmentation, a time roll, which no other one
beats at a few measured images. What is done is kept in FOLDER: started again, the run goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import tyro
from record import print_tables, write_results
from tables import RESULTS, Table, mean_cell

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.engine.json_files import read_json, write_json
from echoform_train.study.accuracy.measurement import MeasurementSettings
from echoform_train.study.accuracy.rows import RIVAL, Row
from echoform_train.study.classifiers.augmentations import recipe
from echoform_train.study.classifiers.networks import FAMILIES
from echoform_train.study.classifiers.recropping import Strips
from echoform_train.study.classifiers.training import hits, train_classifier
from echoform_train.study.config import GeneratorConfig
from echoform_train.study.generators.sampling import draw_sample
from echoform_train.study.generators.training import train_generator
from echoform_train.study.images.subsets import choose_per_user
from echoform_train.study.recipes.arms import TWICE
from echoform_train.study.recipes.measurement import Lesson, measure_recipes
from echoform_train.study.recipes.table import RecipeAccuracies, recipe_accuracies
from echoform_train.study.recipes.taught import FILE, TaughtImages, teach

AUGMENTATION = "time roll"
ROWS = "rows.json"


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train on and how long."""

    folder: tyro.conf.Positional[Path]
    """Folder for generators, taught images and rows."""
    data: str
    """Folder of spectrograms."""
    data_name: str = "measured"
    """Name of the data in the table."""
    output: Path = RESULTS / "recipes.json"
    """JSON file to write."""
    resolution: int = 64
    """Height and width, pixels."""
    per_user: int = 5
    """Real images per user to train on."""
    draws: int = 3
    """Choices of these images, each with a generator and a seed of its own."""
    generated_per_user: int = 60
    """Generated images per user."""
    train_images: int = 2_000
    """Real images that each classifier sees."""
    shares: tuple[float, ...] = (0.25, 0.5)
    """Shares of other images to choose from."""
    vq_train_images: int = 4_000
    """Images that each first stage sees."""
    ldm_train_images: int = 8_000
    """Images that each denoiser sees."""


def main(config: Config) -> None:
    data = load_spectrograms(config.data, resolution=config.resolution)
    print({side: len(getattr(data, side)) for side in ("train", "validation", "test")}, flush=True)
    lessons = {draw: _lesson(config, data, draw) for draw in range(config.draws)}
    settings = MeasurementSettings(
        sizes=(config.per_user,),
        seeds=tuple(range(config.draws)),
        train_images=config.train_images,
        shares=config.shares,
    )
    saved = config.folder / ROWS
    recipe_rows = measure_recipes(
        data,
        config.per_user,
        lessons,
        config.draws,
        dict.fromkeys(FAMILIES, AUGMENTATION),
        settings,
        done=read_json(saved) if saved.is_file() else [],
        save=lambda rows: write_json(saved, rows),
    )
    classical = [_classical(config, data, lessons[draw], family, draw) for family in FAMILIES for draw in lessons]
    rivals = _rivals(classical, recipe_rows)
    found = recipe_accuracies(rivals, recipe_rows, [config.per_user])
    agreed = [
        float((each.taught.asked_labels.argmax(1) == each.taught.asked_users).double().mean())
        for each in lessons.values()
    ]
    tables = {"recipes": _table(config, found)}
    facts: dict[str, Any] = {"recipes": found, "teachers_agree": agreed, "rows": [*classical, *recipe_rows]}
    write_results(config, facts, tables)
    print_tables(tables)


def _lesson(config: Config, data: SpectrogramData, draw: int) -> Lesson:
    """The real images of a draw, and what its teachers have labelled."""
    folder = config.folder / f"draw-{draw}"
    images = data.train.select(choose_per_user(data.train, config.per_user, seed=draw))
    if not (folder / FILE).is_file():
        settings = GeneratorConfig(
            copies=8, vq_train_images=config.vq_train_images, ldm_train_images=config.ldm_train_images,
            num_inference_steps=8,
        )  # fmt: skip
        pipeline = train_generator(images, data, folder / "generator", settings, seed=draw)
        sample, _ = draw_sample(pipeline, images, config.generated_per_user, settings, seed=draw)
        taught = teach(
            images,
            data,
            sample,
            pipeline,
            settings,
            dict.fromkeys(FAMILIES, AUGMENTATION),
            window_s=None,
            train_images=config.train_images,
            seed=draw,
            device="cpu",
        )
        taught.save(folder)
        print(f"draw {draw}: taught", flush=True)
    return Lesson(images=images, taught=TaughtImages.load(folder))


def _classical(config: Config, data: SpectrogramData, lesson: Lesson, family: str, draw: int) -> Row:
    """A classifier of the real images alone."""
    images = lesson.images
    classifier = train_classifier(
        family,
        (images.pixels, images.users),
        len(data.id2label),
        seed=draw,
        recipe=recipe(AUGMENTATION, Strips(images, None)),
        train_images=config.train_images,
    )
    validation, test = (hits(classifier, side.pixels, side.users) for side in (data.validation, data.test))
    return {
        "n": config.per_user,
        "arm": "best classical",
        "family": family,
        "seed": draw,
        "draw": draw,
        "condition": None,
        "augmentation": AUGMENTATION,
        "images": len(images),
        "seen": config.train_images,
        "share": 0.0,
        "weight": 1.0,
        "note": None,
        "validation": validation.double().mean().item(),
        "accuracy": test.double().mean().item(),
        "hits": torch.bincount(data.test.users[test], minlength=len(data.id2label)).tolist(),
    }


def _rivals(classical: list[Row], recipe_rows: list[Row]) -> list[Row]:
    """The rows of the better one of both lengths of training on validation images, per family."""
    found: list[Row] = []
    for family in FAMILIES:
        once = [row for row in classical if row["family"] == family]
        twice = [row for row in recipe_rows if row["family"] == family and row["arm"] == TWICE]
        best = max((once, twice), key=lambda rows: sum(row["validation"] for row in rows))
        found += [cast(Row, {**row, "arm": RIVAL}) for row in best]
    return found


def _table(config: Config, found: list[RecipeAccuracies]) -> Table:
    rows = []
    for each in found:
        row: list[Any] = [config.data_name, str(config.per_user), each["recipe"]]
        for name in ("accuracy", "classical", "same_idea", "ensemble"):
            row.append("" if each[name] is None else mean_cell(each[name], "{:.1f}", factor=100))
        row.append(mean_cell(each["gain"], "{:+.1f}", factor=100))
        rows.append(row)
    columns = ["data", "images per user", "recipe", "accuracy, %", "best classical", "same idea, real images"]
    return {"columns": [*columns, "teachers themselves", "gain over the best rival, points"], "rows": rows}


if __name__ == "__main__":
    main(tyro.cli(Config))
