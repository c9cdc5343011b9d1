"""Settings that every training script shares, and how presets and flags make them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro

from echoform_train.engine.schedules import Shape

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How to train: lengths are counted in images seen, over all processes."""

    output_dir: Path
    """Folder for checkpoints, logs, pictures and the model."""
    seed: int = 0
    """Seed of weights, batch order and noise."""
    max_train_images: int = 100_000
    """Length of the training, images seen."""
    train_batch_size: int = 16
    """Images a process and a forward pass."""
    gradient_accumulation_steps: int = 1
    """Forward passes an optimizer step."""
    learning_rate: float = 2e-4
    """Peak learning rate."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """adamw decays weights apart from the gradient; adam and sgd (Nesterov momentum 0.9) add the decay to it."""
    lr_scheduler: Shape = "cosine"
    """What follows the warm-up: a half cosine to zero, a constant, a drop every --lr-step-every images, or a drop
    after each plateau of --lr-plateau-patience validations."""
    lr_warmup_steps: int = 100
    """Optimizer steps of linear warm-up."""
    lr_decay: float = 0.3
    """Factor of each drop of the schedules step and plateau."""
    lr_step_every: int = 30_000
    """Images seen between two drops of the schedule step."""
    lr_plateau_patience: int = 3
    """Validations without a new best that make one drop of the schedule plateau."""
    adam_weight_decay: float = 1e-2
    """Weight decay; biases and norms are not decayed."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    mixed_precision: Literal["no", "fp16", "bf16", "auto"] = "auto"
    """auto: bf16 where a measurement finds it faster, else no."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, some 30 % more time."""
    validation_every: int = 10_000
    """Images seen between two validations on held-out recordings."""
    early_stopping_patience: int = 8
    """Validations without a new best after which training stops; 0 never stops."""
    checkpointing_every: int = 20_000
    """Images seen between two checkpoints."""
    checkpoints_total_limit: int = 2
    """Checkpoints to keep."""
    resume_from_checkpoint: str | None = None
    """'latest', or the folder of a checkpoint."""
    logging_every: int = 1_000
    """Images seen between two lines of the log."""
    report_to: Literal["auto", "tensorboard", "wandb", "trackio", "none"] = "auto"
    """Tracker of accelerate, besides OUTPUT_DIR/log.jsonl; auto: tensorboard if it is installed, else none."""
    push_to_hub: bool = False
    """Push the result to the Hub when the training is over."""
    hub_model_id: str | None = None
    """Repository to push to, user/model. Default: the name of the output folder, under your own name."""
    hub_private_repo: bool = False
    """Make the repository private where it has to be made."""
    hub_revision: str | None = None
    """Branch to push to. Default: main."""
    hub_token: str | None = None
    """Token of the Hub. Default: HF_TOKEN, or what `hf auth login` keeps; neither is visible to other users."""


def make_preset(
    config_class: Callable[..., T],
    name: str,
    run: dict[str, Any],
    data_class: Callable[..., Any],
    **settings: Any,
) -> T:
    """A training script's settings of one preset; what only the user can know is left to the flags."""
    return config_class(
        preset=name,
        data=data_class(data=tyro.MISSING),
        run=RunConfig(output_dir=tyro.MISSING, **run),
        **settings,
    )


# What may differ between a run and its continuation: where things lie, how long, how often, and what is only looked at.
_FREE = ("preset", "data", "run", "first_stage", "initial_pipeline", "guidance_scale", "sample_every")


def fixed_settings(config: Any) -> dict[str, Any]:
    """The settings of a training script that a resumed run must share with the run that it continues; JSON-able."""
    return json.loads(
        json.dumps({name: value for name, value in asdict(config).items() if name not in _FREE}, default=str)
    )
