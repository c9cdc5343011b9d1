"""What quantisation costs: the VQ-VAE beside the same network without its codebook, on held-out spectrograms.

    python benchmarks/first_stage.py DATA OUTPUT_DIR [--resolution 64] [--train-images 40000] ...

Both networks see the same images in the same order and are judged on the test part of the same split: PSNR, use and
perplexity of the codebook, and the share of its accuracy that an identity judge keeps on reconstructions. The judge was
trained on real images. Writes OUTPUT_DIR/first_stage.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from diffusers import VQModel

from echoform_train import train_vq_vae
from echoform_train.codebook import nearest_codes
from echoform_train.config import DataConfig
from echoform_train.data.spectrograms import Spectrograms, load_spectrograms, to_model
from echoform_train.first_stage import MODEL, SPLIT, decode, encode
from echoform_train.judge import accuracy, train_judge
from echoform_train.metrics import codebook_usage, mean_interval, psnr
from echoform_train.provenance import provenance


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train and judge."""

    data: tyro.conf.Positional[str]
    """Folder of spectrograms."""
    output_dir: tyro.conf.Positional[Path]
    """Folder for both trainings and the JSON file."""
    split_file: Path | None = None
    """Split to use, such as that of a whole run. Default: a new one."""
    resolution: int = 64
    """Height and width, in pixels."""
    block_out_channels: tuple[int, ...] = (16, 32, 64)
    """Width of each level."""
    train_images: int = 40_000
    """Images that each network sees."""
    num_vq_embeddings: int = 256
    """Codes."""
    quantize_after: int | None = None
    """Images before the codebook starts. Default: a fifth of all."""
    commitment_weight: float = 0.25
    """Pulls latents to their codes."""
    variants: tuple[Literal["plain", "quantized"], ...] = ("plain", "quantized")
    """Which to train."""
    judge_seeds: tuple[int, ...] = (0, 1, 2)
    """One judge each."""
    judge_train_images: int = 12_000
    """Images that each judge sees."""


def main(config: Config) -> None:
    split_file = config.split_file or config.output_dir / SPLIT
    data = load_spectrograms(config.data, split_file=split_file, resolution=config.resolution)
    judges = [
        train_judge(
            data.train.pixels,
            data.train.users,
            len(data.id2label),
            seed=seed,
            train_images=config.judge_train_images,
        )
        for seed in config.judge_seeds
    ]
    real = [accuracy(judge, data.test.pixels, data.test.users) for judge in judges]
    results: dict[str, Any] = {"real_accuracy": mean_interval(real)._asdict()}
    for name in config.variants:
        quantize = name == "quantized"
        folder = config.output_dir / name
        facts = train(config, folder, split_file, quantize)
        vqvae = VQModel.from_pretrained(folder / MODEL)
        results[name] = judge_model(vqvae, data.test, quantize, judges, real) | {"seconds": facts["seconds"]}
    if {"plain", "quantized"} <= results.keys():
        results["psnr_lost_db"] = results["plain"]["psnr_db"] - results["quantized"]["psnr_db"]
    path = config.output_dir / "first_stage.json"
    path.write_text(json.dumps(results | provenance(), indent=1))
    print(json.dumps(results, indent=1))


def train(config: Config, folder: Path, split_file: Path, quantize: bool) -> dict[str, Any]:
    preset = train_vq_vae.PRESETS["cpu"]
    run = replace(
        preset.run,
        output_dir=folder,
        max_train_images=config.train_images,
        validation_every=config.train_images // 10,
        resume_from_checkpoint="latest",
    )
    settings = replace(
        preset,
        data=DataConfig(data=config.data, split_file=split_file, resolution=config.resolution),
        run=run,
        block_out_channels=config.block_out_channels,
        num_vq_embeddings=config.num_vq_embeddings,
        quantize_after=config.train_images // 5 if config.quantize_after is None else config.quantize_after,
        commitment_weight=config.commitment_weight,
        quantize=quantize,
    )
    train_vq_vae.main(settings)
    return json.loads((folder / "facts.json").read_text())


@torch.no_grad()
def judge_model(
    vqvae: VQModel, images: Spectrograms, quantize: bool, judges: list[Any], real: list[float]
) -> dict[str, Any]:
    latents = encode(vqvae, images.pixels)
    back = decode(vqvae, latents, quantize=quantize)
    kept = [accuracy(judge, back, images.users) / before for judge, before in zip(judges, real, strict=True)]
    scores: dict[str, Any] = {
        "psnr_db": psnr(to_model(back), to_model(images.pixels)),
        "accuracy_kept": mean_interval(kept)._asdict(),
    }
    if quantize:
        codes = nearest_codes(latents, vqvae.quantize.embedding.weight)
        counts = torch.bincount(codes.flatten(), minlength=len(vqvae.quantize.embedding.weight))
        scores |= codebook_usage(counts)._asdict()
    return scores


if __name__ == "__main__":
    main(tyro.cli(Config))
