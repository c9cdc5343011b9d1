"""`echoform train ldm`: the second stage, a user-conditioned diffusion model of a first stage's latents."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from diffusers.utils import make_image_grid
from torch import Tensor, nn

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.config import DataConfig, data_facts, load_data
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.config import RunConfig, fixed_settings, make_preset
from echoform_train.engine.ema import averaged, ema_tensors, make_ema, restore_ema
from echoform_train.engine.files import DENOISER, FACTS, PIPELINE, SPLIT
from echoform_train.engine.processes import summed
from echoform_train.engine.provenance import provenance
from echoform_train.engine.run import Draw, Run
from echoform_train.engine.training_result import TrainingResult
from echoform_train.latent_diffusion.export import build_pipeline, export_pipeline
from echoform_train.latent_diffusion.first_stage import FirstStage, encode_pixels, load_first_stage
from echoform_train.latent_diffusion.objective import FlowMatching, VPrediction, make_objective
from echoform_train.latent_diffusion.transfer import USERS, adopt, latent_statistics, load_source
from echoform_train.publishing.push import check_before_training, push_after_training

NORM_GROUPS = 8  # as good as the usual 32, and cheaper on CPUs


@dataclass(frozen=True, kw_only=True)
class Config:
    """Train the diffusion model that makes new spectrograms of a chosen user, and export the pipeline."""

    preset: Literal["cpu", "6gb", "16gb", "256", "paper"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    first_stage: Path = tyro.MISSING
    """Output folder of `echoform train vq-vae` or `echoform train kl-vae`."""
    initial_pipeline: Path | None = None
    """Exported pipeline of other people, with the same first stage, to start from instead of random weights."""
    data: tyro.conf.OmitArgPrefixes[DataConfig]
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    block_out_channels: tuple[int, ...] = (128, 256, 256)
    """Width of each level of the U-Net."""
    attention_types: tuple[Literal["none", "window", "axial"], ...] = ("window", "axial", "axial")
    """Attention of each level."""
    layers_per_block: int = 2
    """Residual blocks a level."""
    num_attention_heads: int = 8
    """Heads of each attention."""
    window_size: int = 8
    """Side of an attention window, in latent pixels."""
    dropout: float = 0.1
    """Dropout inside the residual blocks."""
    conditioning: Literal["embedding", "cross-attention"] = "embedding"
    """How users and conditions enter: added to the time step's embedding, or as learned tokens that are attended to."""

    objective: Literal["v-prediction", "flow-matching"] = "v-prediction"
    """What the network learns to predict."""
    beta_schedule: Literal["linear", "cosine", "squaredcos_cap_v2"] = "cosine"
    """Noise schedule of v-prediction; cosine is the field's word for squaredcos_cap_v2 (Nichol and Dhariwal, 2021)."""
    snr_gamma: float = 5.0
    """min-SNR weighting of v-prediction (Hang et al., 2023); 0 weighs all noise levels alike."""
    label_dropout: float = 0.1
    """Share of samples whose user (and, apart from it, each condition) is replaced by its null class."""
    ema_decay: float = 0.999
    """Decay of the averaged weights at each optimizer step; the averaged ones are validated and exported."""
    user_rate_factor: float = 1.0
    """How many times the learning rate the users' embeddings learn with; some 50 with --initial-pipeline, where
    everything else is nearly in place."""
    guidance_scale: float = 1.5
    """Guidance of the sample sheets."""
    sample_every: int = 50_000
    """Images seen between two sample sheets."""


_GPU_RUN: dict[str, Any] = {
    "max_train_images": 2_000_000,
    "learning_rate": 3e-4,
    "lr_warmup_steps": 500,
    "validation_every": 50_000,
    "checkpointing_every": 100_000,
}
PRESETS = {
    "cpu": make_preset(
        Config,
        "cpu",
        {"max_train_images": 40_000, "learning_rate": 1e-3, "validation_every": 4_000},
        DataConfig,
        block_out_channels=(64, 128, 128),
        layers_per_block=1,
        num_attention_heads=4,
    ),
    "6gb": make_preset(
        Config,
        "6gb",
        {**_GPU_RUN, "train_batch_size": 16, "gradient_accumulation_steps": 4, "gradient_checkpointing": True},
        DataConfig,
    ),
    "16gb": make_preset(Config, "16gb", {**_GPU_RUN, "train_batch_size": 64}, DataConfig),
    "256": make_preset(Config, "256", {**_GPU_RUN, "train_batch_size": 128}, DataConfig),
    "paper": make_preset(
        Config,
        "paper",
        {**_GPU_RUN, "train_batch_size": 64},
        DataConfig,
        block_out_channels=(256, 512, 768, 1024),
        attention_types=("window", "axial", "axial", "axial"),
        num_attention_heads=16,
    ),
}


def main(config: Config) -> TrainingResult:
    """Train, and export the pipeline to OUTPUT_DIR/pipeline."""
    stage = load_first_stage(config.first_stage)
    split_file = config.data.split_file or stage.folder / SPLIT
    resolution = config.data.resolution or stage.facts["data"]["resolution"]
    data = load_data(config.data, split_file, resolution, config.run.seed)
    return train(config, data, stage)


@dataclass(frozen=True)
class Latents:
    """Standardised latents of one part of the split, with what the denoiser is told about each."""

    values: Tensor
    """float32 [N, D, h, w], mean 0 and deviation 1 a channel over the training part."""
    users: Tensor
    """int64 [N]."""
    conditions: dict[str, Tensor]
    """int64 [N] each."""


def train(config: Config, data: SpectrogramData, stage: FirstStage) -> TrainingResult:
    """Train on the latents of `data`, and export the pipeline to OUTPUT_DIR/pipeline.

    Raises:
        ValueError: If the data are not what the first stage was trained on, it lacks its codebook, or the pipeline to
            start from is of another kind.
        FloatingPointError: If the loss stops being finite.
        PushError: If the result cannot be pushed where it should be; noticed before the training where possible.
    """
    stage.check_data(data_facts(data), same_users=config.initial_pipeline is None)
    stage.check_usable_in_pipeline()
    run = Run(config.run, len(data.train), fixed_settings(config))
    if run.is_main:
        check_before_training(config.run)
    vqvae = stage.model.to(run.device)
    latents = encode_pixels(vqvae, data.train.pixels)
    source = None if config.initial_pipeline is None else load_source(config.initial_pipeline, vqvae)
    measured = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    mean, std = measured if source is None else latent_statistics(source)
    training = _standardised(latents, data.train, mean, std)
    held_out = _standardised(encode_pixels(vqvae, data.validation.pixels), data.validation, mean, std)

    torch.manual_seed(config.run.seed)
    unet = build_unet(config, data, latents.shape)
    if source is not None:
        adopt(unet, source, data)
    if config.run.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    unet.to(run.device, memory_format=run.memory_format)
    ema = make_ema(unet, config.ema_decay)
    run.accelerator.print(
        f"U-Net of {_count(unet) / 1e6:.1f} M parameters on latents {'x'.join(map(str, latents.shape[1:]))}, "
        f"{len(data.train)} images of {len(data.id2label)} users"
    )
    faster = {} if config.user_rate_factor == 1 else {f"{USERS}.weight": config.user_rate_factor}
    model, optimizer = run.accelerator.prepare(unet, run.optimizer(unet, faster))
    resumed = run.resume({"optimizer": optimizer})
    if resumed is not None:
        unet.load_state_dict(resumed["unet"])
        restore_ema(ema, resumed["ema"])
    run.accelerator.init_trackers("ldm", config={"preset": config.preset, "seed": config.run.seed})

    objective = make_objective(config.objective, config.beta_schedule, config.snr_gamma)
    pipeline = build_pipeline(vqvae, unet, objective.sampler(), data, mean, std)
    output_dir = config.run.output_dir
    while not run.done:
        for draw in run.draws():
            with run.accelerator.accumulate(model):
                values = training.values[draw.indices]
                noise, level = draw.randn(*values.shape[1:]), draw.rand()
                users, conditions = drop_labels(training, draw, config.label_dropout, unet)
                loss = denoising_loss(model, objective, values, noise, level, users, conditions)
                run.collect(loss=loss)
                run.descend(loss, optimizer, model)
        ema.update_parameters(unet)
        run.advance()
        if run.due(config.run.logging_every):
            run.log_means()
        if run.due(config.run.validation_every):
            with averaged(unet, ema):
                score = validate(objective, unet, held_out, run)
                run.log({"validation/loss": score})
                if run.judge_best(score) and run.is_main:
                    unet.save_pretrained(output_dir / DENOISER)
                    facts = _facts(config, run, data, stage, unet) | {"validation": {"loss": score}}
                    (output_dir / FACTS).write_text(json.dumps(facts | {"best_after": run.seen}, indent=1))
        if run.due(config.sample_every) and run.is_main:
            with averaged(unet, ema):
                sample_sheet(pipeline, config, output_dir / "samples" / f"images-{run.seen:09d}.png")
        if run.due(config.run.checkpointing_every) or run.done:
            run.save({"optimizer": optimizer}, {"unet": unet.state_dict(), "ema": ema_tensors(ema)})
    result = run.finish(output_dir / PIPELINE)
    facts = result.facts
    if run.is_main:
        best = DopplerUNet2DModel.from_pretrained(output_dir / DENOISER)
        export_pipeline(build_pipeline(vqvae, best, objective.sampler(), data, mean, std), facts, output_dir / PIPELINE)
    run.accelerator.print(
        f"best after {facts['best_after']} images, validation loss {facts['validation']['loss']:.4f}; "
        f"pipeline in {output_dir / PIPELINE}"
    )
    if run.is_main:
        push_after_training(config.run, output_dir / PIPELINE)
    return result


def build_unet(config: Config, data: SpectrogramData, latent_shape: torch.Size) -> DopplerUNet2DModel:
    """The denoiser for latents [N, D, h, w] and the users and conditions of `data`."""
    return DopplerUNet2DModel(
        sample_size=latent_shape[-1],
        in_channels=latent_shape[1],
        out_channels=latent_shape[1],
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        attention_types=config.attention_types,
        window_size=config.window_size,
        num_attention_heads=config.num_attention_heads,
        norm_num_groups=math.gcd(NORM_GROUPS, *config.block_out_channels),
        dropout=config.dropout,
        num_users=len(data.id2label),
        conditions={name: len(labels) for name, labels in data.condition_labels.items()},
        conditioning=config.conditioning,
    )


def drop_labels(
    latents: Latents, draw: Draw, share: float, unet: DopplerUNet2DModel
) -> tuple[Tensor, dict[str, Tensor]]:
    """Users [B] and conditions [B] of a draw, each replaced by its null class in `share` of the samples on its own."""
    users = torch.where(draw.rand() < share, unet.null_user, latents.users[draw.indices])
    conditions = {
        name: torch.where(draw.rand() < share, unet.null_conditions[name], labels[draw.indices])
        for name, labels in latents.conditions.items()
    }
    return users, conditions


def denoising_loss(
    model: nn.Module,
    objective: VPrediction | FlowMatching,
    values: Tensor,
    noise: Tensor,
    level: Tensor,
    users: Tensor,
    conditions: dict[str, Tensor],
) -> Tensor:
    """Weighted squared error of the network's prediction.

    Args:
        model: The denoiser; the rest comes on the CPU and is moved to where it computes.
        objective: How to add noise and what to predict.
        values: Standardised latents, float32 [B, D, h, w].
        noise: Normal, the same shape.
        level: Uniform in [0, 1), float32 [B]; becomes the noise level.
        users: int64 [B].
        conditions: int64 [B] each.
    """
    device = next(model.parameters()).device
    noised, timesteps, target, weights = objective.noised(values, noise, level)
    predicted = model(
        noised.to(device),
        timesteps.to(device),
        users=users.to(device),
        conditions={name: labels.to(device) for name, labels in conditions.items()},
    ).sample
    error = (predicted.float() - target.to(device)).square().mean(dim=(1, 2, 3))
    return (weights.to(device) * error).mean()


@torch.no_grad()
def validate(
    objective: VPrediction | FlowMatching, unet: DopplerUNet2DModel, latents: Latents, run: Run, levels: int = 4
) -> float:
    """Denoising loss on held-out latents with noise that is the same at each call.

    Each image is judged at `levels` noise levels; together they are spread evenly over all of them.
    """
    total = torch.zeros(2, device=run.device)  # summed error, samples
    unet.eval()
    count = len(latents.values)
    for part in torch.arange(run.accelerator.process_index, count * levels, run.accelerator.num_processes).split(64):
        generators = [torch.Generator().manual_seed(int(number)) for number in part]
        draw = Draw(part % count, generators)
        # Multiples of the golden ratio cover [0, 1) evenly whatever their number.
        level = (part * 0.6180339887498949).frac().float()
        values = latents.values[draw.indices]
        users, conditions = drop_labels(latents, draw, 0.0, unet)
        loss = denoising_loss(unet, objective, values, draw.randn(*values.shape[1:]), level, users, conditions)
        total += torch.stack([loss * len(part), torch.tensor(float(len(part)), device=run.device)])
    unet.train()
    error, samples = summed(total, run.accelerator).tolist()
    return error / samples


def sample_sheet(pipeline: VQLDMDopplerPipeline, config: Config, path: Path, a_user: int = 4) -> None:
    """A picture with some spectrograms of each user, a row a user."""
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.eval()
    generator = torch.Generator().manual_seed(config.run.seed)
    users = [pipeline.config["id2label"][str(index)] for index in range(len(pipeline.config["id2label"]))][:16]
    images = pipeline(users, a_user, guidance_scale=config.guidance_scale, generator=generator).images
    pipeline.unet.train()
    path.parent.mkdir(parents=True, exist_ok=True)
    make_image_grid(images, rows=len(users), cols=a_user).save(path)


def _standardised(latents: Tensor, images: Spectrograms, mean: Tensor, std: Tensor) -> Latents:
    values = (latents - mean[:, None, None]) / std[:, None, None]
    return Latents(values, images.users, images.conditions)


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _facts(
    config: Config, run: Run, data: SpectrogramData, stage: FirstStage, unet: DopplerUNet2DModel
) -> dict[str, Any]:
    return {
        "kind": "ldm",
        "preset": config.preset,
        "parameters": _count(unet),
        "objective": config.objective,
        "data": data_facts(data),
        "first_stage": stage.facts,
        "precision": run.accelerator.mixed_precision,
        "images_a_step": run.images_a_step,
        **provenance(),
    }
