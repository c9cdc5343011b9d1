"""Write a depth pipeline to the folder that travels: balanced model, scale of the data, facts and model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from echoform.depth_autoencoder import DepthAutoencoder
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train.depth.balance import balancing_map
from echoform_train.depth.dataset import DepthData
from echoform_train.depth.reconstruction import embed
from echoform_train.engine.files import FACTS
from echoform_train.publishing.card import write_card


def build_pipeline(autoencoder: DepthAutoencoder, data: DepthData, balance_power: float) -> DepthAutoencoderPipeline:
    """Balance the embedding of a trained model, and put the model and the scale of its data into a pipeline.

    Args:
        autoencoder: On any device; its bottleneck is changed in place, its reconstructions are not.
        data: Its data; the training images tell how large the components of the embedding are.
        balance_power: See `balancing_map`.
    """
    autoencoder.balance(*balancing_map(embed(autoencoder, data.train.units, data.scale), balance_power))
    return DepthAutoencoderPipeline(
        autoencoder.eval(),
        depth_range_mm=data.depth_range_mm,
        units_per_mm=data.units_per_mm,
        invalid_values=data.invalid_values,
    )


def export_pipeline(pipeline: DepthAutoencoderPipeline, facts: dict[str, Any], folder: Path) -> None:
    """Write the pipeline, the facts of its training and its model card to `folder`, which then loads anywhere."""
    pipeline.save_pretrained(folder)
    (folder / FACTS).write_text(json.dumps(facts, indent=1))
    write_card(folder)
