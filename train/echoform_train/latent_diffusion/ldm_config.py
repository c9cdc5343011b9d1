"""Settings of the training of the diffusion model, and their presets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from echoform_train.data.config import DataConfig
from echoform_train.engine.config import RunConfig
from echoform_train.engine.limits import (
    ChannelsOfLevels,
    Decay,
    Dropout,
    Heads,
    Layers,
    Length,
    LimitedSettings,
    Limits,
    Share,
)
from echoform_train.engine.presets import make_preset


@dataclass(frozen=True, kw_only=True)
class Config(LimitedSettings):
    """Train the diffusion model that makes new spectrograms of a chosen user, and export the pipeline."""

    preset: Literal["cpu", "6gb", "16gb", "256", "paper"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    first_stage: Literal["none"] | Path = tyro.MISSING
    """Output folder of `echoform train vq-vae` or `echoform train kl-vae`; none generates the pixels themselves, as
    cosine coefficients of blocks of pixels, which keeps their texture."""
    block_size: Annotated[int, Limits(1, 32)] = 4
    """Side of a block with --first-stage none, pixels; latents have one pixel per block."""
    whitening: Share = 0.5
    """How far --first-stage none evens out the strengths of coarse and fine coefficients: 1 makes them equal, so that
    fine texture counts as much as coarse shape; 0 leaves them as they are."""
    initial_pipeline: Path | None = None
    """Exported pipeline of other users, with the same first stage, to start from instead of random weights."""
    data: tyro.conf.OmitArgPrefixes[DataConfig]
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    block_out_channels: ChannelsOfLevels = (128, 256, 256)
    """Channels of each level of the U-Net, highest resolution first."""
    attention_types: tuple[Literal["none", "window", "axial"], ...] = ("window", "axial", "axial")
    """Attention of each level."""
    layers_per_block: Layers = 2
    """Residual blocks per level."""
    num_attention_heads: Heads = 8
    """Heads of each attention."""
    window_size: Annotated[int, Limits(1, 1024)] = 8
    """Side of an attention window, in latent pixels; where such windows do not tile the latents, the next smaller side
    that does."""
    dropout: Dropout = 0.1
    """Share of features that the residual blocks drop in training."""
    conditioning: Literal["embedding", "cross-attention"] = "embedding"
    """How user and conditions enter the U-Net: added to the embedding of the time step, or as learned tokens that it
    attends to."""

    objective: Literal["v-prediction", "flow-matching"] = "v-prediction"
    """What the network learns to predict."""
    beta_schedule: Literal["linear", "cosine", "squaredcos_cap_v2"] = "cosine"
    """Noise schedule of v-prediction; cosine and squaredcos_cap_v2 are the same (Nichol and Dhariwal, 2021)."""
    snr_gamma: Annotated[float | None, Limits(0, 1e6)] = None
    """Signal-to-noise ratio above which v-prediction gives a noise level less weight (min-SNR, Hang et al., 2023); 0
    weighs all levels alike. Default: 5, and 0 with --first-stage none."""
    label_dropout: Share = 0.1
    """Share of samples whose user (and, independently, each condition) is replaced by its null class, for guidance."""
    ema_decay: Decay = 0.999
    """Decay of the moving average of the weights at each optimizer step; the average is validated and exported."""
    user_rate_factor: Annotated[float, Limits(0, 1e6)] = 1.0
    """Factor of the learning rate for the embeddings of the users. Use about 50 with --initial-pipeline, because all
    other weights then need little training."""
    guidance_scale: Annotated[float, Limits(0, 1000)] = 1.5
    """Guidance scale of the sample sheets."""
    sample_every: Length = 50_000
    """Images seen between two sample sheets."""

    @property
    def min_snr_gamma(self) -> float:
        """`snr_gamma`, or its default for the first stage."""
        if self.snr_gamma is not None:
            return self.snr_gamma
        return 0.0 if self.first_stage == "none" else 5.0


_GPU_RUN: dict[str, Any] = {"max_train_images": 2_000_000, "learning_rate": 3e-4, "lr_warmup_steps": 500}
_GPU_RUN |= {"validation_every": 50_000, "checkpointing_every": 100_000}
_SMALL_GPU_RUN = _GPU_RUN | {"gradient_accumulation_steps": 4, "gradient_checkpointing": True}
_CPU_RUN: dict[str, Any] = {"max_train_images": 40_000, "learning_rate": 1e-3, "validation_every": 4_000}
_CPU_MODEL: dict[str, Any] = {"block_out_channels": (64, 128, 128), "layers_per_block": 1, "num_attention_heads": 4}
_LARGE_MODEL: dict[str, Any] = {
    "block_out_channels": (256, 512, 768, 1024),
    "attention_types": ("window", "axial", "axial", "axial"),
    "num_attention_heads": 16,
}
PRESETS = {
    name: make_preset(Config, name, run, DataConfig, **model)
    for name, run, model in (
        ("cpu", _CPU_RUN, _CPU_MODEL),
        ("6gb", _SMALL_GPU_RUN | {"train_batch_size": 16}, {}),
        ("16gb", _GPU_RUN | {"train_batch_size": 64}, {}),
        ("256", _GPU_RUN | {"train_batch_size": 128}, {}),
        ("paper", _GPU_RUN | {"train_batch_size": 64}, _LARGE_MODEL),
    )
}
