"""The end of a training: export the best model as a pipeline with its facts and model card, and push it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from echoform_train.engine.files import FACTS, PIPELINE
from echoform_train.engine.run import Run
from echoform_train.engine.training_result import TrainingResult
from echoform_train.publishing.card import write_card
from echoform_train.publishing.push import push_after_training


def finish_training(run: Run, best_pipeline: Callable[[], DiffusionPipeline]) -> TrainingResult:
    """Close a run, export its pipeline to OUTPUT_DIR/pipeline, and push that if the settings ask for it.

    Args:
        run: The run, whose best model was saved by `keep_if_best`.
        best_pipeline: Makes the pipeline from the best model; called on the main process only.

    Raises:
        PushError: If the push failed; the sentence says what continues.
    """
    result = run.finish(run.config.output_dir / PIPELINE)
    if run.is_main:
        export_pipeline(best_pipeline(), result.facts, result.exported)
    push_after_training(run, result)
    return result


def export_pipeline(pipeline: DiffusionPipeline, facts: dict[str, Any], folder: Path) -> None:
    """Write a pipeline, the facts of its training and its model card to `folder`, which then loads anywhere."""
    pipeline.save_pretrained(folder)
    (folder / FACTS).write_text(json.dumps(facts, indent=1))
    write_card(folder)
