"""The file that torchvision keeps of AlexNet, with random weights: LPIPS then runs without a download."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor


def write_backbone(torch_home: Path) -> dict[str, Tensor]:
    """Write random weights where torchvision looks for those of AlexNet, and return them.

    Args:
        torch_home: Folder that the variable TORCH_HOME names.
    """
    from torchvision.models import AlexNet_Weights, alexnet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = alexnet(weights=None).state_dict()
    # LPIPS does not use the classifier: one zero, seen in its shape, keeps the file small.
    weights = {
        name: torch.zeros(()).expand(value.shape) if name.startswith("classifier") else value
        for name, value in weights.items()
    }
    name = AlexNet_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    file = torch_home / "hub" / "checkpoints" / name
    file.parent.mkdir(parents=True)
    torch.save(weights, file)
    return weights
