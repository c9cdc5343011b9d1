"""`echoform train kl-vae`: the first stage, a stock diffusers AutoencoderKL, from a folder of spectrograms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.ema import averaged, ema_tensors, make_ema, restore_ema
from echoform_train.engine.processes import summed
from echoform_train.engine.run import Run
from echoform_train.engine.training_result import TrainingResult
from echoform_train.latent_diffusion.first_stage import latent_distribution, latents_to_images
from echoform_train.latent_diffusion.first_stage_training import (
    FirstStageConfig,
    Learner,
    describe,
    finish,
    keep,
    latent_shape,
    load,
    make_presets,
    start,
    stock_settings,
)
from echoform_train.latent_diffusion.first_stage_training import validate as validate_reconstruction


@dataclass(frozen=True, kw_only=True)
class Config(FirstStageConfig):
    """Train the variational autoencoder that turns spectrograms into small continuous latents."""

    kl_weight: float = 1e-4
    """Pulls the latents' distribution to a standard normal one, a nat of a latent number."""
    ema_decay: float = 0.999
    """Decay of the averaged weights at each optimizer step; the averaged ones are validated and kept."""


PRESETS = make_presets(Config)
START_LOGVAR = -6.0
"""Log variance of the latents before training: a deviation of 0.05."""


class VariationalAutoencoder(nn.Module):
    """The forward pass of training around a stock AutoencoderKL, in one module for wrappers of many processes."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] and normal noise [B, D, h, w] -> reconstruction [B, C, H, W], KL divergence in nats.

        The divergence from the standard normal distribution is the mean over all latent numbers.
        """
        posterior = latent_distribution(self.vae, images)
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        latents = mean + (0.5 * logvar).exp() * noise
        return latents_to_images(self.vae, latents, quantize=False), kl_divergence(mean, logvar)


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """Mean divergence of normal distributions from the standard one, in nats a number (Kingma and Welling 2013)."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def build_model(config: Config, channels: int) -> AutoencoderKL:
    """A stock AutoencoderKL for images of `channels` channels, whose distributions start narrow.

    As wide as torch's weights make them, they would drown the latents until the encoder has learned to narrow them.
    """
    vae = AutoencoderKL(**stock_settings(config, channels))
    # Stock has it, for means and then log variances.
    assert vae.quant_conv is not None and vae.quant_conv.bias is not None
    with torch.no_grad():
        vae.quant_conv.weight[config.latent_channels :] = 0
        vae.quant_conv.bias[config.latent_channels :] = START_LOGVAR
    return vae


def main(config: Config) -> TrainingResult:
    """Train, keep the best model in OUTPUT_DIR/vqvae and what was measured in OUTPUT_DIR/facts.json."""
    return train(config, load(config))


def train(config: Config, data: SpectrogramData) -> TrainingResult:
    """Train on `data`; the exported folder of the result is OUTPUT_DIR.

    Raises:
        ValueError: If a setting is out of range.
        FloatingPointError: If a loss stops being finite.
        PushError: If the result cannot be pushed where it should be; noticed before the training where possible.
    """
    run = start(config, data)
    channels, resolution = data.train.pixels.shape[1], data.train.pixels.shape[-1]
    vae = build_model(config, channels)
    if config.run.gradient_checkpointing:
        vae.enable_gradient_checkpointing()
    run.accelerator.print(describe("KL-VAE", vae, data))
    shape = latent_shape(vae, channels, resolution)
    learner = Learner(config, run, VariationalAutoencoder(vae), channels)
    ema = make_ema(vae, config.ema_decay)
    resumed = run.resume(learner.optimizers())
    if resumed is not None:
        vae.load_state_dict(resumed["vae"])
        restore_ema(ema, resumed["ema"])
        learner.restore(resumed)
    run.accelerator.init_trackers("kl-vae", config={"preset": config.preset, "seed": config.run.seed})

    facts = {"kind": "kl-vae", "preset": config.preset, "kl_weight": config.kl_weight}
    while not run.done:
        for draw in run.draws():
            images = learner.images(data.train, draw)
            with run.accelerator.accumulate(learner.model):
                reconstruction, kl = learner.model(images, draw.randn(*shape).to(run.device))
                run.collect(kl_nats=kl)
                learner.descend(images, reconstruction, {"kl": config.kl_weight * kl})
        ema.update_parameters(vae)
        run.advance()
        if run.due(config.run.logging_every):
            run.log_means()
        if run.due(config.run.validation_every):
            with averaged(vae, ema):
                keep(vae, run, data, validate(vae, data.validation, run), facts)
        if run.due(config.run.checkpointing_every) or run.done:
            run.save(learner.optimizers(), {"vae": vae.state_dict(), "ema": ema_tensors(ema), **learner.tensors()})
    return finish(run)


def validate(vae: AutoencoderKL, images: Spectrograms, run: Run) -> dict[str, float]:
    """Held-out reconstruction from the mean as of `reconstruction.validate`, and the KL divergence in nats a number."""
    total = torch.zeros(2, device=run.device, dtype=torch.float64)  # divergence, images

    def reconstruct(batch: Tensor) -> Tensor:
        posterior = latent_distribution(vae, batch)
        kl = kl_divergence(posterior.mean, posterior.logvar)
        total.add_(torch.stack([kl * len(batch), torch.tensor(len(batch))]).to(total))
        return latents_to_images(vae, posterior.mode(), quantize=False)

    scores = validate_reconstruction(images, run, reconstruct)
    nats, count = summed(total, run.accelerator).tolist()
    return scores | {"kl_nats": nats / count}
