"""`echoform augment`: generated spectrograms for a training set, and whether they helped a classifier."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from echoform.hub import CARD, check_access, travelling_files
from echoform_train.data.config import PublishConfig, data_facts
from echoform_train.data.publish import publish_dataset
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.files import FACTS, MODEL_INDEX, PIPELINE, REPORT_DATA, REPORT_PAGE, SPLIT
from echoform_train.engine.parallel import usable_cores
from echoform_train.publishing.card import write_card
from echoform_train.publishing.exported import find_pipeline
from echoform_train.study.generators.training import GeneratorConfig
from echoform_train.study.images.augmented_dataset import images_to_add
from echoform_train.study.plan import (
    Study,
    StudyConfig,
    check_held_out,
    check_pipeline,
    check_split_is_known,
    plan_tasks,
)
from echoform_train.study.report_data import assemble, draw_pictures
from echoform_train.study.report_page import card_facts, write_page
from echoform_train.study.run import run_study
from echoform_train.study.stage_cache import write_json

STAGES, DATASET = "stages", "dataset"
PER_USER = 100


@dataclass(frozen=True, kw_only=True)
class Config(PublishConfig):
    """Train a generator on the training part, generate, choose, judge, and write the augmented data set and one page.

    For each number of real images a user, a generator and classifiers are trained on those images alone, and what
    generated images add to the best classical augmentation is measured on held-out recordings. Started again after an
    interruption, or with other flags, it makes only what is not there yet.
    """

    data: tyro.conf.Positional[str]
    """Folder of real spectrograms, one folder a user, or the id of a data set on the Hub."""
    output_dir: tyro.conf.Positional[Path]
    """Folder for everything: report.html, report.json, dataset/, pipeline/, and stages/ with what they came from."""
    preset: Literal["cpu", "quick"] = "cpu"
    """Settings to start from; every other flag overrides them. quick: a first look in some minutes."""
    pipeline: str | None = None
    """Exported pipeline, folder or id on the Hub, to judge instead of training generators. It saw all training images,
    so that only the size "all" is measured."""
    split_file: Path | None = None
    """Split to use. Default: that of a published data set, or OUT/split.json, made where it is not there. With
    --pipeline, the split of its training."""
    per_user: int | None = None
    """Generated images a user in the data set. Default: 100."""
    balance_to: int | None = None
    """Images a user, real and generated together, up to which the data set is filled, instead of --per-user."""
    resolution: int | None = None
    """Height and width to resize to, in pixels. Default: the size of the images."""
    colormap: str = "auto"
    """Colour map of the pictures: auto detects it, none keeps RGB, or its name."""
    window_s: float | None = None
    """Seconds in one picture. Default: axes.json of the data."""
    gap_windows: int = 2
    """Windows left out at each cut through a recording where their length is not known."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""
    seed: int = 0
    """Seed of the split, of the images chosen at each size, and of the generators."""
    device: str = "auto"
    """Where classifiers and judges are trained; auto: on the GPU, if there is one."""
    workers: int | None = None
    """Processes that train side by side, each on one core. Default: one a core; with a GPU 1, which trains one after
    another. In one process, sums may be rounded in another order than in several, so that the last digits differ."""
    study: Annotated[StudyConfig, tyro.conf.arg(name="")] = field(default_factory=StudyConfig)
    generator: Annotated[GeneratorConfig, tyro.conf.arg(name="")] = field(default_factory=GeneratorConfig)
    people: Literal["simulated", "recorded"] | None = None
    """Whose gait it is, for the cards; where it is not said, they warn as for recorded people."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers must be at least 1, got {self.workers}")
        if self.per_user is not None and self.balance_to is not None:
            raise ValueError(
                f"one of --per-user and --balance-to must be given, not both, got {self.per_user} and {self.balance_to}"
            )


PRESETS = {
    "cpu": Config(data=tyro.MISSING, output_dir=tyro.MISSING),
    "quick": Config(
        data=tyro.MISSING,
        output_dir=tyro.MISSING,
        preset="quick",
        study=StudyConfig(sizes=("10",), seeds=3, classifier_train_images=4_000, judge_train_images=6_000),
        generator=GeneratorConfig(vq_train_images=8_000, ldm_train_images=16_000),
    ),
}


def main(config: Config) -> None:
    """Make everything that is not there yet, write report and cards, and print the verdict.

    Raises:
        FileNotFoundError: If there are no such data, or no such pipeline.
        ValueError: If the data cannot be studied, or the pipeline is not of these data; before anything trains.
        PushError: If the Hub does not take the data set; where the token cannot write there, before anything trains.
    """
    if config.push_to_hub is not None:
        check_access(config.push_to_hub, private=config.private, repo_type="dataset")
    study, notes = plan(config)
    out = config.output_dir
    results = run_study(study, out / STAGES, out / DATASET)
    report = assemble(study, results, notes)
    write_json(out / REPORT_DATA, report)
    write_page(report, draw_pictures(study, results, report), out / REPORT_PAGE)
    _export_pipeline(config, study, results.pipelines[study.largest.name], report)
    print(f"\n{report['verdict']['sentence']}\nData set: {out / DATASET}\nPage: {out / REPORT_PAGE}")
    if config.push_to_hub is not None:
        url = publish_dataset(
            out / DATASET,
            config.push_to_hub,
            people=config.people,
            private=config.private,
            revision=config.revision,
            license=config.license,
        )
        print(f"Pushed to {url}")


def plan(config: Config) -> tuple[Study, list[str]]:
    """Read the data and check all that can be known before anything trains.

    Returns:
        The study, and sentences on what it leaves out.

    Raises:
        FileNotFoundError: As of `main`.
        ValueError: As of `main`.
    """
    out = config.output_dir
    pipeline = None if config.pipeline is None else find_pipeline(config.pipeline)
    if pipeline is not None and config.split_file is not None and not config.split_file.is_file():
        raise FileNotFoundError(f"{config.split_file} is no file; --pipeline needs the split of its training")
    data = load_spectrograms(
        config.data,
        split_file=config.split_file or (out / SPLIT if pipeline is None else None),
        resolution=config.resolution,
        colormap=config.colormap,
        window_s=config.window_s,
        gap_windows=config.gap_windows,
        skip_bad_files=config.skip_bad_files,
        seed=config.seed,
    )
    settings, notes = config.study, []
    if pipeline is not None:
        check_split_is_known(data, config.split_file)
        check_pipeline(pipeline, data, config.generator)
        settings = replace(settings, sizes=("all",), draws=1, across=())
        notes.append(
            "The generator was given, and has seen all training images: at fewer real images its gain would be theirs, "
            "so that only all of them are measured."
        )
    elif config.generator.pretrain_people:
        notes.append(
            f"The generators start from one of {config.generator.pretrain_people} simulated walkers, who are other "
            "people; the classifiers without generated images know nothing of those."
        )
    tasks, left_out = plan_tasks(data, settings, config.seed)
    per_user = PER_USER if config.per_user is None and config.balance_to is None else config.per_user
    add = images_to_add(data.train.users, len(data.id2label), per_user=per_user, balance_to=config.balance_to)
    images_a_user = {user: max(count, per_user or PER_USER) for user, count in add.items()}
    check_held_out(data, images_a_user)
    print(
        f"{data.source}: {len(data.train)} images of {len(data.id2label)} users for training, {len(data.test)} held out"
    )
    for note in [*notes, *left_out]:
        print(note)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    study = Study(
        data=data,
        tasks=tasks,
        config=settings,
        generator=config.generator,
        pipeline=pipeline,
        images_a_user=images_a_user,
        add=add,
        window_s=config.window_s if config.window_s is not None else (data.axes or {}).get("window_s"),
        device=device,
        workers=config.workers or (usable_cores() if device == "cpu" else 1),
        seed=config.seed,
    )
    return study, notes + left_out


def _export_pipeline(config: Config, study: Study, source: Path, report: dict[str, Any]) -> None:
    """Copy the generator of the largest size to where `echoform push` finds it, with a card that tells of the study."""
    folder = config.output_dir / PIPELINE
    if folder.is_dir() and not (folder / MODEL_INDEX).is_file():
        raise ValueError(f"the pipeline goes to {folder}, which holds something else")
    for path in travelling_files(source):
        if path.name != CARD or not (folder / CARD).is_file():  # there somebody may have written a word
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, folder / path)
    facts_file = folder / FACTS
    if not facts_file.is_file():
        print(f"{config.pipeline} holds no {FACTS}: nothing is known of its training, so that no card is written")
        return
    if study.pipeline is None:  # it was trained on copies of each image, which are no further images
        of_real = data_facts(replace(study.data, train=study.largest.images))
        write_json(facts_file, json.loads(facts_file.read_text()) | {"data": of_real})
    write_card(
        folder,
        report["scores"]["drawn"]["scores"],
        {
            "num_inference_steps": study.generator.num_inference_steps,
            "guidance_scale": study.generator.guidance_scale,
        },
        people=config.people,
        augmentation=card_facts(report),
    )
