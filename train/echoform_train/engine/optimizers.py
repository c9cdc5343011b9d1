"""The optimizer that the settings of a training describe."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from echoform_train.engine.config import RunConfig

_RATE_FACTOR = "rate_factor"  # key in a parameter group: multiple of the learning rate


def build_optimizer(
    config: RunConfig, model: nn.Module, rate_factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """Build the optimizer over the trainable parameters of a model; biases and norms get no weight decay.

    Args:
        config: Kind of optimizer, learning rate and weight decay.
        model: Its parameters with `requires_grad` are trained.
        rate_factors: Factors of the learning rate, by name of a parameter; these parameters get no weight decay.
    """
    rate_factors = rate_factors or {}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    usual = [p for name, p in trained.items() if name not in rate_factors]
    groups = [
        {"params": [p for p in usual if p.ndim > 1], "weight_decay": config.adam_weight_decay},
        {"params": [p for p in usual if p.ndim <= 1], "weight_decay": 0.0},
        *(
            {"params": [trained[name]], "weight_decay": 0.0, _RATE_FACTOR: factor}
            for name, factor in rate_factors.items()
        ),
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate, betas=(0.9, 0.99))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of an optimizer from `build_optimizer`, times the factor of each parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(_RATE_FACTOR, 1.0)
