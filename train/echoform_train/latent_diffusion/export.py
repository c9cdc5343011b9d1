"""Write a spectrogram pipeline to the folder that travels: models, facts of the training and model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.engine.files import FACTS
from echoform_train.publishing.card import write_card


def export_pipeline(pipeline: VQLDMDopplerPipeline, facts: dict[str, Any], folder: Path) -> None:
    """Write the pipeline, the facts of its training and its model card to `folder`, which then loads anywhere."""
    pipeline.save_pretrained(folder)
    (folder / FACTS).write_text(json.dumps(facts, indent=1))
    write_card(folder)
