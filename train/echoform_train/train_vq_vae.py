"""`echoform train vq-vae`: the first stage, a stock diffusers VQModel, from a folder of spectrograms."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import tyro
from diffusers import VQModel
from torch import Tensor, nn
from torch.nn import functional as F

from echoform_train.codebook import EMACodebook, look_up, nearest_codes
from echoform_train.config import DataConfig, RunConfig, fixed_settings, make_preset
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, to_model
from echoform_train.first_stage import FACTS, MODEL, SPLIT, data_facts, decode, decoded, encode, load_data
from echoform_train.losses import PatchDiscriminator, PerceptualLoss, discriminator_loss, spectral_loss
from echoform_train.metrics import codebook_usage
from echoform_train.pictures import save_sheet
from echoform_train.processes import summed
from echoform_train.provenance import provenance
from echoform_train.push import check_before_training, push_after_training
from echoform_train.run import Run

NORM_GROUPS = 8  # as good as the usual 32, and cheaper on CPUs


@dataclass(frozen=True, kw_only=True)
class Config:
    """Train the VQ-VAE that turns spectrograms into small latents."""

    preset: Literal["cpu", "6gb", "16gb", "256", "paper"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    data: tyro.conf.OmitArgPrefixes[DataConfig]
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    block_out_channels: tuple[int, ...] = (64, 128, 256, 256)
    """Width of each level."""
    n_layers: int | None = None
    """Levels, each but the last halving the picture: 4 give f8. Default: one a width; more repeat the last width."""
    layers_per_block: int = 1
    """Residual blocks a level."""
    latent_channels: int = 4
    """Channels of the latents."""
    vq_embed_dim: int = 4
    """Numbers a code."""
    num_vq_embeddings: int = 256
    """Codes in the codebook."""
    mid_block_attention: bool = True
    """Full self-attention at the lowest level."""

    quantize: bool = True
    """--no-quantize trains the same network without its codebook, to see what quantisation costs."""
    quantize_after: int = 10_000
    """Images seen before the codebook starts from k-means; until then the network trains without it."""
    codebook_decay: float = 0.99
    """Share of the past in the codebook's moving averages at each optimizer step."""
    commitment_weight: float = 0.25
    """Pulls latents to their codes."""
    l1_weight: float = 1.0
    """Mean absolute error."""
    l2_weight: float = 1.0
    """Mean squared error."""
    spectral_weight: float = 0.1
    """Difference of log-amplitude spectra."""
    lpips_weight: float = 0.0
    """Perceptual distance; needs torchvision's AlexNet weights."""
    adversarial_weight: float = 0.0
    """Hinge loss of a patch discriminator."""


_GPU_RUN: dict[str, Any] = {"max_train_images": 600_000, "learning_rate": 3e-4, "lr_warmup_steps": 500}
PRESETS = {
    "cpu": make_preset(
        Config,
        "cpu",
        {"max_train_images": 40_000, "learning_rate": 1e-3, "validation_every": 4_000},
        block_out_channels=(16, 32, 64),
        mid_block_attention=False,
        quantize_after=8_000,
    ),
    "6gb": make_preset(
        Config, "6gb", {**_GPU_RUN, "train_batch_size": 4, "gradient_accumulation_steps": 4}, lpips_weight=0.1
    ),
    "16gb": make_preset(Config, "16gb", {**_GPU_RUN, "train_batch_size": 16}, lpips_weight=0.1),
    "256": make_preset(Config, "256", {**_GPU_RUN, "train_batch_size": 32}, lpips_weight=0.1),
    "paper": make_preset(
        Config,
        "paper",
        {**_GPU_RUN, "train_batch_size": 32},
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        lpips_weight=0.1,
    ),
}


class QuantizedAutoencoder(nn.Module):
    """The forward pass of training around a stock VQModel, in one module so that wrappers for many processes see it."""

    def __init__(self, vqvae: VQModel) -> None:
        super().__init__()
        self.vqvae = vqvae

    def forward(self, images: Tensor, quantize: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images [B, C, H, W] -> reconstruction [B, C, H, W], latents [B, D, h, w], codes [B, h, w] or None."""
        latents = self.vqvae.encode(images).latents.float()
        if not quantize:
            return decoded(self.vqvae, latents, quantize=False), latents, None
        codebook = self.vqvae.quantize.embedding.weight
        codes = nearest_codes(latents.detach(), codebook)
        vectors = look_up(codes, codebook)
        # Straight-through: forward uses the code, backward sees the encoder's output.
        quantized = latents + (vectors - latents).detach()
        return decoded(self.vqvae, quantized, quantize=False), latents, codes


def build_model(config: Config, channels: int) -> VQModel:
    """A stock VQModel for images of `channels` channels."""
    widths = config.block_out_channels
    levels = len(widths) if config.n_layers is None else config.n_layers
    widths = (widths + (widths[-1],) * levels)[:levels]
    return VQModel(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=widths,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        vq_embed_dim=config.vq_embed_dim,
        num_vq_embeddings=config.num_vq_embeddings,
        norm_num_groups=math.gcd(NORM_GROUPS, *widths),
        scaling_factor=1.0,  # latents are standardised per channel by statistics that travel in the pipeline
        mid_block_add_attention=config.mid_block_attention,
    )


@torch.no_grad()
def latent_shape(vqvae: VQModel, channels: int, resolution: int) -> tuple[int, int, int]:
    """Shape (D, h, w) of one image's latents, measured on the model."""
    parameter = next(vqvae.parameters())
    image = torch.zeros(1, channels, resolution, resolution, device=parameter.device, dtype=parameter.dtype)
    _, dim, height, width = vqvae.encode(image).latents.shape
    return dim, height, width


def main(config: Config) -> None:
    """Train, keep the best model in OUTPUT_DIR/vqvae and what was measured in OUTPUT_DIR/facts.json."""
    split_file = config.data.split_file or config.run.output_dir / SPLIT
    data = load_data(config.data, split_file, config.data.resolution, config.run.seed)
    data.split.save(config.run.output_dir / SPLIT)
    train(config, data)


def train(config: Config, data: SpectrogramData) -> dict[str, Any]:
    """Train on `data` and return the facts of the run.

    Raises:
        ValueError: If the codebook would start only after the end.
        FloatingPointError: If a loss stops being finite.
        PushError: If the result cannot be pushed where it should be; noticed before the training where possible.
    """
    if config.quantize and config.quantize_after >= config.run.max_train_images:
        raise ValueError(
            f"--quantize-after must lie before the end of training at {config.run.max_train_images} images, "
            f"got {config.quantize_after}"
        )
    run = Run(config.run, len(data.train), fixed_settings(config))
    if run.is_main:
        check_before_training(config.run)
    torch.manual_seed(config.run.seed)
    channels, resolution = data.train.pixels.shape[1], data.train.pixels.shape[-1]
    vqvae = build_model(config, channels)
    shape = latent_shape(vqvae, channels, resolution)
    run.accelerator.print(
        f"VQ-VAE of {sum(p.numel() for p in vqvae.parameters()) / 1e6:.1f} M parameters: "
        f"{channels}x{resolution}x{resolution} -> {shape[0]}x{shape[1]}x{shape[2]}, {len(data.train)} images"
    )
    vqvae.quantize.embedding.weight.requires_grad_(False)
    model = QuantizedAutoencoder(vqvae)
    model.to(run.device, memory_format=run.memory_format)  # pyright: ignore[reportCallIssue]
    parts = _Parts(config, run, model, channels)
    resumed = run.resume(parts.optimizers())
    if resumed is not None:
        parts.restore(resumed)
    run.accelerator.init_trackers("vq-vae", config={"preset": config.preset, "seed": config.run.seed})

    best_folder = config.run.output_dir / MODEL
    while not run.done:
        quantize = config.quantize and run.seen >= config.quantize_after
        if quantize and not parts.codebook.started:
            _start_codebook(parts.codebook, vqvae, data.train, run)
        for draw in run.draws():
            images = to_model(data.train.pixels[draw.indices]).to(run.device, memory_format=run.memory_format)
            with run.accelerator.accumulate(parts.model):
                parts.step(images, quantize)
        run.advance()
        if run.due(config.run.logging_every):
            run.log_means()
        if run.due(config.run.validation_every):
            scores = validate(vqvae, data.validation, run, quantize)
            run.log({f"validation/{name}": value for name, value in scores.items()})
            # A network that still trains without its codebook is not a candidate for the best one.
            if quantize == config.quantize and run.judge_best(-scores["psnr"]) and run.is_main:
                vqvae.save_pretrained(best_folder)
                facts = {**_facts(config, run, data, vqvae, shape), "validation": scores, "best_after": run.seen}
                (config.run.output_dir / FACTS).write_text(json.dumps(facts, indent=1))
            if run.is_main:
                _save_sheet(vqvae, data, run, quantize)
        if run.due(config.run.checkpointing_every) or run.done:
            run.save(parts.optimizers(), parts.tensors())
    run.close()
    facts = json.loads((config.run.output_dir / FACTS).read_text())
    facts |= {"images_seen": run.seen, "seconds": run.elapsed_s}
    if run.is_main:
        (config.run.output_dir / FACTS).write_text(json.dumps(facts, indent=1))
    run.accelerator.print(
        f"best after {facts['best_after']} images: "
        + ", ".join(f"{name} {value:.4g}" for name, value in facts["validation"].items())
    )
    if run.is_main:
        push_after_training(config.run, config.run.output_dir)
    return facts


@dataclass
class _Parts:
    """Everything that learns, and one forward and backward pass of it."""

    config: Config
    run: Run
    raw: QuantizedAutoencoder
    channels: int
    discriminator: nn.Module | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        accelerator = self.run.accelerator
        self.model, self.optimizer = accelerator.prepare(self.raw, self.run.optimizer(self.raw))
        self.codebook = EMACodebook(
            self.raw.vqvae.quantize.embedding.weight, accelerator, decay=self.config.codebook_decay
        )
        self.perceptual = PerceptualLoss().to(self.run.device) if self.config.lpips_weight else None
        if self.config.adversarial_weight:
            discriminator = PatchDiscriminator(self.channels).to(self.run.device)
            self.discriminator, self.discriminator_optimizer = accelerator.prepare(
                discriminator, self.run.optimizer(discriminator)
            )

    def step(self, images: Tensor, quantize: bool) -> None:
        reconstruction, latents, codes = self.model(images, quantize)
        config = self.config
        parts = {
            "l1": config.l1_weight * F.l1_loss(reconstruction, images),
            "l2": config.l2_weight * F.mse_loss(reconstruction, images),
            "spectral": config.spectral_weight * spectral_loss(reconstruction, images),
        }
        if self.perceptual is not None:
            parts["lpips"] = config.lpips_weight * self.perceptual(reconstruction, images)
        if codes is not None:
            vectors = look_up(codes, self.codebook.weight)
            parts["commitment"] = config.commitment_weight * F.mse_loss(latents, vectors)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(False)
            parts["adversarial"] = -config.adversarial_weight * self.discriminator(reconstruction).mean()
        loss = torch.stack(list(parts.values())).sum()
        self.run.collect(loss=loss, **parts)
        self.run.descend(loss, self.optimizer, self.model)
        if codes is not None:
            restarted = self.codebook.update(latents, codes, self.run.generator())
            self.run.collect(restarted_codes=torch.tensor(restarted, device=images.device))
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
            loss = discriminator_loss(self.discriminator(images), self.discriminator(reconstruction.detach()))
            self.run.collect(discriminator=loss)
            self.run.descend(loss, self.discriminator_optimizer, self.discriminator)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        own = {"optimizer": self.optimizer}
        return own if self.discriminator is None else own | {"discriminator_optimizer": self.discriminator_optimizer}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        groups = {"vqvae": self.raw.vqvae.state_dict()}
        if self.codebook.started:
            groups["codebook"] = self.codebook.tensors()
        if self.discriminator is not None:
            groups["discriminator"] = self.run.accelerator.unwrap_model(self.discriminator).state_dict()
        return groups

    def restore(self, groups: dict[str, dict[str, Tensor]]) -> None:
        self.raw.vqvae.load_state_dict(groups["vqvae"])
        if "codebook" in groups:
            self.codebook.restore(groups["codebook"])
        if self.discriminator is not None:
            self.run.accelerator.unwrap_model(self.discriminator).load_state_dict(groups["discriminator"])


@torch.no_grad()
def _start_codebook(codebook: EMACodebook, vqvae: VQModel, images: Spectrograms, run: Run) -> None:
    """K-means on the latents of some training images, the same ones on every process."""
    generator = run.generator(purpose=1)
    chosen = torch.randperm(len(images), generator=generator)[:256]
    latents = torch.cat(
        [
            vqvae.encode(to_model(images.pixels[part]).to(run.device)).latents.permute(0, 2, 3, 1).flatten(0, 2)
            for part in chosen.split(16)
        ]
    )
    few = torch.randperm(len(latents), generator=generator)[: 64 * len(codebook.weight)]
    codebook.start(latents[few.to(latents.device)], run.config.seed)


@torch.no_grad()
def validate(vqvae: VQModel, images: Spectrograms, run: Run, quantize: bool) -> dict[str, float]:
    """Held-out reconstruction, shared among processes: PSNR in dB over the full range, L1, codebook use and perplexity.

    The model runs as whoever loads it will run it, in float32 through the stock `encode` and `decode`.
    """
    error = torch.zeros(3, device=run.device, dtype=torch.float64)  # squared and absolute error, pixels
    histogram = torch.zeros(vqvae.config["num_vq_embeddings"], device=run.device)
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    for part in torch.arange(rank, len(images), world).split(16):
        batch = to_model(images.pixels[part]).to(run.device, memory_format=run.memory_format)
        latents = vqvae.encode(batch).latents
        difference = decoded(vqvae, latents, quantize).clamp(-1, 1) - batch
        error += torch.stack([difference.square().sum(), difference.abs().sum(), torch.tensor(batch.numel())]).to(error)
        codes = nearest_codes(latents, vqvae.quantize.embedding.weight)
        histogram += torch.bincount(codes.flatten(), minlength=len(histogram))
    squared, absolute, pixels = summed(error, run.accelerator).tolist()
    scores = {"psnr": 10 * math.log10(4 / (squared / pixels)), "l1": absolute / pixels}
    if quantize:
        used, perplexity = codebook_usage(summed(histogram, run.accelerator).cpu())
        scores |= {"codebook_use": used, "perplexity": perplexity}
    return scores


def _save_sheet(vqvae: VQModel, data: SpectrogramData, run: Run, quantize: bool) -> None:
    """Held-out spectrograms above their reconstructions, one column a user."""
    first = [int((data.validation.users == user).nonzero()[0]) for user in sorted(set(data.validation.users.tolist()))]
    pixels = data.validation.pixels[first[:16]]
    both = torch.cat([pixels, decode(vqvae, encode(vqvae, pixels), quantize=quantize)])
    path = run.config.output_dir / "reconstructions" / f"images-{run.seen:09d}.png"
    save_sheet(both, len(pixels), data.colormap, path)


def _facts(
    config: Config, run: Run, data: SpectrogramData, vqvae: VQModel, shape: tuple[int, int, int]
) -> dict[str, Any]:
    return {
        "kind": "vq-vae",
        "preset": config.preset,
        "parameters": sum(p.numel() for p in vqvae.parameters()),
        "latent_shape": list(shape),
        "data": data_facts(data),
        "quantized": config.quantize,
        "precision": run.accelerator.mixed_precision,
        "images_a_step": run.images_a_step,
        **provenance(),
    }
