"""First stages compared on held-out spectrograms: VQ-VAE, KL-VAE, no codebook, and diffusers' stock classes.

    python benchmarks/first_stage.py DATA OUTPUT_DIR [--train-images 40000] [--variants vq kl] [--output JSON] ...

All see the same number of images at the same learning rate and are scored on the test part of one split, as by
`echoform score first-stage`. `plain` is the VQ-VAE without its codebook, which shows what quantisation costs.
`stock_vq` and `stock_kl` keep the defaults of diffusers' classes where sizes allow, and are trained with squared
error and the loss of the class alone: a codebook learned by gradients from a uniform start, and a KL divergence
weighted by 1e-6. A finished training is not repeated.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from diffusers import AutoencoderKL, VQModel
from record import print_tables, write_results
from tables import RESULTS, Table, cell, mean_cell
from torch.nn import functional as F
from tqdm.auto import trange

from echoform_train.data.config import DataConfig
from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms, to_model
from echoform_train.data.split_files import split_to_read, write_split
from echoform_train.engine.files import FIRST_STAGE, SPLIT
from echoform_train.engine.schedules import learning_rate_at
from echoform_train.latent_diffusion.first_stage import (
    FirstStageModel,
    latent_distribution,
    latents_to_images,
    load_first_stage,
)
from echoform_train.latent_diffusion.first_stage_config import FirstStageConfig
from echoform_train.latent_diffusion.quality import measure_quality
from echoform_train.latent_diffusion.verdict import verdict
from echoform_train.scoring.judge import train_judges
from echoform_train.trainers import kl_vae as train_kl_vae
from echoform_train.trainers import vq_vae as train_vq_vae

Variant = Literal["plain", "vq", "kl", "stock_vq", "stock_kl"]
TITLES = {
    "plain": "plain",
    "vq": "VQ-VAE",
    "kl": "KL-VAE",
    "stock_vq": "stock VQModel",
    "stock_kl": "stock AutoencoderKL",
}
"""Names of the variants in the table."""
STOCK_GROUPS = 32
STOCK_KL_WEIGHT = 1e-6
WARMUP_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train and how to score it."""

    data: tyro.conf.Positional[str]
    """Folder of spectrograms."""
    output_dir: tyro.conf.Positional[Path]
    """Folder for the trainings."""
    output: Path = RESULTS / "first_stage.json"
    """JSON file to write."""
    split_file: Path | None = None
    """Split to use, such as that of an earlier run. Default: a new one."""
    window_s: float | None = None
    """Seconds in one image, for a new split. Default: axes.json of the data."""
    resolution: int = 64
    """Height and width, in pixels."""
    block_out_channels: tuple[int, ...] = (16, 32, 64)
    """Width of each level."""
    train_images: int = 40_000
    """Images that each network sees in training."""
    num_vq_embeddings: int = 256
    """Codes in the codebook."""
    quantize_after: int | None = None
    """Images seen before the codebook starts. Default: a fifth of the training."""
    commitment_weight: float = 0.25
    """Weight of the loss that pulls latents to their codes."""
    kl_weight: float | None = None
    """Weight of the KL-VAE's divergence. Default: that of `train kl-vae`."""
    variants: tuple[Variant, ...] = ("plain", "vq", "kl", "stock_vq", "stock_kl")
    """First stages to compare."""
    judge_seeds: tuple[int, ...] = (0, 1, 2)
    """Each seed trains one judge."""
    judge_train_images: int = 12_000
    """Images that each judge sees in training."""


def main(config: Config) -> None:
    split_file = config.split_file or config.output_dir / SPLIT
    data = load_spectrograms(
        config.data,
        split_file=split_to_read(config.split_file, config.output_dir),
        resolution=config.resolution,
        window_s=config.window_s,
    )
    write_split(data.split, split_file)  # the trainings read it
    judges = train_judges(data, config.judge_seeds, config.judge_train_images)
    results: dict[str, Any] = {}
    # Written after each variant, so that an interruption loses one training at most.
    for name in config.variants:
        folder = config.output_dir / name
        model, seconds = trained(config, data, name, folder, split_file)
        scores = measure_quality(model, data.test, data.train, data.id2label, judges, quantize=name != "plain").scores
        kept = {key: value for key, value in scores.items() if key != "error_spectrum"}
        parameters = sum(p.numel() for p in model.parameters())
        told = {"seconds": seconds, "parameters": parameters, "verdict": verdict(scores, len(data.id2label))}
        results[name] = kept | told
        images = {"train": len(data.train), "test": len(data.test)}
        facts = {"variants": results, "images": images}
        write_results(config, facts, {"variants": table(results, len(judges))})
    print_tables({"variants": table(results, len(judges))})


def trained(
    config: Config, data: SpectrogramData, name: Variant, folder: Path, split_file: Path
) -> tuple[FirstStageModel, float]:
    """The model of a variant, and the seconds that its training took."""
    # Stock classes have no training script: they are trained below in a plain loop.
    if name.startswith("stock"):
        if not (folder / "seconds.json").is_file():
            train_stock(config, data, name, folder)
        kind = AutoencoderKL if name == "stock_kl" else VQModel
        return kind.from_pretrained(folder / FIRST_STAGE), json.loads((folder / "seconds.json").read_text())
    shared = {
        "data": DataConfig(data=config.data, split_file=split_file, resolution=config.resolution),
        "block_out_channels": config.block_out_channels,
    }
    if name == "kl":
        weight = train_kl_vae.PRESETS["cpu"].kl_weight if config.kl_weight is None else config.kl_weight
        settings = replace(_preset(train_kl_vae.PRESETS["cpu"], config, folder), **shared, kl_weight=weight)
        train_kl_vae.main(settings)
    else:
        after = config.train_images // 5 if config.quantize_after is None else config.quantize_after
        settings = replace(
            _preset(train_vq_vae.PRESETS["cpu"], config, folder),
            **shared,
            num_vq_embeddings=config.num_vq_embeddings,
            quantize_after=after,
            commitment_weight=config.commitment_weight,
            quantize=name == "vq",
        )
        train_vq_vae.main(settings)
    stage = load_first_stage(folder)
    return stage.model, stage.facts["seconds"]


def _preset(preset: Any, config: Config, folder: Path) -> Any:
    run = replace(
        preset.run,
        output_dir=folder,
        max_train_images=config.train_images,
        validation_every=config.train_images // 10,
        resume_from_checkpoint="latest",
    )
    return replace(preset, run=run)


def train_stock(config: Config, data: SpectrogramData, name: Variant, folder: Path) -> None:
    """Train a stock class in a plain loop and save it."""
    started = time.perf_counter()
    torch.manual_seed(0)
    # The class's own settings, in the sizes of the other variants.
    preset: FirstStageConfig = train_vq_vae.PRESETS["cpu"]
    levels, channels = len(config.block_out_channels), data.train.pixels.shape[1]
    settings: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": config.block_out_channels,
        "latent_channels": preset.latent_channels,
        "norm_num_groups": math.gcd(STOCK_GROUPS, *config.block_out_channels),
    }
    model: FirstStageModel
    if name == "stock_kl":
        model = AutoencoderKL(**settings)
    else:
        model = VQModel(**settings, num_vq_embeddings=config.num_vq_embeddings)
    # Batch size, learning rate and schedule are those of the other variants.
    size, rate = preset.run.train_batch_size, preset.run.learning_rate
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    steps = config.train_images // size
    generator = torch.Generator().manual_seed(0)
    for step in trange(steps, desc=name, unit="step"):
        chosen = torch.randint(len(data.train), (size,), generator=generator)
        loss = stock_loss(model, to_model(data.train.pixels[chosen]))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(
                step, peak=rate, warmup_steps=min(WARMUP_STEPS, steps), total_steps=steps, shape="cosine"
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), preset.run.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    model.save_pretrained(folder / FIRST_STAGE)
    (folder / "seconds.json").write_text(json.dumps(time.perf_counter() - started))


def stock_loss(model: FirstStageModel, images: torch.Tensor) -> torch.Tensor:
    """Squared error plus the loss that the class itself defines."""
    if isinstance(model, AutoencoderKL):
        posterior = latent_distribution(model, images)
        own = STOCK_KL_WEIGHT * posterior.kl().mean()
        return F.mse_loss(latents_to_images(model, posterior.sample(), quantize=False), images) + own
    output: Any = model(images)
    return F.mse_loss(output.sample, images) + output.commit_loss.mean()


def table(results: dict[str, Any], judges: int) -> Table:
    """Scores with their intervals: of PSNR and SSIM over images, of the accuracy over judges."""
    rows = []
    for name, scores in results.items():
        book = scores["codebook"]
        codes = cell("{:.0f} %, {:.0f} of {}", 100 * book["use"], book["perplexity"], book["size"]) if book else ""
        row = [
            TITLES[name],
            mean_cell(scores["psnr_db"], "{:.2f}", " dB"),
            mean_cell(scores["ssim"], "{:.4f}"),
            cell("{:.2f} dB", scores["noisy_latents_psnr_db"]),
            mean_cell(scores["accuracy"]["kept"], "{:.1f}", " %", 100),
            codes,
            "yes" if scores["verdict"]["good_enough"] else "no",
        ]
        rows.append(row)
    shown = ("PSNR", "SSIM", "PSNR, latents 10 % off", f"accuracy kept, {judges} judges", "codes in use, perplexity")
    return {"columns": ["one training each", *shown, "good enough"], "rows": rows}


if __name__ == "__main__":
    main(tyro.cli(Config))
