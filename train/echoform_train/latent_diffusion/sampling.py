"""Load an exported spectrogram pipeline for sampling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.engine.errors import UserError
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


def check_finite(values: Tensor, what: str) -> None:
    """Check what a pipeline computed; NaN would be painted as 0.

    Raises:
        UserError: If a number is NaN or infinite.
    """
    if not bool(torch.isfinite(values).all()):
        raise UserError(
            f"the pipeline computes {what} that are NaN or infinite; its weights or statistics are out of range, or "
            "--dtype float16 has no room for them"
        )


def refuse_not_finite(_: Any, step: int, timestep: Any, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Callback of a pipeline's call, after each step: `check_finite` of the latents."""
    check_finite(values["latents"], "latents")
    return values
