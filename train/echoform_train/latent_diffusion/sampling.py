"""Load an exported spectrogram pipeline for sampling."""

from __future__ import annotations

from typing import Any

import torch

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.publishing import exported


def load_pipeline(source: str, dtype: torch.dtype, trust_remote_code: bool = False) -> Any:
    """Load an exported pipeline from a folder or the Hub, in the memory layout that samples fastest.

    Args:
        source: Folder, `user/name` or `user/name@revision`.
        dtype: Type of the weights.
        trust_remote_code: Run the code of the repository instead of the installed echoform.

    Raises:
        FileNotFoundError: If there is no such folder, or no pipeline in it.
        ValueError: If it holds a pipeline of another class.
    """
    pipeline = exported.load_pipeline(source, VQLDMDopplerPipeline, trust_remote_code=trust_remote_code, dtype=dtype)
    for model in (pipeline.vqvae, pipeline.unet):
        model.to(memory_format=torch.channels_last)  # faster without gradients, on CPUs too
    return pipeline
