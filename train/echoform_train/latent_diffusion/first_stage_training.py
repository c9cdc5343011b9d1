"""What the trainings of all first stages share: settings, loss of a reconstruction, validation, and what is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F

from echoform_train.data.config import DataConfig, data_facts, load_data
from echoform_train.data.painting import save_sheet
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, to_model
from echoform_train.engine.config import RunConfig, fixed_settings, make_preset
from echoform_train.engine.files import FACTS, FIRST_STAGE, SPLIT
from echoform_train.engine.processes import summed
from echoform_train.engine.provenance import provenance
from echoform_train.engine.run import Draw, Run
from echoform_train.engine.training_result import TrainingResult
from echoform_train.latent_diffusion.first_stage import (
    FirstStageModel,
    decode_to_pixels,
    encode_pixels,
    images_to_latents,
)
from echoform_train.latent_diffusion.losses import PatchDiscriminator, discriminator_loss, share_limit, spectral_loss
from echoform_train.publishing.push import check_before_training, push_after_training
from echoform_train.scoring.perceptual import PerceptualLoss

NORM_GROUPS = 8  # as good as the usual 32, and cheaper on CPUs

T = TypeVar("T", bound="FirstStageConfig")


@dataclass(frozen=True, kw_only=True)
class FirstStageConfig:
    """Settings that every first stage has."""

    preset: Literal["cpu", "6gb", "16gb", "256", "paper"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    data: tyro.conf.OmitArgPrefixes[DataConfig]
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    block_out_channels: tuple[int, ...] = (32, 64, 128, 256)
    """Width of each level."""
    n_layers: int | None = None
    """Levels, each but the last halving the picture: 4 give f8. Default: one a width; more repeat the last width."""
    layers_per_block: int = 1
    """Residual blocks a level."""
    latent_channels: int = 4
    """Channels of the latents."""
    mid_block_attention: bool = False
    """Full self-attention at the lowest level."""

    l1_weight: float = 1.0
    """Mean absolute error."""
    l2_weight: float = 1.0
    """Mean squared error."""
    spectral_weight: float = 0.1
    """Difference of log-amplitude spectra."""
    spectral_max_share: float = 0.3
    """Most of the loss that the spectral part may be, in (0, 1]; beyond, it is weighted down. 1 sets no limit."""
    lpips_weight: float = 0.0
    """Perceptual distance; needs torchvision's AlexNet weights."""
    adversarial_weight: float = 0.0
    """Hinge loss of a patch discriminator."""


def make_presets(config_class: Callable[..., T], **cpu_settings: Any) -> dict[str, T]:
    """PRESETS of a first stage's training script, by name; `cpu_settings` are its own of the preset `cpu`."""
    gpu: dict[str, Any] = {"max_train_images": 600_000, "learning_rate": 3e-4, "lr_warmup_steps": 500}
    small_gpu = gpu | {"train_batch_size": 4, "gradient_accumulation_steps": 4}
    cpu = {"max_train_images": 40_000, "learning_rate": 1e-3, "validation_every": 4_000}
    large: dict[str, Any] = {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "mid_block_attention": True,
    }

    def preset(name: str, run: dict[str, Any], **settings: Any) -> T:
        return make_preset(config_class, name, run, DataConfig, **settings)

    return {
        "cpu": preset("cpu", cpu, block_out_channels=(16, 32, 64), **cpu_settings),
        "6gb": preset("6gb", small_gpu, lpips_weight=0.1),
        "16gb": preset("16gb", gpu | {"train_batch_size": 16}, lpips_weight=0.1),
        "256": preset("256", gpu | {"train_batch_size": 32}, lpips_weight=0.1),
        "paper": preset("paper", gpu | {"train_batch_size": 32}, lpips_weight=0.1, **large),
    }


def stock_settings(config: FirstStageConfig, channels: int) -> dict[str, Any]:
    """What `VQModel` and `AutoencoderKL` of diffusers are both built from, for images of `channels` channels."""
    widths = config.block_out_channels
    levels = len(widths) if config.n_layers is None else config.n_layers
    widths = (widths + (widths[-1],) * levels)[:levels]
    return {
        "in_channels": channels,
        "out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": widths,
        "layers_per_block": config.layers_per_block,
        "latent_channels": config.latent_channels,
        "norm_num_groups": math.gcd(NORM_GROUPS, *widths),
        "scaling_factor": 1.0,  # latents are standardised per channel by statistics that travel in the pipeline
        "mid_block_add_attention": config.mid_block_attention,
    }


def load(config: FirstStageConfig) -> SpectrogramData:
    """The spectrograms that the settings name; the split is kept in OUTPUT_DIR/split.json."""
    split_file = config.data.split_file or config.run.output_dir / SPLIT
    data = load_data(config.data, split_file, config.data.resolution, config.run.seed)
    data.split.save(config.run.output_dir / SPLIT)
    return data


def start(config: FirstStageConfig, data: SpectrogramData) -> Run:
    """The run, with torch seeded for the weights.

    Raises:
        ValueError: If the limit of the spectral share is out of range.
        PushError: If the result could not be pushed where it should be.
    """
    if not 0 < config.spectral_max_share <= 1:
        raise ValueError(f"--spectral-max-share must be in (0, 1], got {config.spectral_max_share}")
    run = Run(config.run, len(data.train), fixed_settings(config))
    if run.is_main:
        check_before_training(config.run)
    torch.manual_seed(config.run.seed)
    return run


@torch.no_grad()
def latent_shape(model: FirstStageModel, channels: int, resolution: int) -> tuple[int, int, int]:
    """Shape (D, h, w) of one image's latents, measured on the model."""
    parameter = next(model.parameters())
    image = torch.zeros(1, channels, resolution, resolution, device=parameter.device, dtype=parameter.dtype)
    _, dim, height, width = images_to_latents(model, image).shape
    return dim, height, width


def describe(name: str, model: FirstStageModel, data: SpectrogramData) -> str:
    """A line on what is trained on how much."""
    channels, resolution = data.train.pixels.shape[1], data.train.pixels.shape[-1]
    shape = latent_shape(model, channels, resolution)
    return (
        f"{name} of {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters: "
        f"{channels}x{resolution}x{resolution} -> {shape[0]}x{shape[1]}x{shape[2]}, {len(data.train)} images"
    )


class Learner:
    """What learns in the training of a first stage: the model, and the discriminator where there is one.

    Args:
        config: Settings.
        run: The run.
        wrapper: Module whose forward pass makes the reconstruction, so that wrappers for many processes see it.
        channels: Of the images.
    """

    def __init__(self, config: FirstStageConfig, run: Run, wrapper: nn.Module, channels: int) -> None:
        self.config, self.run = config, run
        wrapper.to(run.device, memory_format=run.memory_format)  # pyright: ignore[reportCallIssue]
        self.model, self.optimizer = run.accelerator.prepare(wrapper, run.optimizer(wrapper))
        self.perceptual = PerceptualLoss().to(run.device) if config.lpips_weight else None
        self.discriminator: nn.Module | None = None
        if config.adversarial_weight:
            discriminator = PatchDiscriminator(channels).to(run.device)
            self.discriminator, self.discriminator_optimizer = run.accelerator.prepare(
                discriminator, run.optimizer(discriminator)
            )

    def images(self, images: Spectrograms, draw: Draw) -> Tensor:
        """The images of a draw in model range, float32 [B, C, H, W], where the model computes."""
        return to_model(images.pixels[draw.indices]).to(self.run.device, memory_format=self.run.memory_format)

    def descend(self, images: Tensor, reconstruction: Tensor, own_parts: Mapping[str, Tensor]) -> None:
        """Backward passes of the model, then of the discriminator; every weighted part of the loss is logged.

        Args:
            images: float32 [B, C, H, W] in [-1, 1].
            reconstruction: What the model makes of them.
            own_parts: Weighted losses that only this kind of first stage has, by name.
        """
        config = self.config
        parts = {
            "l1": config.l1_weight * F.l1_loss(reconstruction, images),
            "l2": config.l2_weight * F.mse_loss(reconstruction, images),
            **own_parts,
        }
        if self.perceptual is not None:
            parts["lpips"] = config.lpips_weight * self.perceptual(reconstruction, images)
        parts["spectral"] = self._limited(config.spectral_weight * spectral_loss(reconstruction, images), parts)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(False)
            parts["adversarial"] = -config.adversarial_weight * self.discriminator(reconstruction).mean()
        loss = torch.stack(list(parts.values())).sum()
        self.run.collect(loss=loss, **parts)
        self.run.descend(loss, self.optimizer, self.model)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
            loss = discriminator_loss(self.discriminator(images), self.discriminator(reconstruction.detach()))
            self.run.collect(discriminator=loss)
            self.run.descend(loss, self.discriminator_optimizer, self.discriminator)

    def _limited(self, spectral: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """The spectral part, weighted down where it would be too much of the loss.

        The adversarial part is not counted in: it may have either sign. Losses of all processes count together, so that
        many descend as one does.
        """
        others = torch.stack(list(parts.values())).sum()
        everywhere = summed(torch.stack([spectral, others]).detach(), self.run.accelerator)
        factor = share_limit(everywhere[0], everywhere[1], self.config.spectral_max_share)
        limited = factor * spectral
        self.run.collect(spectral_share=factor * everywhere[0] / (factor * everywhere[0] + everywhere[1]))
        return limited

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """By the name under which a checkpoint keeps each."""
        own = {"optimizer": self.optimizer}
        return own if self.discriminator is None else own | {"discriminator_optimizer": self.discriminator_optimizer}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint keeps beside the model."""
        if self.discriminator is None:
            return {}
        return {"discriminator": self.run.accelerator.unwrap_model(self.discriminator).state_dict()}

    def restore(self, groups: Mapping[str, dict[str, Tensor]]) -> None:
        """Inverse of `tensors`."""
        if self.discriminator is not None:
            self.run.accelerator.unwrap_model(self.discriminator).load_state_dict(groups["discriminator"])


@torch.no_grad()
def validate(images: Spectrograms, run: Run, reconstruct: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Held-out reconstruction, shared among processes: PSNR in dB over the full range, and L1.

    Args:
        images: Held-out ones.
        run: The run.
        reconstruct: float32 [B, C, H, W] in [-1, 1] to the same, as whoever loads the model does it, in float32.
    """
    error = torch.zeros(3, device=run.device, dtype=torch.float64)  # squared and absolute error, pixels
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    for part in torch.arange(rank, len(images), world).split(16):
        batch = to_model(images.pixels[part]).to(run.device, memory_format=run.memory_format)
        difference = reconstruct(batch).clamp(-1, 1) - batch
        error += torch.stack([difference.square().sum(), difference.abs().sum(), torch.tensor(batch.numel())]).to(error)
    squared, absolute, pixels = summed(error, run.accelerator).tolist()
    return {"psnr": 10 * math.log10(4 / (squared / pixels)), "l1": absolute / pixels}


def keep(
    model: FirstStageModel,
    run: Run,
    data: SpectrogramData,
    scores: dict[str, float],
    facts: Mapping[str, Any],
    *,
    candidate: bool = True,
    quantize: bool = True,
) -> None:
    """Log the scores of a validation and draw a sheet; keep model and facts where no earlier one was as good.

    Args:
        model: As it was validated.
        run: The run.
        data: What it trains on.
        scores: Of `validate`.
        facts: That only this kind of first stage has.
        candidate: False keeps nothing.
        quantize: As of `first_stage.decode`.
    """
    run.log({f"validation/{name}": value for name, value in scores.items()})
    output_dir = run.config.output_dir
    if candidate and run.judge_best(-scores["psnr"]) and run.is_main:
        model.save_pretrained(output_dir / FIRST_STAGE)
        channels, resolution = data.train.pixels.shape[1], data.train.pixels.shape[-1]
        shared = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "latent_shape": list(latent_shape(model, channels, resolution)),
            "data": data_facts(data),
            "precision": run.accelerator.mixed_precision,
            "images_a_step": run.images_a_step,
            **provenance(),
            "validation": scores,
            "best_after": run.seen,
        }
        (output_dir / FACTS).write_text(json.dumps(dict(facts) | shared, indent=1))
    if run.is_main:
        _save_sheet(model, data, output_dir / "reconstructions" / f"images-{run.seen:09d}.png", quantize)


def finish(run: Run) -> TrainingResult:
    """Complete the facts of the run, push where the settings ask for it, and return the result."""
    result = run.finish(run.config.output_dir)
    facts = result.facts
    run.accelerator.print(
        f"best after {facts['best_after']} images: "
        + ", ".join(f"{name} {value:.4g}" for name, value in facts["validation"].items())
    )
    if run.is_main:
        push_after_training(run.config, run.config.output_dir)
    return result


def _save_sheet(model: FirstStageModel, data: SpectrogramData, path: Path, quantize: bool) -> None:
    """Held-out spectrograms above their reconstructions, one column a user."""
    first = [int((data.validation.users == user).nonzero()[0]) for user in sorted(set(data.validation.users.tolist()))]
    pixels = data.validation.pixels[first[:16]]
    both = torch.cat([pixels, decode_to_pixels(model, encode_pixels(model, pixels), quantize=quantize)])
    save_sheet(both, len(pixels), data.colormap, path)
