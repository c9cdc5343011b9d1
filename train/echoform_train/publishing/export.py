"""Start and end of a training: check what it needs, export the best model with facts and model card, and push it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import DiffusionPipeline

from echoform_cards.facts import People
from echoform_train.data.split import Split
from echoform_train.data.split_files import check_writable, write_split
from echoform_train.engine.atomic_files import copy_to_partial, replace_folder
from echoform_train.engine.callbacks import NO_CALLBACKS, Callbacks
from echoform_train.engine.config import RunConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import FACTS, PIPELINE, SPLIT
from echoform_train.engine.json_files import write_json
from echoform_train.engine.resume import data_content, resume_settings
from echoform_train.engine.run import Run
from echoform_train.engine.training_result import TrainingResult
from echoform_train.publishing.card import write_card
from echoform_train.publishing.cards.common import CardFacts
from echoform_train.publishing.push import check_before_training, push_after_training


class TrainerConfig(Protocol):
    """Settings of a trainer."""

    @property
    def run(self) -> RunConfig:
        """Settings that every trainer has."""
        ...


class SplitData(Protocol):
    """Data that are split for training and validation."""

    @property
    def train(self) -> Sized:
        """Training images."""
        ...

    @property
    def validation(self) -> Sized:
        """Validation images."""
        ...

    @property
    def source(self) -> str:
        """Folder or Hub id."""
        ...

    @property
    def split(self) -> Split:
        """Names of the images of each side."""
        ...


def start_training(
    config: TrainerConfig,
    data: SplitData,
    callbacks: Callbacks = NO_CALLBACKS,
    inputs: Mapping[str, Any] | None = None,
) -> Run:
    """Begin a run on some data, write its split, and seed torch for the initial weights of the model.

    Args:
        config: Settings of the trainer.
        data: The data, with their split.
        callbacks: What is called during the training.
        inputs: What the run reads beside the data, see `resume_settings`.

    Raises:
        ValueError: If there are no validation images, or the output folder holds another run or another split.
        PushError: If the settings ask for a push that is not allowed.
    """
    if not len(data.validation):
        raise UserError(f"a training needs validation images, the split of {data.source} has none")
    run = Run(config.run, len(data.train), resume_settings(config, data_content(data) | dict(inputs or {})), callbacks)
    check_before_training(run)
    keep_split(run, data.split)
    torch.manual_seed(config.run.seed)
    return run


def keep_split(run: Run, split: Split) -> None:
    """Write the split of a training to OUTPUT_DIR/split.json, on the main process; its scores and next stages use it.

    Raises:
        ValueError: If the file exists and holds another split; on every process, so that none waits for another.
    """
    path = run.config.output_dir / SPLIT
    check_writable(split, path)
    if run.is_main:
        write_split(split, path)


Illustrate = Callable[[Any, Path], CardFacts]
"""Writes pictures of a pipeline to its folder; returns what the card says of them."""


def finish_training(
    run: Run, best_pipeline: Callable[[], DiffusionPipeline], illustrate: Illustrate | None = None
) -> TrainingResult:
    """Close a run, export its pipeline to OUTPUT_DIR/pipeline, and push that if the settings ask for it.

    Args:
        run: The run, whose best model was saved by `keep_if_best`.
        best_pipeline: Makes the pipeline from the best model; called on the main process only.
        illustrate: Writes the pictures of the card.

    Raises:
        PushError: If the push failed; the message says which command tries again.
    """
    result = run.finish(run.config.output_dir / PIPELINE)
    if run.is_main:
        license, people = run.config.license, run.config.people
        export_pipeline(best_pipeline(), result.facts, result.exported, illustrate, license=license, people=people)
    push_after_training(run, result)
    return result


def export_pipeline(
    pipeline: DiffusionPipeline,
    facts: dict[str, Any],
    folder: Path,
    illustrate: Illustrate | None = None,
    *,
    license: str | None = None,
    people: People | None = None,
) -> None:
    """Write a pipeline, the facts of its training and its model card to `folder`, which then loads anywhere."""
    partial = copy_to_partial(folder)
    pipeline.save_pretrained(partial)
    pictures = {} if illustrate is None else illustrate(pipeline, partial)
    card = facts.get("card", {}) | pictures
    write_json(partial / FACTS, facts | ({"card": card} if card else {}))
    write_card(partial, license=license, people=people)
    replace_folder(folder, partial)
