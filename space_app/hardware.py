"""What the app runs on: a GPU that ZeroGPU lends for each request, one of its own, or the cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

try:
    import spaces  # pyright: ignore[reportMissingImports]  before torch, whose CUDA it takes over on ZeroGPU
except ModuleNotFoundError:
    spaces = None

import torch

Function = TypeVar("Function", bound=Callable[..., Any])


def on_gpu(function: Function) -> Function:
    """Run a function on the GPU that ZeroGPU lends for a request; elsewhere it stays as it is."""
    return function if spaces is None else spaces.GPU(function)


def device() -> str:
    """Where the models are."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def use_granted_cores() -> None:
    """As many threads as the Hub grants a Space, where torch would count the cores of the whole host."""
    granted = os.environ.get("CPU_CORES", "")
    if granted.isdecimal() and int(granted) > 0:
        torch.set_num_threads(int(granted))


def model_queue() -> dict[str, Any]:
    """The line in which requests wait for the models, for every button that uses one.

    One is served at a time: it uses the whole GPU or every core, and a scheduler keeps the state of the pictures that
    it makes. On ZeroGPU each request has a process and a GPU of its own, so several are.
    """
    lent = spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
    return {"concurrency_limit": 4 if lent else 1, "concurrency_id": "model"}


def max_waiting() -> int:
    """Requests that may wait before a visitor is told to come again: a few minutes' worth."""
    return 20 if device() == "cpu" else 100
