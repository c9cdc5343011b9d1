"""`echoform train vq-vae`: train a first stage with a codebook, a stock VQModel of diffusers."""

from __future__ import annotations

import torch
from diffusers import VQModel
from torch import Tensor, nn
from torch.nn import functional as F

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, to_model
from echoform_train.engine.callbacks import NO_CALLBACKS, Callbacks
from echoform_train.engine.errors import UserError
from echoform_train.engine.processes import summed
from echoform_train.engine.run import Run
from echoform_train.engine.training_result import TrainingResult
from echoform_train.latent_diffusion.codebook import EMACodebook, look_up, nearest_codes
from echoform_train.latent_diffusion.first_stage import images_to_latents, latents_to_images
from echoform_train.latent_diffusion.first_stage_config import model_settings
from echoform_train.latent_diffusion.first_stage_training import (
    FirstStageLearner,
    describe,
    finish,
    keep_if_best,
    load_training_data,
    start_run,
    validate_reconstruction,
)
from echoform_train.latent_diffusion.initial_model import (
    base_model_of,
    check_initial_model,
    load_initial_model,
    start_from,
)
from echoform_train.latent_diffusion.vq_vae_config import PRESETS, Config
from echoform_train.scoring.metrics import codebook_usage

__all__ = ["PRESETS", "Config", "main"]


class QuantizedAutoencoder(nn.Module):
    """A stock VQModel with the forward pass of its training."""

    def __init__(self, vqvae: VQModel) -> None:
        super().__init__()
        self.vqvae = vqvae

    def forward(self, images: Tensor, quantize: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Reconstruct images.

        Args:
            images: float32 [B, C, H, W] in [-1, 1].
            quantize: Whether to replace latents by their nearest codes.

        Returns:
            Reconstruction [B, C, H, W], latents [B, D, h, w] before quantisation, and codes [B, h, w] or None.
        """
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
    """Build a stock VQModel for images of `channels` channels."""
    return VQModel(
        **model_settings(config, channels),
        vq_embed_dim=config.vq_embed_dim,
        num_vq_embeddings=config.num_vq_embeddings,
    )


def main(config: Config, callbacks: Callbacks = NO_CALLBACKS) -> TrainingResult:
    """Train a VQ-VAE, whose best state is saved to OUTPUT_DIR/vqvae with its facts in OUTPUT_DIR/facts.json."""
    return train(config, load_training_data(config), callbacks)


def train(config: Config, data: SpectrogramData, callbacks: Callbacks = NO_CALLBACKS) -> TrainingResult:
    """Train on `data`; the exported folder of the result is OUTPUT_DIR.

    Raises:
        ValueError: If the codebook would start only after the end, or another setting is out of range.
    """
    channels = data.train.pixels.shape[1]
    initial = None if config.initial_model is None else load_initial_model(config.initial_model, VQModel)
    known_codes = initial is not None and initial.quantized
    _check(config, known_codes)
    if initial is not None:
        check_initial_model(initial, build_model(config, channels), data)
    run = start_run(config, data, callbacks, initial)
    vqvae = build_model(config, channels)
    run.accelerator.print(describe("VQ-VAE", vqvae, data))
    if initial is not None:
        run.accelerator.print(start_from(initial, vqvae, data))
    # The codebook follows moving averages of the latents instead of gradients.
    vqvae.quantize.embedding.weight.requires_grad_(False)
    learner = FirstStageLearner(config, run, "vqvae", vqvae, QuantizedAutoencoder(vqvae))
    codebook = EMACodebook(vqvae.quantize.embedding.weight, run.accelerator, decay=config.codebook_decay)
    learner.parts["codebook"] = codebook
    if config.quantize and known_codes:
        codebook.start_from_weights()
    learner.resume()
    run.start_trackers("vq-vae", config.preset)

    facts = {"kind": "vq-vae", "preset": config.preset, "quantized": config.quantize, **base_model_of(initial)}
    while not run.done:
        # Latents that still change a lot would leave most codes unused, so the codebook joins later.
        quantize = config.quantize and (codebook.started or run.seen >= config.quantize_after)
        if quantize and not codebook.started:
            _start_codebook(codebook, vqvae, data.train, run)
        # One optimizer step, of one or more forward passes.
        for _, images in learner.batches(data.train):
            reconstruction, latents, codes = learner.model(images, quantize)
            if codes is None:
                learner.descend_reconstruction(images, reconstruction)
            else:
                commitment = config.commitment_weight * F.mse_loss(latents, look_up(codes, codebook.weight))
                learner.descend_reconstruction(images, reconstruction, commitment=commitment)
                restarted = codebook.update(latents, codes, run.generator())
                run.collect(restarted_codes=torch.tensor(restarted, device=run.device))
        if run.due(config.run.validation_every):
            scores = validate(vqvae, data.validation, run, quantize)
            # A model that does not use its codebook yet is never saved, even if its reconstructions are better.
            candidate = quantize == config.quantize
            keep_if_best(vqvae, run, data, scores, facts, candidate=candidate, quantize=quantize)
        learner.save_if_due()
    return finish(run)


def _check(config: Config, known_codes: bool) -> None:
    if config.quantize and not known_codes and config.quantize_after >= config.run.max_train_images:
        raise UserError(
            f"--quantize-after must lie before the end of training at {config.run.max_train_images} images, "
            f"got {config.quantize_after}"
        )
    if config.run.gradient_checkpointing:
        raise UserError("--gradient-checkpointing is not supported by diffusers' VQModel; `train kl-vae` supports it")


@torch.no_grad()
def _start_codebook(codebook: EMACodebook, vqvae: VQModel, images: Spectrograms, run: Run) -> None:
    """Put the codes on k-means centres of the latents of some training images, the same ones on every process."""
    generator = run.generator(purpose=1)
    chosen = torch.randperm(len(images), generator=generator)[:256]
    latents = torch.cat(
        [
            vqvae.encode(to_model(images.pixels[batch]).to(run.device)).latents.permute(0, 2, 3, 1).flatten(0, 2)
            for batch in chosen.split(16)
        ]
    )
    few = torch.randperm(len(latents), generator=generator)[: 64 * len(codebook.weight)]
    codebook.start(latents[few.to(latents.device)], run.config.seed)


def validate(vqvae: VQModel, images: Spectrograms, run: Run, quantize: bool) -> dict[str, float]:
    """Measure the reconstruction of held-out images.

    Returns:
        "psnr" in dB, "l1" in model range; with `quantize` also "codebook_use", the share of codes in use, and their
        "perplexity".
    """
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
