"""Exported spectrogram pipelines, loaded for sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline


def load_pipeline(source: str, dtype: torch.dtype, trust_remote_code: bool = False) -> Any:
    """Load an exported pipeline from a folder or the Hub.

    Raises:
        FileNotFoundError: If a folder of that name holds no pipeline.
    """
    folder = Path(source)
    if folder.is_dir() and not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"{folder} holds no model_index.json; is it an exported pipeline?")
    if trust_remote_code:
        pipeline = DiffusionPipeline.from_pretrained(source, dtype=dtype, trust_remote_code=True)
    else:
        pipeline = VQLDMDopplerPipeline.from_pretrained(source, dtype=dtype)
    for model in (pipeline.vqvae, pipeline.unet):
        model.to(memory_format=torch.channels_last)  # the fastest without gradients, on CPUs too
    return pipeline
