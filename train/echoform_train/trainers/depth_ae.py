"""`echoform train depth-ae`: train an autoencoder from uint16 depth images to an embedding and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from echoform.depth_autoencoder import DepthAutoencoder
from echoform.depth_sizes import COSINE_SIZES, SIZES
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train.depth.augment import Augmentation, augment_images
from echoform_train.depth.config import DepthDataConfig, depth_facts, load_training_data
from echoform_train.depth.dataset import DepthData, depth_lines
from echoform_train.depth.export import build_pipeline
from echoform_train.depth.objective import TrainingForward, Weights, training_losses
from echoform_train.depth.validation import save_reconstruction_sheet, validate
from echoform_train.engine.batches import Draw
from echoform_train.engine.config import RunConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import AUTOENCODER, RECONSTRUCTIONS
from echoform_train.engine.learner import Learner
from echoform_train.engine.limits import Channels, Decay, Dropout, Heads, Length, LimitedSettings, Limits, Weight
from echoform_train.engine.presets import make_preset
from echoform_train.engine.training_result import TrainingResult
from echoform_train.publishing.export import finish_training, start_training
from echoform_train.scoring.perceptual import PerceptualLoss

BALANCE_POWERS = {"map": 0.5, "cosine": 0.25}
"""Default of --balance-power by bottleneck; lower for cosine, whose coefficients are already more equal."""


@dataclass(frozen=True, kw_only=True)
class Config(LimitedSettings):
    """Train the depth autoencoder and export its pipeline."""

    preset: Literal["cpu", "small", "large"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    data: tyro.conf.OmitArgPrefixes[DepthDataConfig]
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    bottleneck: Literal["map", "cosine"] = "map"
    """Kind of embedding: a learned map of the image, or coefficients of a cosine transform between two U-Nets."""
    size: Literal["small", "large"] = "small"
    """Size of the model, which sets the defaults of the next three flags."""
    latent_dim: Channels = 768
    """Dimensions of the embedding."""
    block_out_channels: Annotated[tuple[int, ...] | None, Limits(1, 65_536)] = None
    """Channels of each of the four stages."""
    layers_per_block: Annotated[tuple[int, ...] | None, Limits(1, 64)] = None
    """Residual blocks of each stage."""
    attention: tuple[bool, ...] | None = None
    """Which stages have attention."""
    num_attention_heads: Heads = 4
    """Heads of each attention layer."""
    dropout: Dropout = 0.0
    """Dropout inside the residual blocks."""
    balance_power: Annotated[float | None, Limits(0, 1)] = None
    """How strongly the variances of the principal components of the embedding are equalised after training: 0 not at
    all, 1 completely (whitening). Default: 0.5 for the bottleneck map, 0.25 for cosine."""

    weights: tyro.conf.OmitArgPrefixes[Weights] = field(default_factory=Weights)
    augmentation: tyro.conf.OmitArgPrefixes[Augmentation] = field(default_factory=Augmentation)
    latent_noise: Weight = 0.0
    """Standard deviation of noise added to the embedding in training, relative to its root mean square. With noise,
    similar embeddings decode to similar images."""
    ema_decay: Decay = 0.999
    """Decay per optimizer step of the averaged weights, which are validated and exported."""
    sample_every: Length = 50_000
    """Images seen between two sheets of reconstructions."""


_CPU_RUN: dict[str, Any] = {"max_train_images": 150_000, "train_batch_size": 8, "validation_every": 10_000}
_GPU_RUN: dict[str, Any] = {"max_train_images": 3_000_000, "train_batch_size": 64, "lr_warmup_steps": 500}
_GPU_RUN |= {"checkpointing_every": 100_000, "validation_every": 50_000}
PRESETS = {
    "cpu": make_preset(Config, "cpu", _CPU_RUN | {"learning_rate": 1e-3}, DepthDataConfig, sample_every=25_000),
    "small": make_preset(Config, "small", _GPU_RUN | {"learning_rate": 1e-3}, DepthDataConfig),
    "large": make_preset(Config, "large", _GPU_RUN | {"learning_rate": 5e-4}, DepthDataConfig, size="large"),
}


def main(config: Config) -> TrainingResult:
    """Load the depth images, train, export the pipeline to OUTPUT_DIR/pipeline, and push it with --push-to-hub.

    The embedding of the exported model is balanced (see `balancing_map`), which does not change its reconstructions.
    """
    return train(config, load_training_data(config.data, config.run))


def train(config: Config, data: DepthData) -> TrainingResult:
    """Train on images that are loaded already; see `main`."""
    if config.weights.contrastive_weight and not config.augmentation.any:
        raise UserError("--contrastive-weight needs at least one of the --augment options, none is given")
    run = start_training(config, data)
    autoencoder = build_model(config, data.train.units.shape[-1])
    learner = Learner(run, AUTOENCODER, autoencoder, forward=TrainingForward(autoencoder), ema_decay=config.ema_decay)
    perceptual = PerceptualLoss().to(run.device) if config.weights.lpips_weight else None
    learner.resume()
    run.accelerator.print("\n".join([_describe(autoencoder, data), *depth_lines(data)]))
    run.accelerator.init_trackers("depth-ae", config={"preset": config.preset, "seed": config.run.seed})

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
        learner.save_if_due()

    # The pipeline gets the model with the lowest validation loss, which is not always the last one.
    def best_pipeline() -> DepthAutoencoderPipeline:
        best = DepthAutoencoder.from_pretrained(config.run.output_dir / AUTOENCODER)
        power = BALANCE_POWERS[config.bottleneck] if config.balance_power is None else config.balance_power
        return build_pipeline(best, data, power)

    return finish_training(run, best_pipeline)


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
