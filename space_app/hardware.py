"""Hardware of the app: a GPU per request (ZeroGPU), a GPU for the whole app, or the CPU; and the queue of requests."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

try:
    import spaces  # pyright: ignore[reportMissingImports]  before torch, because it replaces CUDA calls on ZeroGPU
except ModuleNotFoundError:
    spaces = None

import torch

Function = TypeVar("Function", bound=Callable[..., Any])


def on_gpu(function: Function) -> Function:
    """Decorate a function to run on a GPU where ZeroGPU gives one per request; elsewhere return it unchanged."""
    return function if spaces is None else spaces.GPU(function)


def device() -> str:
    """Device of the models: "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def use_granted_cores() -> None:
    """Set torch's threads to the cores that the Hub grants this Space, since torch counts those of the whole host."""
    granted = os.environ.get("CPU_CORES", "")
    if granted.isdecimal() and int(granted) > 0:
        torch.set_num_threads(int(granted))


def model_queue() -> dict[str, Any]:
    """Queue settings of gradio for every button that uses a model.

    These buttons share one queue that serves one request at a time: a request uses the whole GPU or every core, and a
    pipeline's scheduler holds the state of the images in work. On ZeroGPU each request
    has its own process and GPU, so four run at once.
    """
    lent = spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
    return {"concurrency_limit": 4 if lent else 1, "concurrency_id": "model"}


def max_waiting() -> int:
    """Largest number of waiting requests, some minutes of work; further requests are refused."""
    return 20 if device() == "cpu" else 100
