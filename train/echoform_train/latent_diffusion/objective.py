"""Objectives of the denoiser, v-prediction and flow matching: the training loss, and the sampler that fits it."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor, nn

from echoform_train.latent_diffusion.latents import Latents

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
        snr_gamma: Signal-to-noise ratio above which a noise level gets a smaller weight; 0 weighs all levels alike.
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
        """Add noise to latents.

        Args:
            latents: Standardised, float32 [B, D, h, w].
            noise: Standard normal, same shape.
            uniform: float32 [B] in [0, 1); becomes the noise level.

        Returns:
            Noised latents [B, D, h, w], timesteps [B], what the network should predict [B, D, h, w], and the weight of
            each sample in the loss [B].
        """
        timesteps = (uniform * self.steps).long()
        noised = self.noise.add_noise(latents, noise, timesteps)
        target = self.noise.get_velocity(latents, noise, timesteps)
        return noised, timesteps, target, self.weights.to(latents.device)[timesteps]

    def sampler(self) -> UniPCMultistepScheduler:
        """UniPC (Zhao et al., 2023) with the same noise schedule.

        With eight steps its images are closer to those of many steps than with DPM-Solver++ or DDIM.
        """
        return cast(UniPCMultistepScheduler, UniPCMultistepScheduler.from_config(self.noise.config))


class FlowMatching:
    """Rectified flow (Liu et al., 2023) with logit-normal noise levels (Esser et al., 2024)."""

    def __init__(self) -> None:
        self.scheduler = FlowMatchEulerDiscreteScheduler()
        self.steps = self.scheduler.config["num_train_timesteps"]

    def noised(self, latents: Tensor, noise: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Add noise to latents; the network learns the velocity, noise - latents.

        Arguments and results have the shapes and ranges of `VPrediction.noised`.
        """
        normal = torch.special.ndtri(uniform.double().clamp(1e-6, 1 - 1e-6)).to(uniform)
        sigma = torch.sigmoid(normal)
        level = sigma[:, None, None, None]
        weights = torch.ones_like(sigma)
        return (1 - level) * latents + level * noise, sigma * self.steps, noise - latents, weights

    def sampler(self) -> FlowMatchEulerDiscreteScheduler:
        """Scheduler that takes Euler steps along the flow."""
        return self.scheduler


def make_objective(
    name: Literal["v-prediction", "flow-matching"], beta_schedule: str, snr_gamma: float
) -> VPrediction | FlowMatching:
    """Make the objective from the flags of `train ldm`; flow matching ignores `beta_schedule` and `snr_gamma`."""
    return FlowMatching() if name == "flow-matching" else VPrediction(beta_schedule, snr_gamma)


def denoising_loss(
    model: nn.Module, objective: VPrediction | FlowMatching, latents: Latents, noise: Tensor, level: Tensor
) -> Tensor:
    """Weighted mean squared error of the network's prediction, a scalar on the device of the network.

    Args:
        model: The denoiser.
        objective: Adds the noise and gives the target of the network.
        latents: B standardised latents and their labels, on the CPU.
        noise: Standard normal, of the shape of the latents, on the CPU.
        level: Uniform in [0, 1), float32 [B], on the CPU; becomes the noise level.
    """
    device = next(model.parameters()).device
    noised, timesteps, target, weights = objective.noised(latents.values, noise, level)
    predicted = model(
        noised.to(device),
        timesteps.to(device),
        users=latents.users.to(device),
        conditions={name: labels.to(device) for name, labels in latents.conditions.items()},
    ).sample
    error = (predicted.float() - target.to(device)).square().mean(dim=(1, 2, 3))
    return (weights.to(device) * error).mean()
