"""`echoform train vq-vae`: the first stage, a stock diffusers VQModel, from a folder of spectrograms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import VQModel
from torch import Tensor, nn
from torch.nn import functional as F

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, to_model
from echoform_train.engine.processes import summed
from echoform_train.engine.run import Run
from echoform_train.engine.training_result import TrainingResult
from echoform_train.latent_diffusion.codebook import EMACodebook, look_up, nearest_codes
from echoform_train.latent_diffusion.first_stage import images_to_latents, latents_to_images
from echoform_train.latent_diffusion.first_stage_training import (
    FirstStageConfig,
    Learner,
    describe,
    finish,
    keep,
    load,
    make_presets,
    start,
    stock_settings,
)
from echoform_train.latent_diffusion.first_stage_training import validate as validate_reconstruction
from echoform_train.scoring.metrics import codebook_usage


@dataclass(frozen=True, kw_only=True)
class Config(FirstStageConfig):
    """Train the VQ-VAE that turns spectrograms into small latents."""

    vq_embed_dim: int = 4
    """Numbers a code."""
    num_vq_embeddings: int = 256
    """Codes in the codebook."""

    quantize: bool = True
    """--no-quantize trains the same network without its codebook, to see what quantisation costs."""
    quantize_after: int = 10_000
    """Images seen before the codebook starts from k-means; until then the network trains without it."""
    codebook_decay: float = 0.99
    """Share of the past in the codebook's moving averages at each optimizer step."""
    commitment_weight: float = 0.25
    """Pulls latents to their codes."""


PRESETS = make_presets(Config, quantize_after=8_000)


class QuantizedAutoencoder(nn.Module):
    """The forward pass of training around a stock VQModel, in one module so that wrappers for many processes see it."""

    def __init__(self, vqvae: VQModel) -> None:
        super().__init__()
        self.vqvae = vqvae

    def forward(self, images: Tensor, quantize: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images [B, C, H, W] -> reconstruction [B, C, H, W], latents [B, D, h, w], codes [B, h, w] or None."""
        latents = images_to_latents(self.vqvae, images)
        if not quantize:
            return latents_to_images(self.vqvae, latents, quantize=False), latents, None
        codebook = self.vqvae.quantize.embedding.weight
        codes = nearest_codes(latents.detach(), codebook)
        vectors = look_up(codes, codebook)
        # Straight-through: forward uses the code, backward sees the encoder's output.
        quantized = latents + (vectors - latents).detach()
        return latents_to_images(self.vqvae, quantized, quantize=False), latents, codes


def build_model(config: Config, channels: int) -> VQModel:
    """A stock VQModel for images of `channels` channels."""
    return VQModel(
        **stock_settings(config, channels),
        vq_embed_dim=config.vq_embed_dim,
        num_vq_embeddings=config.num_vq_embeddings,
    )


def main(config: Config) -> TrainingResult:
    """Train, keep the best model in OUTPUT_DIR/vqvae and what was measured in OUTPUT_DIR/facts.json."""
    return train(config, load(config))


def train(config: Config, data: SpectrogramData) -> TrainingResult:
    """Train on `data`; the exported folder of the result is OUTPUT_DIR.

    Raises:
        ValueError: If the codebook would start only after the end, or a setting is out of range.
        FloatingPointError: If a loss stops being finite.
        PushError: If the result cannot be pushed where it should be; noticed before the training where possible.
    """
    if config.quantize and config.quantize_after >= config.run.max_train_images:
        raise ValueError(
            f"--quantize-after must lie before the end of training at {config.run.max_train_images} images, "
            f"got {config.quantize_after}"
        )
    if config.run.gradient_checkpointing:
        raise ValueError("--gradient-checkpointing is nothing that a VQModel of diffusers can do; `train kl-vae` can")
    run = start(config, data)
    channels = data.train.pixels.shape[1]
    vqvae = build_model(config, channels)
    run.accelerator.print(describe("VQ-VAE", vqvae, data))
    vqvae.quantize.embedding.weight.requires_grad_(False)
    learner = Learner(config, run, QuantizedAutoencoder(vqvae), channels)
    codebook = EMACodebook(vqvae.quantize.embedding.weight, run.accelerator, decay=config.codebook_decay)
    resumed = run.resume(learner.optimizers())
    if resumed is not None:
        vqvae.load_state_dict(resumed["vqvae"])
        learner.restore(resumed)
        if "codebook" in resumed:
            codebook.restore(resumed["codebook"])
    run.accelerator.init_trackers("vq-vae", config={"preset": config.preset, "seed": config.run.seed})

    facts = {"kind": "vq-vae", "preset": config.preset, "quantized": config.quantize}
    while not run.done:
        quantize = config.quantize and run.seen >= config.quantize_after
        if quantize and not codebook.started:
            _start_codebook(codebook, vqvae, data.train, run)
        for draw in run.draws():
            images = learner.images(data.train, draw)
            with run.accelerator.accumulate(learner.model):
                reconstruction, latents, codes = learner.model(images, quantize)
                if codes is None:
                    learner.descend(images, reconstruction, {})
                else:
                    commitment = config.commitment_weight * F.mse_loss(latents, look_up(codes, codebook.weight))
                    learner.descend(images, reconstruction, {"commitment": commitment})
                    restarted = codebook.update(latents, codes, run.generator())
                    run.collect(restarted_codes=torch.tensor(restarted, device=run.device))
        run.advance()
        if run.due(config.run.logging_every):
            run.log_means()
        if run.due(config.run.validation_every):
            scores = validate(vqvae, data.validation, run, quantize)
            # A network that still trains without its codebook is not a candidate for the best one.
            keep(vqvae, run, data, scores, facts, candidate=quantize == config.quantize, quantize=quantize)
        if run.due(config.run.checkpointing_every) or run.done:
            groups = {"codebook": codebook.tensors()} if codebook.started else {}
            run.save(learner.optimizers(), {"vqvae": vqvae.state_dict(), **groups, **learner.tensors()})
    return finish(run)


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


def validate(vqvae: VQModel, images: Spectrograms, run: Run, quantize: bool) -> dict[str, float]:
    """Held-out reconstruction as of `reconstruction.validate`, with the codebook also its use and perplexity."""
    histogram = torch.zeros(vqvae.config["num_vq_embeddings"], device=run.device)

    def reconstruct(batch: Tensor) -> Tensor:
        latents = images_to_latents(vqvae, batch)
        codes = nearest_codes(latents, vqvae.quantize.embedding.weight)
        histogram.add_(torch.bincount(codes.flatten(), minlength=len(histogram)))
        return latents_to_images(vqvae, latents, quantize)

    scores = validate_reconstruction(images, run, reconstruct)
    if quantize:
        used, perplexity = codebook_usage(summed(histogram, run.accelerator).cpu())
        scores |= {"codebook_use": used, "perplexity": perplexity}
    return scores
