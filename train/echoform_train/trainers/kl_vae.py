"""`echoform train kl-vae`: train a first stage without a codebook, a stock AutoencoderKL of diffusers."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.callbacks import NO_CALLBACKS, Callbacks
from echoform_train.engine.processes import summed
from echoform_train.engine.resolution import resolution_of
from echoform_train.engine.run import Run
from echoform_train.engine.training_result import TrainingResult
from echoform_train.latent_diffusion.first_stage import latent_distribution, latent_shape, latents_to_images
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
from echoform_train.latent_diffusion.kl_vae_config import PRESETS, Config

__all__ = ["PRESETS", "Config", "main"]


START_LOGVAR = -6.0
"""Log variance of the latents before training: a standard deviation of 0.05."""


class VariationalAutoencoder(nn.Module):
    """A stock AutoencoderKL with the forward pass of its training."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images [B, C, H, W], draw latents with standard normal noise [B, D, h, w], and decode them.

        The results are the reconstruction, [B, C, H, W], and the KL divergence of the latents' distribution from the
        standard normal one in nats, a scalar: the mean over all latent numbers.
        """
        posterior = latent_distribution(self.vae, images)
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        latents = mean + (0.5 * logvar).exp() * noise
        return latents_to_images(self.vae, latents, quantize=False), kl_divergence(mean, logvar)


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """Mean KL divergence from the standard normal, nats per number (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def build_model(config: Config, channels: int) -> AutoencoderKL:
    """Build a stock AutoencoderKL for images of `channels` channels, whose latent distributions start narrow.

    With torch's initial weights they would be so wide that their noise hides the latents early in the training.
    """
    vae = AutoencoderKL(**model_settings(config, channels))
    # The first half of its channels are means, the second half log variances.
    assert vae.quant_conv is not None and vae.quant_conv.bias is not None
    with torch.no_grad():
        vae.quant_conv.weight[config.latent_channels :] = 0
        vae.quant_conv.bias[config.latent_channels :] = START_LOGVAR
    return vae


def main(config: Config, callbacks: Callbacks = NO_CALLBACKS) -> TrainingResult:
    """Train a KL-VAE; its best state goes to OUTPUT_DIR/vqvae, as the pipeline calls it, its facts to facts.json."""
    data = load_training_data(config)
    return train(config, data, callbacks)


def train(config: Config, data: SpectrogramData, callbacks: Callbacks = NO_CALLBACKS) -> TrainingResult:
    """Train a KL-VAE on `data`; OUTPUT_DIR is the exported folder of the result."""
    channels, height, width = data.train.pixels.shape[1:]
    initial = None if config.initial_model is None else load_initial_model(config.initial_model, AutoencoderKL)
    if initial is not None:
        check_initial_model(initial, build_model(config, channels), data)
    run = start_run(config, data, callbacks, initial)
    vae = build_model(config, channels)
    run.accelerator.print(describe("KL-VAE", vae, data))
    if initial is not None:
        run.accelerator.print(start_from(initial, vae, data))
    shape = latent_shape(vae, channels, resolution_of(height, width))
    learner = FirstStageLearner(config, run, "vae", vae, VariationalAutoencoder(vae), config.ema_decay)
    learner.resume()
    run.start_trackers("kl-vae", config.preset)

    facts = {"kind": "kl-vae", "preset": config.preset, "kl_weight": config.kl_weight, **base_model_of(initial)}
    while not run.done:
        # One optimizer step. The noise comes from the draw, so that it does not depend on the number of processes.
        for draw, images in learner.batches(data.train):
            reconstruction, kl = learner.model(images, draw.randn(*shape).to(run.device))
            run.collect(kl_nats=kl)
            learner.descend_reconstruction(images, reconstruction, kl=config.kl_weight * kl)
        # The averaged weights are validated, because they are the ones that are saved.
        if run.due(config.run.validation_every):
            with learner.averaged():
                keep_if_best(vae, run, data, validate(vae, data.validation, run), facts)
        learner.save_if_due()
    return finish(run)


def validate(vae: AutoencoderKL, images: Spectrograms, run: Run) -> dict[str, float]:
    """Reconstruct held-out images from the means of their latents.

    The scores are "psnr" in dB, "l1" in model range, and "kl_nats", the KL divergence in nats per latent number.
    """
    total = torch.zeros(2, device=run.device, dtype=torch.float64)  # divergence, images

    def decode_means(batch: Tensor) -> Tensor:
        posterior = latent_distribution(vae, batch)
        kl = kl_divergence(posterior.mean, posterior.logvar)
        total.add_(torch.stack([kl * len(batch), torch.tensor(len(batch))]).to(total))
        return latents_to_images(vae, posterior.mode(), quantize=False)

    errors = validate_reconstruction(images, run, decode_means)
    nats, count = summed(total, run.accelerator).tolist()
    return errors | {"kl_nats": nats / count}
