from pathlib import Path

import pytest
import torch
from torch import nn

from echoform_train.engine.config import RunConfig
from echoform_train.engine.optimizers import build_optimizer, set_learning_rate


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_only_matrices_decay_and_frozen_parameters_stay(kind):
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2).requires_grad_(False))
    config = RunConfig(output_dir=Path("x"), optimizer=kind, adam_weight_decay=0.1, learning_rate=0.2)
    optimizer = build_optimizer(config, model)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    names = {name: decays.get(id(p)) for name, p in model.named_parameters()}
    assert names == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "2.weight": None,
        "2.bias": None,
    }


def test_a_parameter_with_a_rate_factor_moves_so_many_times_as_far():
    model = nn.Module()
    model.slow, model.fast = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2, 2))
    config = RunConfig(output_dir=Path("x"), adam_weight_decay=0.0)
    optimizer = build_optimizer(config, model, {"fast": 5.0})
    set_learning_rate(optimizer, 0.01)
    for parameter in model.parameters():
        parameter.grad = torch.ones(2, 2)
    optimizer.step()
    # Adam's first step has the size of the learning rate.
    assert model.slow.mean().item() == pytest.approx(-0.01, rel=1e-4)
    assert model.fast.mean().item() == pytest.approx(-0.05, rel=1e-4)
