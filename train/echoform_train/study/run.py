"""The stages of an augmentation study, from real images to everything that its report tells."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.files import FACTS
from echoform_train.engine.parallel import run_in_processes
from echoform_train.engine.seeds import mix_seed
from echoform_train.study.accuracy.comparisons import Row
from echoform_train.study.generators.training import pretrain, train_generator
from echoform_train.study.images.selection import Chosen, choose_images
from echoform_train.study.plan import Study, Task
from echoform_train.study.stage_cache import Stage, Stages, content_hash, folder_hash
from echoform_train.study.stages.judging import (
    capped,
    has_images,
    hash_of_parts,
    judge_physics,
    judge_scores,
    make_dataset,
    measure_classical,
    measure_gain,
    show_confusion,
)


@dataclass(frozen=True)
class Results:
    """What the stages found."""

    chosen: dict[str, Chosen]
    """By the name of the task."""
    pipelines: dict[str, Path]
    rows: list[Row]
    confusion: dict[str, Any]
    scores: dict[str, Any]
    physics: dict[str, Any]
    dataset: dict[str, Any]
    stages: list[Stage]


def run_study(study: Study, root: Path, dataset: Path) -> Results:
    """Go through all stages; what is made already is not made again.

    Args:
        study: What to do.
        root: Folder of the stages.
        dataset: Folder of the augmented data set.
    """
    stages = Stages(root, study.total_stages())
    pretrained = _pretrained(study, stages) if study.is_pretrained else None
    with_generator = [task for task in study.tasks if study.has_generator(task)]
    generators = [partial(_generate, study, pretrained, task) for task in with_generator]
    _ahead(study, root, [*generators, *(partial(measure_classical, study, tasks) for tasks in study.measured_together)])
    made = {task.name: generate(stages) for task, generate in zip(with_generator, generators, strict=True)}
    chosen, keys = {name: one.chosen for name, one in made.items()}, {name: one.key for name, one in made.items()}
    if not any(has_images(chosen, task) for task in study.tasks if task.condition is None):
        raise ValueError(
            "a study needs walks that are new: every image that was drawn repeats a training image, or is none that a "
            "walker can have made (--no-only-walks keeps those)"
        )
    largest = chosen[study.largest.name], keys[study.largest.name]
    judged = partial(judge_scores, study, *largest)
    gains = [partial(measure_gain, study, tasks, chosen, keys) for tasks in study.measured_together]
    _ahead(study, root, [judged, *gains])
    rows = [row for gain in gains for row in gain(stages)]
    confusion = show_confusion(study, rows, chosen, keys, stages)
    scores = judged(stages)
    physics = judge_physics(study, *largest, stages)
    counts = make_dataset(study, *largest, physics, stages, dataset)
    return Results(
        chosen=chosen,
        pipelines={name: one.pipeline for name, one in made.items()},
        rows=rows,
        confusion=confusion,
        scores=scores,
        physics=physics,
        dataset=counts,
        stages=stages.done,
    )


def _ahead(study: Study, root: Path, makers: Sequence[Callable[[Stages], object]]) -> None:
    """Make stages side by side, where more than one process may; who goes through them in order finds them made."""
    if study.workers > 1:
        run_in_processes([partial(_alone, root, make) for make in makers], study.workers)


def _alone(root: Path, make: Callable[[Stages], object]) -> None:
    """Make some stages of a study in a process that makes no others."""
    make(Stages(root, total=None))


@dataclass(frozen=True)
class _Made:
    """The generator of a task, and what was chosen of its images."""

    pipeline: Path
    chosen: Chosen
    key: str
    """Of the stage that chose."""


def _generate(study: Study, pretrained: Stage | None, task: Task, stages: Stages) -> _Made:
    """The generator of a task, trained or given, and the choice of its images."""
    pipeline, key = _pipeline(study, task, stages, pretrained)
    stage = _choose(study, task, pipeline, key, stages)
    return _Made(pipeline, Chosen.load(stage.folder), stage.key)


def _pretrained(study: Study, stages: Stages) -> Stage:
    """A generator of simulated walkers, from which that of every task starts."""
    settings = study.generator

    def make(folder: Path) -> dict[str, Any]:
        pretrain(study.data, folder, settings, seed=study.seed)
        images_seen = settings.pretrain_vq_images + settings.pretrain_ldm_images
        return {"summary": f"{settings.pretrain_people} simulated walkers, {images_seen:,} images seen"}

    inputs = {
        "settings": {name: value for name, value in asdict(settings).items() if name.startswith("pretrain")},
        "facts of the data": [study.data.condition_labels, study.data.colormap, study.data.axes],
        "size": list(study.data.train.pixels.shape[1:]),
        "seed": study.seed,
    }
    return stages.run("pretraining", inputs, make)


def _pipeline(study: Study, task: Task, stages: Stages, pretrained: Stage | None) -> tuple[Path, str]:
    """The generator of a task, and what stands for it among the inputs of what builds on it."""
    if study.pipeline is not None:
        return study.pipeline, folder_hash(study.pipeline)
    seed = mix_seed(study.seed, task.draw)

    def make(folder: Path) -> dict[str, Any]:
        start = None if pretrained is None else pretrained.folder
        pipeline = train_generator(
            task.images, task.data, folder, study.generator, seed=seed, window_s=study.window_s, pretrained=start
        )
        facts = json.loads((pipeline / FACTS).read_text())
        parameters = facts["parameters"] + facts["first_stage"]["parameters"]
        images_seen = facts["images_seen"] + facts["first_stage"]["images_seen"]
        return {
            "summary": (
                f"{parameters / 1e6:.1f} M parameters, {images_seen:,} images seen, of {len(task.places)} real ones"
            ),
            "pipeline": pipeline.relative_to(folder).as_posix(),
            "parameters": parameters,
            "images_seen": images_seen,
        }

    settings = asdict(study.generator)
    inputs = {"images": content_hash(task.images), "facts of the data": _facts_of(task.data), "seed": seed}
    inputs["window_s"] = study.window_s
    # How it is sampled changes no weight.
    drawing = ("guidance_scale", "num_inference_steps")
    inputs["settings"] = {name: value for name, value in settings.items() if name not in drawing}
    inputs["pretraining"] = None if pretrained is None else pretrained.key
    stage = stages.run(f"generator-{task.name}", inputs, make)
    return stage.folder / stage.facts["pipeline"], stage.key


def _choose(study: Study, task: Task, pipeline: Path, key: str, stages: Stages) -> Stage:
    """Draw from a generator, and keep the best; a classifier of the same real images says which those are."""
    wanted = study.images_a_user if task is study.largest else capped(study)

    def make(folder: Path) -> dict[str, Any]:
        chosen = choose_images(
            task.images,
            task.data,
            pipeline,
            study.generator,
            wanted,
            folder,
            keep_share=study.config.keep_share,
            max_duplicate=study.config.max_duplicate,
            only_walks=study.config.only_walks,
            scorer_train_images=study.config.classifier_train_images,
            seed=mix_seed(study.seed, task.draw, 1),
            device=study.device,
        )
        chosen.save(folder)
        drawn, kept = len(chosen.drawn[1]), len(chosen.kept)
        return {"summary": f"{drawn:,} images drawn, {kept:,} kept", "drawn": drawn, "kept": kept}

    inputs = {
        "generator": key,
        "real images": [content_hash(task.images), *hash_of_parts(task.data)],
        "settings": asdict(study.generator),
        "number of images": wanted,
        "keep_share": study.config.keep_share,
        "max_duplicate": study.config.max_duplicate,
        "only_walks": study.config.only_walks,
        "classifier_train_images": study.config.classifier_train_images,
        "seed": [study.seed, task.draw],
    }
    return stages.run(f"images-{task.name}", inputs, make)


def _facts_of(data: SpectrogramData) -> list[Any]:
    return [data.id2label, data.condition_labels, data.colormap, data.axes]
