"""Settings that cannot be right are refused when they are made, in one sentence that names the flag."""

from __future__ import annotations

import math
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from echoform_train.engine.config import RunConfig
from echoform_train.engine.limits import Limits
from echoform_train.trainers import conv_ae, depth_ae, distill, kl_vae, ldm, vq_vae
from training_settings import TRAINERS, all_fields

RUN = RunConfig(output_dir=Path("out"))
LENGTHS = (
    "max_train_images",
    "train_batch_size",
    "gradient_accumulation_steps",
    "validation_every",
    "checkpointing_every",
    "logging_every",
    "checkpoints_total_limit",
    "lr_step_every",
    "lr_plateau_patience",
)
RATES = ("learning_rate", "lr_decay", "adam_weight_decay", "max_grad_norm")


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("value", [0, -1, 10**13, 10**400, 2.5, math.nan], ids=lambda value: str(value)[:20])
def test_lengths_and_intervals_are_whole_and_at_least_1(name, value):
    with pytest.raises(ValueError, match=rf"--{name.replace('_', '-')} must be a whole number in 1\.\."):
        replace(RUN, **{name: value})


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("value", [-1e-3, math.nan, math.inf, -math.inf, 1e30])
def test_rates_are_finite_and_not_negative(name, value):
    with pytest.raises(ValueError, match=rf"--{name.replace('_', '-')} must be in .*, got {re.escape(str(value))}"):
        replace(RUN, **{name: value})


@pytest.mark.parametrize("value", [-1, 2**63, 2**64])
def test_seeds_lie_below_2_to_the_63(value):
    with pytest.raises(ValueError, match=rf"--seed must be a whole number in 0\.\.9223372036854775807, got {value}"):
        replace(RUN, seed=value)


def test_the_ends_of_the_limits_are_allowed():
    replace(RUN, seed=2**63 - 1, lr_warmup_steps=0, early_stopping_patience=0, lr_decay=1.0, adam_weight_decay=0.0)
    replace(RUN, **dict.fromkeys(LENGTHS, 1))


@pytest.mark.parametrize("module", TRAINERS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_number_of_every_trainer_has_limits_and_they_are_checked(module):
    # What is read and split is checked where it is loaded.
    for config_class, name, hint, value in all_fields(module.Config, next(iter(module.PRESETS.values()))):
        if config_class.__name__.endswith("DataConfig") or config_class.__name__.endswith("SourceConfig"):
            continue
        if not any(kind in str(hint) for kind in ("int", "float")):
            continue
        if config_class.__name__ == "Augmentation":  # checks its own shares
            continue
        assert any(isinstance(one, Limits) for one in getattr(hint, "__metadata__", ())), (config_class, name)
        wrong = (math.nan,) if isinstance(value, tuple) or "tuple" in str(hint) else math.nan
        assert refuses(config_class, name, wrong), (config_class, name)


def refuses(config_class: Any, name: str, value: Any) -> bool:
    given = {"output_dir": Path("out"), "data": None, "run": None, "first_stage": None, "pipeline": ""}
    needed = {field.name for field in fields(config_class)}
    settings = {key: each for key, each in given.items() if key in needed} | {name: value}
    try:
        config_class(**settings)
    except ValueError as error:
        return f"--{name.replace('_', '-')}" in str(error)
    return False


@pytest.mark.parametrize(
    ("config_class", "settings", "rule"),
    [
        (vq_vae.Config, {"num_vq_embeddings": 10**12}, "--num-vq-embeddings must be a whole number in 2..1048576"),
        (kl_vae.Config, {"spectral_weight": -0.1}, "--spectral-weight must be in 0..1000000, got -0.1"),
        (ldm.Config, {"dropout": 1.0}, r"--dropout must be in \[0, 1\), got 1.0"),
        (ldm.Config, {"block_out_channels": (64, 0)}, "--block-out-channels must be a whole number in 1..65536, got 0"),
        (depth_ae.Config, {"layers_per_block": (1, -1)}, "--layers-per-block must be a whole number in 1..64, got -1"),
        (conv_ae.Config, {"width_factor": math.inf}, r"--width-factor must be in \(0, 64\], got inf"),
        (distill.Config, {"ema_decay": 1.0}, r"--ema-decay must be in \[0, 1\), got 1.0"),
    ],
)
def test_what_a_trainer_cannot_use_is_refused_by_its_flag(config_class, settings, rule):
    given = {"data": None, "run": RUN, "first_stage": Path("vq"), "pipeline": "ldm"}
    needed = {field.name for field in fields(config_class)}
    with pytest.raises(ValueError, match=rule):
        config_class(**{key: each for key, each in given.items() if key in needed}, **settings)


def test_nested_settings_are_dataclasses_that_check_themselves():
    for module in TRAINERS:
        for hint in get_type_hints(module.Config).values():
            if is_dataclass(hint) and "DataConfig" not in str(hint):
                assert hasattr(hint, "__post_init__"), hint
