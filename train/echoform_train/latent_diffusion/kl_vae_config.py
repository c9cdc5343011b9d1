"""Settings of the training of a first stage without a codebook, and their presets."""

from __future__ import annotations

from dataclasses import dataclass

from echoform_train.engine.limits import Decay, Weight
from echoform_train.latent_diffusion.first_stage_config import FirstStageConfig, make_presets


@dataclass(frozen=True, kw_only=True)
class Config(FirstStageConfig):
    """Train the variational autoencoder that turns spectrograms into small continuous latents."""

    kl_weight: Weight = 1e-4
    """Weight of the KL divergence between the latents' distribution and a standard normal one, in nats per latent
    number."""
    ema_decay: Decay = 0.999
    """Decay of the moving average of the weights at each optimizer step; the average is validated and saved."""


PRESETS = make_presets(Config)
