"""Settings of the distillation of a pipeline, and their presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from echoform_train.engine.config import RunConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.limits import Decay, LimitedSettings, Limits
from echoform_train.latent_diffusion.sampling_limits import check_sampling


@dataclass(frozen=True, kw_only=True)
class Config(LimitedSettings):
    """Make a pipeline that needs few sampling steps from one that needs many, by learning from its images."""

    preset: Literal["cpu", "gpu"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    pipeline: str = tyro.MISSING
    """The teacher: folder of an exported pipeline, or its id on the Hub."""
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    steps: Annotated[int, Limits(1, 1000)] = 4
    """Sampling steps of the new pipeline."""
    teacher_steps: Annotated[int, Limits(2, 1000)] = 32
    """Sampling steps of the teacher."""
    guidance_scale: Annotated[float, Limits(0, 1000)] = 1.0
    """Guidance scale of the teacher. The new pipeline learns its effect and needs no second forward pass for it."""
    ema_decay: Decay = 0.99
    """Decay of the moving average of the student's weights at each optimizer step; the average is validated and
    exported."""

    def __post_init__(self) -> None:
        check_sampling(self.teacher_steps, self.guidance_scale, "--teacher-steps")
        if not 1 <= self.steps < self.teacher_steps:
            raise UserError(
                f"--steps must be at least 1 and less than --teacher-steps, got {self.steps} and {self.teacher_steps}"
            )
        super().__post_init__()


PRESETS = {
    "cpu": Config(
        preset="cpu",
        run=RunConfig(
            output_dir=tyro.MISSING,
            max_train_images=2_000,
            learning_rate=2e-5,
            lr_warmup_steps=20,
            validation_every=250,
            checkpointing_every=500,
            logging_every=200,
            early_stopping_patience=0,
        ),
    ),
    "gpu": Config(
        preset="gpu",
        run=RunConfig(
            output_dir=tyro.MISSING,
            max_train_images=50_000,
            train_batch_size=64,
            learning_rate=2e-5,
            early_stopping_patience=0,
        ),
    ),
}
