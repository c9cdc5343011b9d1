"""The calls that `stock.py` times: training steps, forward passes and whole images, of our models and of stock ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import lpips
import torch
from diffusers import DDPMScheduler, UNet2DModel, VQModel
from diffusers.models.autoencoders.vae import DecoderOutput
from in_turns import Maker
from tables import RESULTS
from torch import Tensor, nn
from torch.nn import functional as F
from untrained import untrained_pipeline, untrained_unet

from echoform_train.data.config import DataConfig
from echoform_train.data.spectrograms import SpectrogramData, to_model
from echoform_train.engine.ema import make_ema
from echoform_train.engine.learner import Learner
from echoform_train.engine.resume import resume_settings
from echoform_train.engine.run import Run
from echoform_train.latent_diffusion.codebook import EMACodebook, look_up
from echoform_train.latent_diffusion.first_stage import encode_pixels
from echoform_train.latent_diffusion.first_stage_training import FirstStageLearner
from echoform_train.latent_diffusion.latents import Latents, drop_labels, pipeline_facts
from echoform_train.latent_diffusion.objective import denoising_loss, make_objective
from echoform_train.scoring.perceptual import PerceptualLoss
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae

Part = Literal["vq", "denoiser", "decoding", "sampling"]
Model = TypeVar("Model", bound=nn.Module)
RESOLUTION = 256
USERS = 31
STOCK_STEPS = 50
STOCK_LATENTS = (3, 64, 64)
OURS = ((torch.float32, 8, 1.0), (torch.bfloat16, 8, 1.0), (torch.bfloat16, 8, 1.5), (torch.bfloat16, 4, 1.0))
"""How our pipeline is sampled: precision, steps and guidance."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to measure."""

    output: Path = RESULTS / "stock.json"
    """JSON file to write."""
    parts: tuple[Part, ...] = ("vq", "denoiser", "decoding", "sampling")
    """Parts of the table to measure."""
    preset: Literal["256", "16gb", "6gb", "paper"] = "256"
    """Preset of both training scripts, for our side."""
    batch_size: int = 4
    """Images per call, on both sides."""
    repeats: int = 5
    """Timings of each call, after one that warms up."""
    threads: int = 2
    """Threads of torch, on a CPU."""
    only_ours: bool = False
    """Leave out the stock side, which takes minutes per repeat on a CPU."""


class UntrainedPerceptualLoss(PerceptualLoss):
    """A perceptual loss that costs as much as the real one, which would download its backbone."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips calls torchvision in a deprecated way
            self.distance = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        self.requires_grad_(False).eval()


def vq_makers(config: Config, data: SpectrogramData, folder: Path) -> dict[str, Maker]:
    """One optimizer step of each: ours as in the preset, ours without its perceptual loss, and stock."""
    return {
        "ours without LPIPS": lambda: our_vq_step(config, data, folder / "plain", perceptual=False),
        "ours": lambda: our_vq_step(config, data, folder / "perceptual", perceptual=True),
        "stock": lambda: stock_vq_step(config),
    }


def our_vq_step(config: Config, data: SpectrogramData, folder: Path, *, perceptual: bool) -> Callable[[], None]:
    """A step of `train vq-vae` after its codebook started, without log, validation and checkpoints."""
    preset = train_vq_vae.PRESETS[config.preset]
    settings = _settings(preset, config, folder, lpips_weight=0.0)
    run = Run(settings.run, len(data.train), resume_settings(settings))
    vqvae = train_vq_vae.build_model(settings, data.train.pixels.shape[1])
    vqvae.quantize.embedding.weight.requires_grad_(False)
    learner = FirstStageLearner(settings, run, "vqvae", vqvae, train_vq_vae.QuantizedAutoencoder(vqvae))
    if perceptual:
        learner.config = replace(settings, lpips_weight=preset.lpips_weight)
        learner.perceptual = UntrainedPerceptualLoss().to(run.device)
    codebook = EMACodebook(vqvae.quantize.embedding.weight, run.accelerator, decay=settings.codebook_decay)

    def step() -> None:
        for draw in run.draws():
            images = to_model(data.train.pixels[draw.indices]).to(run.device, memory_format=run.memory_format)
            with run.accelerator.accumulate(learner.model):
                reconstruction, latents, codes = learner.model(images, True)
                commitment = settings.commitment_weight * F.mse_loss(latents, look_up(codes, codebook.weight))
                learner.descend_reconstruction(images, reconstruction, commitment=commitment)
                codebook.update(latents, codes, run.generator())

    return step


def stock_vq_step(config: Config) -> Callable[[], None]:
    vqvae = _placed(stock_vqvae())
    optimizer = torch.optim.AdamW(vqvae.parameters(), 1e-4)
    images = _normal(config.batch_size, 3, RESOLUTION, RESOLUTION)

    def step() -> None:
        output = cast(DecoderOutput, vqvae(images))
        loss = F.mse_loss(output.sample, images) + cast(Tensor, output.commit_loss).mean()
        _descend(loss, optimizer)

    return step


def stock_vqvae() -> VQModel:
    return VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(64, 128, 256),
        num_vq_embeddings=512,
    )


def denoiser_makers(config: Config, data: SpectrogramData, folder: Path) -> dict[str, Maker]:
    """A training step and a forward pass as in sampling, of each side."""
    return {
        "ours, forward, float32": lambda: our_forward(config, data, torch.float32),
        "ours, forward, bfloat16": lambda: our_forward(config, data, torch.bfloat16),
        "ours, training step": lambda: our_denoiser_step(config, data, folder),
        "stock, forward": lambda: stock_forward(config),
        "stock, training step": lambda: stock_denoiser_step(config),
    }


def our_denoiser_step(config: Config, data: SpectrogramData, folder: Path) -> Callable[[], None]:
    """A step of `train ldm`, without log, validation and checkpoints."""
    settings = _settings(train_ldm.PRESETS[config.preset], config, folder, first_stage=folder)
    # Latents of one batch, repeated to the size of the data set.
    run = Run(settings.run, len(data.train), resume_settings(settings))
    vqvae = train_vq_vae.build_model(train_vq_vae.PRESETS[config.preset], data.train.pixels.shape[1])
    values = encode_pixels(vqvae, data.train.pixels[: config.batch_size])
    values = values.repeat(-(-len(data.train) // len(values)), 1, 1, 1)[: len(data.train)]
    latents = Latents(values, data.train.users, {})
    _, dim, height, width = values.shape
    facts = pipeline_facts(data, torch.zeros(dim), torch.ones(dim))
    # Model, average and objective as the training script builds them.
    unet = train_ldm.build_unet(settings, (dim, height, width), facts).to(run.device, memory_format=run.memory_format)
    learner = Learner(run, "unet", unet)
    ema = make_ema(unet, settings.ema_decay)
    objective = make_objective(settings.objective, settings.beta_schedule, settings.min_snr_gamma)

    def step() -> None:
        for draw in run.draws():
            batch = latents.select(draw.indices)
            noise, level = draw.randn(*batch.values.shape[1:]), draw.rand()
            batch = drop_labels(batch, draw, settings.label_dropout, unet)
            with run.accelerator.accumulate(learner.model):
                learner.descend(denoising_loss(learner.model, objective, batch, noise, level))
        ema.update_parameters(unet)

    return step


def our_forward(config: Config, data: SpectrogramData, dtype: torch.dtype) -> Callable[[], Any]:
    shape = _our_latents(config)
    unet = _placed(untrained_unet(train_ldm.PRESETS[config.preset], data, shape), dtype).eval()
    unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    latents, users = _normal(config.batch_size, *shape).to(dtype), _users(config)
    return torch.no_grad()(lambda: unet(latents, 500, users=users))


def stock_unet() -> UNet2DModel:
    return UNet2DModel(
        sample_size=STOCK_LATENTS[-1],
        block_out_channels=(256, 512, 768, 1024),
        layers_per_block=2,
        attention_head_dim=16,
        num_class_embeds=USERS,
    )


def stock_forward(config: Config) -> Callable[[], Any]:
    unet = _placed(stock_unet()).eval()
    latents, users = _normal(config.batch_size, *STOCK_LATENTS), _users(config)
    return torch.no_grad()(lambda: unet(latents, 500, class_labels=users))


def stock_denoiser_step(config: Config) -> Callable[[], None]:
    unet = _placed(stock_unet())
    optimizer, noising = torch.optim.AdamW(unet.parameters(), 1e-4), DDPMScheduler()
    latents, users = _normal(config.batch_size, *STOCK_LATENTS), _users(config)

    def step() -> None:
        noise = torch.randn_like(latents)
        timesteps = torch.randint(1000, (config.batch_size,), device=latents.device)
        noised = noising.add_noise(latents, noise, cast(torch.IntTensor, timesteps))
        _descend(F.mse_loss(unet(noised, timesteps, class_labels=users).sample, noise), optimizer)

    return step


def decoding_makers(config: Config, data: SpectrogramData, folder: Path) -> dict[str, Maker]:
    """Decoding of latents to images."""

    def ours(dtype: torch.dtype) -> Callable[[], Any]:
        pipeline = untrained_pipeline(config.preset, data)
        _placed(pipeline.vqvae, dtype).to(memory_format=torch.channels_last)
        latents = _normal(config.batch_size, *_our_latents(config))
        return torch.no_grad()(lambda: pipeline.decode(latents))

    def stock() -> Callable[[], Any]:
        vqvae, latents = _placed(stock_vqvae()).eval(), _normal(config.batch_size, *STOCK_LATENTS)
        return torch.no_grad()(lambda: vqvae.decode(cast(torch.FloatTensor, latents)))

    return {
        "ours, float32": lambda: ours(torch.float32),
        "ours, bfloat16": lambda: ours(torch.bfloat16),
        "stock": stock,
    }


def sampling_makers(config: Config, data: SpectrogramData, folder: Path) -> dict[str, Maker]:
    """The whole pipeline, on our side only: the cost of a stock image is computed from its parts."""

    def ours(dtype: torch.dtype, steps: int, guidance_scale: float) -> Callable[[], Any]:
        pipeline = untrained_pipeline(config.preset, data)
        for model in (pipeline.vqvae, pipeline.unet):
            _placed(model, dtype).to(memory_format=torch.channels_last)  # as `echoform generate` does
        return lambda: pipeline(
            users=[0],
            num_images_per_user=config.batch_size,
            guidance_scale=guidance_scale,
            num_inference_steps=steps,
            batch_size=config.batch_size,
        )

    return {
        f"ours, {str(dtype).removeprefix('torch.')}, {steps} steps, guidance {guidance_scale:g}": (
            partial(ours, dtype, steps, guidance_scale)
        )
        for dtype, steps, guidance_scale in OURS
    }


MAKERS: dict[Part, Callable[[Config, SpectrogramData, Path], dict[str, Maker]]] = {
    "vq": vq_makers,
    "denoiser": denoiser_makers,
    "decoding": decoding_makers,
    "sampling": sampling_makers,
}


def _settings(preset: Any, config: Config, folder: Path, **changes: Any) -> Any:
    run = replace(
        preset.run,
        output_dir=folder,
        train_batch_size=config.batch_size,
        gradient_accumulation_steps=1,
        report_to="none",
    )
    return replace(preset, data=DataConfig(data="noise"), run=run, **changes)


def _our_latents(config: Config) -> tuple[int, int, int]:
    stage = train_vq_vae.PRESETS[config.preset]
    side = RESOLUTION // 2 ** (len(stage.block_out_channels) - 1)
    return stage.latent_channels, side, side


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _placed(model: Model, dtype: torch.dtype = torch.float32) -> Model:
    nn.Module.to(model, _device(), dtype)  # in place; the method of diffusers warns at every cast
    return model


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(_device())


def _users(config: Config) -> Tensor:
    return torch.arange(config.batch_size, device=_device()) % USERS


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
