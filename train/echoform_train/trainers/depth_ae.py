"""`echoform train depth-ae`: uint16 depth images to a few hundred numbers and back, in millimetres."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np
import torch
import tyro
from accelerate import Accelerator
from torch import Tensor, nn

from echoform.depth_autoencoder import COSINE_SIZES, SIZES, DepthAutoencoder
from echoform.pipeline_depth_autoencoder import encode_units
from echoform_train.depth.augment import Augmentation, augmented
from echoform_train.depth.balance import balancing_map
from echoform_train.depth.config import DepthDataConfig, depth_facts, load_depth_data
from echoform_train.depth.dataset import DepthData
from echoform_train.depth.export import build_pipeline, export_pipeline
from echoform_train.depth.metrics import ImageSums, mae_mm, psnr_db, rmse_mm, validity_iou
from echoform_train.depth.objective import NoisyAutoencoder, Weights, reconstruction_parts, weighted_parts
from echoform_train.depth.painting import paint_depth, paint_error, save_sheet
from echoform_train.depth.reconstruction import embed, reconstruct
from echoform_train.depth.scale import Scale
from echoform_train.engine.config import RunConfig, fixed_settings, make_preset
from echoform_train.engine.ema import averaged, ema_tensors, make_ema, restore_ema
from echoform_train.engine.files import AUTOENCODER, FACTS, PIPELINE, SPLIT
from echoform_train.engine.processes import summed
from echoform_train.engine.provenance import provenance
from echoform_train.engine.run import Draw, Run
from echoform_train.engine.training_result import TrainingResult
from echoform_train.publishing.push import check_before_training, push_after_training
from echoform_train.scoring.perceptual import PerceptualLoss

SHEET_IMAGES = 12
BALANCE_POWERS = {"map": 0.5, "cosine": 0.25}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Train the depth autoencoder and export its pipeline."""

    preset: Literal["cpu", "small", "large"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    data: tyro.conf.OmitArgPrefixes[DepthDataConfig]
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    bottleneck: Literal["map", "cosine"] = "map"
    """What the embedding is: a learned map of the image, or coefficients of a cosine transform between U-Nets."""
    size: Literal["small", "large"] = "small"
    """Widths, blocks and attention of the bottleneck's model, where the next three do not say."""
    latent_dim: int = 768
    """Numbers of the embedding."""
    block_out_channels: tuple[int, ...] | None = None
    """Width of each of the four stages."""
    layers_per_block: tuple[int, ...] | None = None
    """Residual blocks of each stage."""
    attention: tuple[bool, ...] | None = None
    """Which stages attend."""
    num_attention_heads: int = 4
    """Heads of each attention."""
    dropout: float = 0.0
    """Dropout inside the residual blocks."""
    balance_power: float | None = None
    """How far the embedding's principal components are brought to one size after training: 0 leaves them, 1 whitens.
    Default: 0.5 of a map, 0.25 of cosine coefficients, which are nearer to it as they are."""

    weights: tyro.conf.OmitArgPrefixes[Weights] = field(default_factory=Weights)
    augmentation: tyro.conf.OmitArgPrefixes[Augmentation] = field(default_factory=Augmentation)
    latent_noise: float = 0.0
    """Normal noise on the embedding in training, as a share of its root mean square: neighbours decode alike."""
    ema_decay: float = 0.999
    """Decay of the averaged weights at each optimizer step; the averaged ones are validated and exported."""
    sample_every: int = 50_000
    """Images seen between two sheets of reconstructions."""


_GPU_RUN: dict[str, Any] = {
    "max_train_images": 3_000_000,
    "train_batch_size": 64,
    "lr_warmup_steps": 500,
    "validation_every": 50_000,
    "checkpointing_every": 100_000,
}
PRESETS = {
    "cpu": make_preset(
        Config,
        "cpu",
        {"max_train_images": 150_000, "train_batch_size": 8, "learning_rate": 1e-3, "validation_every": 10_000},
        DepthDataConfig,
        sample_every=25_000,
    ),
    "small": make_preset(Config, "small", {**_GPU_RUN, "learning_rate": 1e-3}, DepthDataConfig),
    "large": make_preset(Config, "large", {**_GPU_RUN, "learning_rate": 5e-4}, DepthDataConfig, size="large"),
}


def main(config: Config) -> TrainingResult:
    """Train, export the pipeline to OUTPUT_DIR/pipeline, and push it where that was asked for."""
    split_file = config.data.split_file or config.run.output_dir / SPLIT
    data = load_depth_data(config.data, split_file, config.run.seed)
    data.split.save(config.run.output_dir / SPLIT)
    return train(config, data)


def train(config: Config, data: DepthData) -> TrainingResult:
    """Train on `data`, and export the pipeline to OUTPUT_DIR/pipeline.

    Raises:
        ValueError: If there is nothing to validate on, or settings contradict one another.
        FloatingPointError: If a loss stops being finite.
        PushError: If the result cannot be pushed where it should be; noticed before the training where possible.
    """
    _check(config, data)
    run = Run(config.run, len(data.train), fixed_settings(config))
    check_before_training(run)
    torch.manual_seed(config.run.seed)
    autoencoder = build_model(config, data.train.units.shape[-1])
    if config.run.gradient_checkpointing:
        autoencoder.enable_gradient_checkpointing()
    autoencoder.to(run.device, memory_format=run.memory_format)  # pyright: ignore[reportCallIssue]
    ema = make_ema(autoencoder, config.ema_decay)
    run.accelerator.print(
        f"depth autoencoder of {_count(autoencoder) / 1e6:.1f} M parameters: {data.train.units.shape[-1]} pixels "
        f"square -> {config.latent_dim} numbers, {len(data.train)} images of "
        f"{data.depth_range_mm['min']:g}..{data.depth_range_mm['max']:g} mm"
    )
    raw = NoisyAutoencoder(autoencoder)
    model, optimizer = run.accelerator.prepare(raw, run.optimizer(raw))
    perceptual = PerceptualLoss().to(run.device) if config.weights.lpips_weight else None
    resumed = run.resume({"optimizer": optimizer})
    if resumed is not None:
        autoencoder.load_state_dict(resumed["autoencoder"])
        restore_ema(ema, resumed["ema"])
    run.accelerator.init_trackers("depth-ae", config={"preset": config.preset, "seed": config.run.seed})

    output_dir = config.run.output_dir
    while not run.done:
        for draw in run.draws():
            with run.accelerator.accumulate(model):
                parts = weighted_parts(model, *_inputs(config, data, draw, run.device), config.weights, perceptual)
                loss = torch.stack(list(parts.values())).sum()
                run.collect(loss=loss, **parts)
                run.descend(loss, optimizer, model)
        ema.update_parameters(autoencoder)
        run.advance()
        if run.due(config.run.logging_every):
            run.log_means()
        if run.due(config.run.validation_every):
            with averaged(autoencoder, ema):
                scores = validate(autoencoder, config, data, run)
                run.log({f"validation/{name}": value for name, value in scores.items()})
                if run.judge_best(scores["loss"]) and run.is_main:
                    autoencoder.save_pretrained(output_dir / AUTOENCODER)
                    facts = _facts(config, run, data, autoencoder) | {"validation": scores, "best_after": run.seen}
                    (output_dir / FACTS).write_text(json.dumps(facts, indent=1))
        if run.due(config.sample_every) and run.is_main:
            with averaged(autoencoder, ema):
                save_reconstructions(autoencoder, data, run)
        if run.due(config.run.checkpointing_every) or run.done:
            run.save({"optimizer": optimizer}, {"autoencoder": autoencoder.state_dict(), "ema": ema_tensors(ema)})
    result = run.finish(output_dir / PIPELINE)
    facts = result.facts
    if run.is_main:
        best = DepthAutoencoder.from_pretrained(output_dir / AUTOENCODER)
        latents = embed(best, data.train.units, Scale(data.depth_range_mm, data.units_per_mm))
        power = BALANCE_POWERS[config.bottleneck] if config.balance_power is None else config.balance_power
        best.balance(*balancing_map(latents, power))
        export_pipeline(build_pipeline(best, data), facts, output_dir / PIPELINE)
    push_after_training(run, result)
    return result


def build_model(config: Config, sample_size: int) -> DepthAutoencoder:
    """The autoencoder of the settings for images of `sample_size` pixels a side."""
    shape = {name: getattr(config, name) for name in ("block_out_channels", "layers_per_block", "attention")}
    of_size = {"map": SIZES, "cosine": COSINE_SIZES}[config.bottleneck][config.size]
    return DepthAutoencoder(
        sample_size=sample_size,
        latent_dim=config.latent_dim,
        num_attention_heads=config.num_attention_heads,
        dropout=config.dropout,
        **(of_size | {name: value for name, value in shape.items() if value is not None}),
    )


def _inputs(
    config: Config, data: DepthData, draw: Draw, device: torch.device
) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    """The views of a draw, and noise [B, D] for the latents of the first."""
    views = [_view(config, data, draw, device) for _ in range(2 if config.weights.contrastive_weight else 1)]
    noise = config.latent_noise * draw.randn(config.latent_dim).to(device) if config.latent_noise else None
    return views, noise


def _view(config: Config, data: DepthData, draw: Draw, device: torch.device) -> tuple[Tensor, Tensor]:
    """Model-range depth and validity [B, 1, H, W] of a draw; augmented anew at each call."""
    units = data.train.select(draw.indices).units.to(torch.float32).to(device)
    if config.augmentation.any:
        low, high = data.depth_range
        units = augmented(units, draw.generators, config.augmentation, (low, high))
    return encode_units(units, data.depth_range_mm, data.units_per_mm)


def validate(autoencoder: DepthAutoencoder, config: Config, data: DepthData, run: Run) -> dict[str, float]:
    """Held-out loss and its parts, and what they mean in millimetres, shared among processes.

    The model runs as whoever loads it will run it, in float32.
    """
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    mine = torch.arange(rank, len(data.validation), world)
    scale = Scale(data.depth_range_mm, data.units_per_mm)
    found = reconstruct(autoencoder, data.validation.select(mine).units, scale)
    parts = {name: torch.zeros((), device=run.device) for name in ("huber", "gradient", "validity", "l1", "mse")}
    for batch in torch.arange(len(mine)).split(64):
        made, depth, valid = found.reconstructed[batch], found.depth[batch], found.valid[batch]
        values = reconstruction_parts(made, found.valid_logit[batch], depth, valid, config.weights)
        values["l1"] = ((made - depth).abs() * valid).mean()
        values["mse"] = ((made - depth).square() * valid).mean()
        for name, value in values.items():
            parts[name] += len(batch) / len(data.validation) * value.to(run.device)
    means = {name: summed(value, run.accelerator).item() for name, value in parts.items()}
    scores = {"loss": means["huber"] + means["gradient"] + means["validity"]} | means
    sums = shared_sums(found.sums(scale), run.accelerator)
    return scores | {
        "psnr_db": psnr_db(sums, scale.peak_mm),
        "rmse_mm": rmse_mm(sums),
        "mae_mm": mae_mm(sums),
        "validity_iou": validity_iou(sums),
    }


def save_reconstructions(autoencoder: DepthAutoencoder, data: DepthData, run: Run) -> None:
    """Held-out images above their reconstructions and the errors (bright: a tenth of the range), as a picture."""
    chosen = torch.linspace(0, len(data.validation) - 1, min(SHEET_IMAGES, len(data.validation))).long()
    found = reconstruct(
        autoencoder, data.validation.select(chosen).units, Scale(data.depth_range_mm, data.units_per_mm)
    )
    rows = [
        paint_depth(found.depth, found.valid),
        paint_depth(found.reconstructed, found.valid_logit > 0),
        paint_error((found.reconstructed - found.depth).abs() / 0.2, found.valid),
    ]
    save_sheet(rows, run.config.output_dir / "reconstructions" / f"images-{run.seen:09d}.png")


def _check(config: Config, data: DepthData) -> None:
    if not len(data.validation):
        raise ValueError(f"a training needs validation images, the split of {data.source} has none")
    if config.weights.contrastive_weight and not config.augmentation.any:
        raise ValueError("--contrastive-weight compares augmented views, choose at least one of the --augment options")
    if config.latent_noise < 0:
        raise ValueError(f"--latent-noise must not be negative, got {config.latent_noise}")


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _facts(config: Config, run: Run, data: DepthData, autoencoder: DepthAutoencoder) -> dict[str, Any]:
    return {
        "kind": "depth-ae",
        "preset": config.preset,
        "parameters": _count(autoencoder),
        "encoder_parameters": _count(autoencoder.encoder),
        "bottleneck": config.bottleneck,
        "latent_dim": config.latent_dim,
        "loss": asdict(config.weights),
        "augmentation": asdict(config.augmentation),
        "data": depth_facts(data),
        "precision": run.accelerator.mixed_precision,
        "images_a_step": run.images_a_step,
        **provenance(),
    }


def shared_sums(sums: ImageSums, accelerator: Accelerator) -> ImageSums:
    """The sums of the images of all processes together, as those of one image."""
    totals = {field.name: getattr(sums, field.name) for field in fields(ImageSums)}
    known = {name: values.sum() for name, values in totals.items() if values is not None}
    everywhere = summed(torch.tensor(list(known.values()), dtype=torch.float64, device=accelerator.device), accelerator)
    return ImageSums(**{name: np.array([value]) for name, value in zip(known, everywhere.tolist(), strict=True)})
