"""`echoform train depth-ae`: train an autoencoder from uint16 depth images to an embedding and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from echoform.depth_autoencoder import DepthAutoencoder
from echoform.depth_sizes import COSINE_SIZES, SIZES
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train.depth.augment import augment_images
from echoform_train.depth.card_picture import write_picture
from echoform_train.depth.config import depth_facts, load_training_data
from echoform_train.depth.dataset import DepthData, depth_lines
from echoform_train.depth.depth_ae_config import PRESETS, Config
from echoform_train.depth.export import build_pipeline
from echoform_train.depth.objective import TrainingForward, training_losses
from echoform_train.depth.validation import save_reconstruction_sheet, validate
from echoform_train.engine.batches import Draw
from echoform_train.engine.callbacks import NO_CALLBACKS, Callbacks
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import AUTOENCODER, RECONSTRUCTIONS
from echoform_train.engine.learner import Learner
from echoform_train.engine.training_result import TrainingResult
from echoform_train.publishing.export import finish_training, start_training
from echoform_train.scoring.perceptual import PerceptualLoss

__all__ = ["PRESETS", "Config", "main"]

BALANCE_POWERS = {"map": 0.5, "cosine": 0.25}
"""Default of --balance-power by bottleneck; lower for cosine, whose coefficients are already more equal."""


def main(config: Config, callbacks: Callbacks = NO_CALLBACKS) -> TrainingResult:
    """Load the depth images, train, export the pipeline to OUTPUT_DIR/pipeline, and push it with --push-to-hub.

    The embedding of the exported model is balanced (see `balancing_map`), which does not change its reconstructions.
    """
    return train(config, load_training_data(config.data, config.run), callbacks)


def train(config: Config, data: DepthData, callbacks: Callbacks = NO_CALLBACKS) -> TrainingResult:
    """Train on images that are loaded already; see `main`."""
    if config.weights.contrastive_weight and not config.augmentation.any:
        raise UserError("--contrastive-weight needs at least one of the --augment options, none is given")
    run = start_training(config, data, callbacks)
    autoencoder = build_model(config, data.train.units.shape[-1])
    learner = Learner(run, AUTOENCODER, autoencoder, forward=TrainingForward(autoencoder), ema_decay=config.ema_decay)
    perceptual = PerceptualLoss().to(run.device) if config.weights.lpips_weight else None
    learner.resume()
    run.accelerator.print("\n".join([_describe(autoencoder, data), *depth_lines(data)]))
    run.start_trackers("depth-ae", config.preset)

    facts = _facts(config, autoencoder, data)
    num_views = 2 if config.weights.contrastive_weight else 1  # the contrastive loss needs two views
    while not run.done:
        # One optimizer step, of one or more forward passes.
        for draw in learner.passes():
            views = [draw_view(config, data, draw, run.device) for _ in range(num_views)]
            noise = draw_latent_noise(config, draw, run.device)
            parts = training_losses(learner.model, views, noise, config.weights, perceptual)
            learner.descend(torch.stack(list(parts.values())).sum(), **parts)
        # Validation uses the averaged weights, because those are exported.
        if run.due(config.run.validation_every):
            with learner.averaged():
                scores = validate(autoencoder, data, config.weights, run.accelerator)
                run.keep_if_best(autoencoder, AUTOENCODER, scores["loss"], scores, facts)
        if run.due(config.sample_every) and run.is_main:
            sheet = config.run.output_dir / RECONSTRUCTIONS / f"images-{run.seen:09d}.png"
            with learner.averaged():
                save_reconstruction_sheet(autoencoder, data, sheet)
            run.log_sheet(sheet)
        learner.save_if_due()

    # The pipeline gets the model with the lowest validation loss, which is not always the last one.
    def best_pipeline() -> DepthAutoencoderPipeline:
        best = DepthAutoencoder.from_pretrained(config.run.output_dir / AUTOENCODER)
        power = BALANCE_POWERS[config.bottleneck] if config.balance_power is None else config.balance_power
        return build_pipeline(best, data, power)

    return finish_training(run, best_pipeline, lambda pipeline, folder: write_picture(pipeline, data, folder))


def build_model(config: Config, sample_size: int) -> DepthAutoencoder:
    """The autoencoder that the settings describe, with random weights, for square images of `sample_size` pixels."""
    sizes = {"map": SIZES, "cosine": COSINE_SIZES}[config.bottleneck][config.size]
    names = ("latent_dim", "block_out_channels", "layers_per_block", "attention", "num_attention_heads", "dropout")
    given = {name: value for name in names if (value := getattr(config, name)) is not None}
    return DepthAutoencoder(sample_size=sample_size, **(sizes | given))


def draw_view(config: Config, data: DepthData, draw: Draw, device: torch.device) -> tuple[Tensor, Tensor]:
    """Depth in model range and validity [B, 1, H, W] of the drawn images, augmented differently at each call."""
    units = data.train.select(draw.indices).units.to(torch.float32).to(device)
    if config.augmentation.any:
        units = augment_images(units, draw.generators, config.augmentation, data.depth_range)
    return data.scale.to_model(units)


def draw_latent_noise(config: Config, draw: Draw, device: torch.device) -> Tensor | None:
    """Noise for the embeddings of the drawn images, float32 [B, D]; None if --latent-noise is 0."""
    return config.latent_noise * draw.randn(config.latent_dim).to(device) if config.latent_noise else None


def _describe(autoencoder: DepthAutoencoder, data: DepthData) -> str:
    """One line for the terminal: size of the model, image and embedding, number of images and their range."""
    side, low, high = data.train.units.shape[-1], data.depth_range_mm["min"], data.depth_range_mm["max"]
    model = f"depth autoencoder of {autoencoder.num_parameters() / 1e6:.1f} M parameters"
    shapes = f"{side}x{side} pixels -> {autoencoder.config['latent_dim']} numbers"
    return f"{model}: {shapes}, {len(data.train)} images of {low:g}..{high:g} mm"


def _facts(config: Config, autoencoder: DepthAutoencoder, data: DepthData) -> dict[str, Any]:
    """Facts of the run for facts.json, from which the model card is written."""
    return {
        "kind": "depth-ae",
        "preset": config.preset,
        "encoder_parameters": autoencoder.encoder.num_parameters(),
        "bottleneck": config.bottleneck,
        "latent_dim": config.latent_dim,
        "loss": asdict(config.weights),
        "augmentation": asdict(config.augmentation),
        "data": depth_facts(data),
    }
