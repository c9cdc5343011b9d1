"""From a trained depth autoencoder to the folder that travels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from echoform.depth_autoencoder import DepthAutoencoder
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train.depth.dataset import DepthData
from echoform_train.engine.files import FACTS
from echoform_train.publishing.card import write_card


def build_pipeline(autoencoder: DepthAutoencoder, data: DepthData) -> DepthAutoencoderPipeline:
    """The model together with the scale of its data."""
    return DepthAutoencoderPipeline(
        autoencoder.eval(),
        depth_range_mm=data.depth_range_mm,
        units_per_mm=data.units_per_mm,
        invalid_values=data.invalid_values,
    )


def export_pipeline(pipeline: DepthAutoencoderPipeline, facts: dict[str, Any], folder: Path) -> None:
    """Write the pipeline, the facts of its training and its card to `folder`, which then loads anywhere."""
    pipeline.save_pretrained(folder)
    (folder / FACTS).write_text(json.dumps(facts, indent=1))
    write_card(folder)
