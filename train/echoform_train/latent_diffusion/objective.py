"""What the denoiser learns: v-prediction or flow matching, as a training loss and as the sampler that fits it."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor

BETA_SCHEDULES: dict[str, Any] = {
    "linear": "linear",
    "cosine": "squaredcos_cap_v2",
    "squaredcos_cap_v2": "squaredcos_cap_v2",
}


class VPrediction:
    """Velocity prediction (Salimans and Ho, 2022) with min-SNR weights (Hang et al., 2023).

    The schedule ends in pure noise (zero terminal SNR, Lin et al., 2024), which is where sampling starts.

    Args:
        beta_schedule: "linear", "cosine" or "squaredcos_cap_v2"; the last two are one schedule.
        snr_gamma: Signal-to-noise ratio above which a noise level weighs less; 0 weighs all alike.
    """

    def __init__(self, beta_schedule: str, snr_gamma: float) -> None:
        self.noise = DDPMScheduler(
            beta_schedule=BETA_SCHEDULES[beta_schedule],
            prediction_type="v_prediction",
            timestep_spacing="trailing",
            rescale_betas_zero_snr=True,
            clip_sample=False,
        )
        self.steps = self.noise.config["num_train_timesteps"]
        gamma = snr_gamma or float("inf")
        snr = compute_snr(self.noise, torch.arange(self.steps))
        self.weights = snr.clamp(max=gamma) / (snr + 1) if snr_gamma else torch.ones(self.steps)

    def noised(self, latents: Tensor, noise: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Noised latents, timesteps, the target of the network, and the weight of each sample.

        Args:
            latents: Standardised, float32 [B, D, h, w].
            noise: Normal, the same shape.
            uniform: float32 [B] in [0, 1), which becomes the noise level.
        """
        timesteps = (uniform * self.steps).long()
        noised = self.noise.add_noise(latents, noise, timesteps)
        target = self.noise.get_velocity(latents, noise, timesteps)
        return noised, timesteps, target, self.weights.to(latents.device)[timesteps]

    def sampler(self) -> UniPCMultistepScheduler:
        """UniPC (Zhao et al., 2023) over the same noise: in eight steps nearer to many than DPM-Solver++ or DDIM."""
        return cast(UniPCMultistepScheduler, UniPCMultistepScheduler.from_config(self.noise.config))


class FlowMatching:
    """Rectified flow (Liu et al., 2023) with logit-normal noise levels (Esser et al., 2024)."""

    def __init__(self) -> None:
        self.scheduler = FlowMatchEulerDiscreteScheduler()
        self.steps = self.scheduler.config["num_train_timesteps"]

    def noised(self, latents: Tensor, noise: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `VPrediction.noised`; the network learns the velocity noise - latents."""
        normal = torch.special.ndtri(uniform.double().clamp(1e-6, 1 - 1e-6)).to(uniform)
        sigma = torch.sigmoid(normal)
        level = sigma[:, None, None, None]
        weights = torch.ones_like(sigma)
        return (1 - level) * latents + level * noise, sigma * self.steps, noise - latents, weights

    def sampler(self) -> FlowMatchEulerDiscreteScheduler:
        """Euler steps along the flow."""
        return self.scheduler


def make_objective(
    name: Literal["v-prediction", "flow-matching"], beta_schedule: str, snr_gamma: float
) -> VPrediction | FlowMatching:
    """The objective of a training script's flags."""
    return FlowMatching() if name == "flow-matching" else VPrediction(beta_schedule, snr_gamma)
