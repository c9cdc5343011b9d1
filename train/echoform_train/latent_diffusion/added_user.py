"""One more user for a trained pipeline: an embedding and low-rank updates, learned from a few images of that user.

Everything else is frozen. The embedding is what textual inversion learns (Gal et al. 2022, arXiv:2208.01618), the
updates are those of low-rank adaptation (Hu et al. 2021, arXiv:2106.09685).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.engine.batches import BatchOrder
from echoform_train.engine.errors import UserError
from echoform_train.engine.precision import autocast_dtype
from echoform_train.latent_diffusion.latents import Latents
from echoform_train.latent_diffusion.objective import BETA_SCHEDULES, FlowMatching, VPrediction, make_objective

_SNR_GAMMA = 5.0
_WARM_UP = 0.05
"""Share of the optimizer steps in which the learning rates rise."""
_LEVELS = 4
"""Noise levels per image at which the loss is measured before and after."""


@dataclass(frozen=True)
class LearningSettings:
    """How one more user is learned."""

    rank: int
    """Rank of the updates of linear layers; 0 learns the embedding alone."""
    max_train_images: int
    train_batch_size: int
    embedding_rate: float
    """Peak learning rate of the embedding."""
    low_rank_rate: float
    """Peak learning rate of the updates."""
    condition_dropout: float
    """Share of samples in which each condition is replaced by its null class."""
    seed: int


@dataclass(frozen=True)
class LearnedUser:
    """What was learned."""

    tensors: dict[str, Tensor]
    """What `DopplerUNet2DModel.check_user` describes."""
    loss_before: float
    """Denoising loss on the images with the mean of all known users."""
    loss: float
    """The same after training."""
    images_seen: int

    @property
    def parameters(self) -> int:
        """Number of learned numbers."""
        return sum(value.numel() for value in self.tensors.values())


def objective_of(pipeline: DiffusionPipeline) -> VPrediction | FlowMatching:
    """The objective that the denoiser of a pipeline was trained with.

    Raises:
        UserError: If it is none of ours.
    """
    predicted, scheduler = pipeline.config["prediction_type"], pipeline.scheduler.config
    if predicted == "flow_prediction":
        return make_objective("flow-matching", "cosine", 0)
    schedule = scheduler.get("beta_schedule")
    if predicted != "v_prediction" or schedule not in BETA_SCHEDULES or not scheduler.get("rescale_betas_zero_snr"):
        raise UserError(
            "a user can be added to a pipeline that `echoform train ldm` made, for v-prediction with zero terminal SNR "
            f"or flow matching; this one is for {predicted} with the noise schedule {schedule}"
        )
    return make_objective("v-prediction", schedule, _SNR_GAMMA)


def learn_user(pipeline: VQLDMDopplerPipeline, latents: Latents, settings: LearningSettings) -> LearnedUser:
    """Learn a user; the same arguments give the same numbers on the same machine.

    Args:
        pipeline: The pipeline, whose weights stay as they are.
        latents: Standardised latents of the images of the user and their conditions; the class ids are ignored.
        settings: How to learn.

    Raises:
        UserError: See `objective_of`.
        FloatingPointError: If the loss is not finite.
    """
    unet, objective = pipeline.unet, objective_of(pipeline)
    unet.requires_grad_(False).eval()
    tensors = _initial(unet, settings)
    before = _loss_on_all(unet, objective, latents, tensors)
    rates = {True: settings.embedding_rate, False: settings.low_rank_rate}
    groups = [{"params": [value], "peak": rates[name == "embedding"], "lr": 0.0} for name, value in tensors.items()]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    order = BatchOrder(len(latents), settings.seed)
    steps = max(1, settings.max_train_images // settings.train_batch_size)
    nulls = unet.null_conditions
    for step in range(steps):
        factor = min(1.0, (step + 1) / max(1, _WARM_UP * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        # All random numbers depend on seed and image alone.
        first = step * settings.train_batch_size
        draw = order.draw(range(first, first + settings.train_batch_size))
        batch, noise, level = latents.select(draw.indices), draw.randn(*latents.values.shape[1:]), draw.rand()
        conditions = {
            name: torch.where(draw.rand() < settings.condition_dropout, nulls[name], ids)
            for name, ids in batch.conditions.items()
        }
        batch = Latents(batch.values, batch.users, conditions)
        loss = _loss(unet, objective, batch, tensors, noise, level)
        if not bool(loss.isfinite()):
            raise FloatingPointError(f"loss is {loss.item()} after {first} images")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learned = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    after = _loss_on_all(unet, objective, latents, tensors)
    return LearnedUser(learned, before, after, steps * settings.train_batch_size)


def _initial(unet: DopplerUNet2DModel, settings: LearningSettings) -> dict[str, Tensor]:
    """The mean of all users as embedding, and updates that change nothing yet."""
    embeddings = unet.embed_users(torch.arange(unet.null_user, device=unet.device))
    tensors = {"embedding": embeddings.detach().float().mean(0)}
    generator = torch.Generator().manual_seed(settings.seed)
    if settings.rank:
        for name, layer in _linear_layers(unet):
            down = torch.randn(settings.rank, layer.in_features, generator=generator) / layer.in_features**0.5
            tensors[f"{name}.down"] = down.to(unet.device)
            tensors[f"{name}.up"] = torch.zeros(layer.out_features, settings.rank, device=unet.device)
    return {name: value.clone().requires_grad_(True) for name, value in tensors.items()}


def _linear_layers(unet: DopplerUNet2DModel) -> Iterator[tuple[str, nn.Linear]]:
    """Linear layers of the blocks: projections of the embedding, and those of attention."""
    for name, module in unet.named_modules():
        if isinstance(module, nn.Linear) and not name.startswith("time_embedding"):
            yield name, module


def _loss(
    unet: DopplerUNet2DModel,
    objective: VPrediction | FlowMatching,
    batch: Latents,
    tensors: dict[str, Tensor],
    noise: Tensor,
    level: Tensor,
) -> Tensor:
    """Weighted denoising loss of a batch, every sample of which is the new user; see `denoising_loss`."""
    noised, timesteps, target, weights = objective.noised(batch.values, noise, level)
    update = {name: value for name, value in tensors.items() if name != "embedding"}
    with unet.adapted([update] * len(batch)), _autocast(unet.device):
        predicted = unet(
            noised.to(unet.device),
            timesteps.to(unet.device),
            user_embeds=tensors["embedding"].expand(len(batch), -1),
            conditions={name: ids.to(unet.device) for name, ids in batch.conditions.items()},
        ).sample
    error = (predicted.float() - target.to(unet.device)).square().mean(dim=(1, 2, 3))
    return (weights.to(unet.device) * error).mean()


@torch.no_grad()
def _loss_on_all(
    unet: DopplerUNet2DModel, objective: VPrediction | FlowMatching, latents: Latents, tensors: dict[str, Tensor]
) -> float:
    """Mean loss over all images at evenly spread noise levels, with the same noise at each call."""
    total, samples = 0.0, torch.arange(len(latents) * _LEVELS)
    for part in samples.split(32):
        noise = [
            torch.randn(latents.values.shape[1:], generator=torch.Generator().manual_seed(int(sample)))
            for sample in part
        ]
        # Multiples of the golden ratio cover [0, 1) evenly for any number of samples.
        level = (part * 0.6180339887498949).frac().float()
        batch = latents.select(part % len(latents))
        total += float(_loss(unet, objective, batch, tensors, torch.stack(noise), level)) * len(part)
    return total / len(samples)


@contextmanager
def _autocast(device: torch.device) -> Iterator[None]:
    dtype = autocast_dtype(device)
    with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        yield
