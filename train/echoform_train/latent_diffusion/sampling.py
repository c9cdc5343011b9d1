"""Load an exported spectrogram pipeline for sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.engine.files import MODEL_INDEX


def load_pipeline(source: str, dtype: torch.dtype, trust_remote_code: bool = False) -> Any:
    """Load an exported pipeline from a folder or the Hub, in the memory layout that samples fastest.

    Args:
        source: Folder, or id on the Hub.
        dtype: Of the weights.
        trust_remote_code: Run the code of the repository instead of the installed echoform.

    Raises:
        FileNotFoundError: If the source is a folder without a pipeline.
    """
    folder = Path(source)
    if folder.is_dir() and not (folder / MODEL_INDEX).is_file():
        raise FileNotFoundError(f"{folder} holds no {MODEL_INDEX}; is it an exported pipeline?")
    if trust_remote_code:
        pipeline = DiffusionPipeline.from_pretrained(source, dtype=dtype, trust_remote_code=True)
    else:
        pipeline = VQLDMDopplerPipeline.from_pretrained(source, dtype=dtype)
    for model in (pipeline.vqvae, pipeline.unet):
        model.to(memory_format=torch.channels_last)  # faster without gradients, on CPUs too
    return pipeline
