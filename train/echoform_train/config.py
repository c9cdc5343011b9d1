"""Settings that every training script shares, and how presets and flags make them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which spectrograms to train on."""

    data: str
    """Folder of spectrograms, one folder a user, or the id of a data set on the Hub."""
    split_file: Path | None = None
    """Split to use, written there when there is none yet. Default: OUTPUT_DIR/split.json, or the first stage's."""
    resolution: int | None = None
    """Height and width to resize to, in pixels. Default: the size of the images."""
    colormap: str = "auto"
    """Colour map of the pictures: auto detects it, none keeps RGB, or its name."""
    gap_windows: int = 2
    """Windows left out on each side of a cut through a recording."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""


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
    lr_scheduler: Literal["cosine", "constant"] = "cosine"
    """What follows the warm-up."""
    lr_warmup_steps: int = 100
    """Optimizer steps of linear warm-up."""
    adam_weight_decay: float = 1e-2
    """Weight decay of AdamW."""
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
    report_to: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    """Tracker that accelerate writes to, beside OUTPUT_DIR/log.jsonl."""
