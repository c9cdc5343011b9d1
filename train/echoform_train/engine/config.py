"""Settings that all trainers share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from echoform_train.engine.errors import UserError
from echoform_train.engine.licences import check_licence
from echoform_train.engine.limits import BatchSize, Length, LengthOrZero, LimitedSettings, Limits, Seed
from echoform_train.engine.schedules import Shape


@dataclass(frozen=True, kw_only=True)
class RunConfig(LimitedSettings):
    """Settings of a training run. Lengths and intervals are images seen, counted over all processes."""

    output_dir: Path
    """Output folder for checkpoints, log, sample sheets and the model."""
    seed: Seed = 0
    """Seed of initial weights, batch order and noise."""
    max_train_images: Length = 100_000
    """Length of the training in images seen."""
    train_batch_size: BatchSize = 16
    """Batch size per process and forward pass."""
    gradient_accumulation_steps: BatchSize = 1
    """Forward passes per optimizer step."""
    learning_rate: Annotated[float, Limits(0, 100, above_low=True)] = 2e-4
    """Learning rate at the end of the warm-up, the highest of the training."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """sgd has Nesterov momentum 0.9. adamw decays weights directly; adam and sgd add the decay to the gradient."""
    lr_scheduler: Shape = "cosine"
    """Learning rate after the warm-up. cosine: half a cosine down to zero. step: a drop every --lr-step-every images.
    plateau: a drop after every --lr-plateau-patience validations in a row without a new best."""
    lr_warmup_steps: LengthOrZero = 100
    """Optimizer steps of linear warm-up."""
    lr_decay: Annotated[float, Limits(0, 1, above_low=True)] = 0.3
    """Factor by which each drop multiplies the learning rate, with --lr-scheduler step or plateau."""
    lr_step_every: Length = 30_000
    """Images seen between two drops, with --lr-scheduler step."""
    lr_plateau_patience: Length = 3
    """Validations in a row without a new best before a drop, with --lr-scheduler plateau."""
    adam_weight_decay: Annotated[float, Limits(0, 100)] = 1e-2
    """Weight decay of every optimizer; biases and norms are not decayed."""
    max_grad_norm: Annotated[float, Limits(0, 1e9, above_low=True)] = 1.0
    """Gradients are clipped to this L2 norm."""
    mixed_precision: Literal["no", "fp16", "bf16", "auto"] = "auto"
    """auto: bf16 if the processor has instructions for it (on a CPU: AMX or AVX512_BF16), else no."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about 30 % more time."""
    validation_every: Length = 10_000
    """Images seen between two validations on held-out recordings."""
    early_stopping_patience: LengthOrZero = 8
    """Validations in a row without a new best before the training stops; 0 never stops early."""
    checkpointing_every: Length = 20_000
    """Images seen between two checkpoints."""
    checkpoints_total_limit: Length = 2
    """Number of newest checkpoints to keep."""
    resume_from_checkpoint: str | None = None
    """'latest', or the folder of a checkpoint, to continue an interrupted training. Default: train from the start."""
    logging_every: Length = 1_000
    """Images seen between two entries of the log."""
    report_to: Literal["auto", "tensorboard", "wandb", "trackio", "none"] = "auto"
    """Tracker of accelerate, besides OUTPUT_DIR/log.jsonl; auto: tensorboard if it is installed, else none."""
    push_to_hub: str | None = None
    """Hub repository, user/name, to push the trained model to when the training is over; checked before it begins."""
    private: bool = False
    """Make that repository private if it is created."""
    revision: str | None = None
    """Branch to push to. Default: main."""
    token: str | None = None
    """Hub token. Default: HF_TOKEN, or the token of `hf auth login`, which other users of the machine cannot see."""

    license: str | None = None
    """Licence in the card of the model, by its identifier on the Hub, such as cc-by-4.0. Default: the card says that
    none is named."""
    people: Literal["simulated", "recorded"] | None = None
    """Whether the people in the data are simulated or recorded, for the card. Default: the card carries the same
    warning as for recorded people."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_licence(self.license)
        for name in ("private", "revision", "token"):
            if getattr(self, name) and self.push_to_hub is None:
                raise UserError(f"--{name} is for the Hub: it must go with --push-to-hub")
