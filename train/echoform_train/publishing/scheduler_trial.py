"""A trial of a pipeline's scheduler on four numbers: its settings are known to be wrong only when it steps."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch

from echoform_train.engine.errors import UserError, refused_by
from echoform_train.publishing.model_folder import LOADING_ERRORS

MOST_TRIED = 50
"""Most steps of a trial, which takes some milliseconds."""


def try_scheduler(scheduler: Any, num_inference_steps: int, source: object) -> None:
    """Take a sample of zeros through all steps, with predictions of zeros.

    Args:
        scheduler: Of diffusers; a copy is used.
        num_inference_steps: Steps of the trial, at most MOST_TRIED are taken.
        source: Where the scheduler comes from, for the message.

    Raises:
        UserError: If it raises an error, begins outside of its training steps, has noise outside of 0..1, or makes a
            number that is not finite.
    """
    name = type(scheduler).__name__
    with refused_by(f"the {name} of {source} must be able to take {num_inference_steps} steps", LOADING_ERRORS):
        tried = copy.deepcopy(scheduler)
        tried.set_timesteps(min(num_inference_steps, MOST_TRIED))
        stochastic = "generator" in inspect.signature(tried.step).parameters
        noise = {"generator": torch.Generator().manual_seed(0)} if stochastic else {}
        sample = torch.ones(1, 1, 2, 2)
        for time in tried.timesteps:
            given = tried.scale_model_input(sample, time) if hasattr(tried, "scale_model_input") else sample
            sample = tried.step(0.1 * given, time, sample, return_dict=False, **noise)[0]
    for fact in ("betas", "alphas_cumprod"):
        values = getattr(tried, fact, None)
        if isinstance(values, torch.Tensor) and not (bool((values >= 0).all()) and bool((values <= 1).all())):
            raise UserError(f"{fact} of the {name} of {source} must be in 0..1, they are not with its settings")
    most = tried.config.get("num_train_timesteps")
    if isinstance(most, int) and bool((tried.timesteps > most).any()):
        raise UserError(f"the {name} of {source} must begin within its {most} training steps, it begins later")
    if not bool(torch.isfinite(sample).all()) or not bool(torch.isfinite(tried.timesteps.float()).all()):
        raise UserError(f"the {name} of {source} must make finite numbers, its settings make NaN or infinite ones")
