"""Running a model outside its training steps: on which device, and in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def choose_device(name: str) -> str:
    """Name of the device that a --device flag selects; "auto" selects the GPU if there is one, else the CPU."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Run the block with the model in evaluation mode and without gradients, then restore its training mode."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
