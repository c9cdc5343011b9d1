"""What the output activation of a convolutional autoencoder does to brightness and detail: none and sigmoid.

    python benchmarks/output_activation.py DATA OUTPUT_DIR [--train-images 6000] [--seeds 0 1 2] [--output JSON] ...

DATA is a folder made by `echoform simulate`, whose images are used as RGB. For every seed both networks start from
the same weights, see the same images in the same order and are scored on the test part of the same split, as by
`echoform score conv-ae`. Draws OUTPUT_DIR/output_activation.png.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from record import print_tables, write_results
from tables import RESULTS, Table, mean_cell
from torch import Tensor

from echoform.conv_autoencoder import ConvAutoencoder
from echoform_train.conv.quality import score_model
from echoform_train.conv.reconstruction import reconstruct_batches
from echoform_train.conv.score_table import METRIC_TITLES
from echoform_train.data.image_config import ImageDataConfig
from echoform_train.data.images import ImageData, load_image_data
from echoform_train.data.split_files import split_to_read, write_split
from echoform_train.engine.evaluation import evaluation_mode
from echoform_train.engine.files import AUTOENCODER, SPLIT
from echoform_train.scoring.image_quality import brightness_each
from echoform_train.scoring.intervals import mean_interval
from echoform_train.trainers import conv_ae as train_conv_ae

Activation = Literal["none", "sigmoid"]
ACTIVATIONS: tuple[Activation, ...] = ("none", "sigmoid")
SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train and measure."""

    data: tyro.conf.Positional[str]
    """Folder of spectrograms."""
    output_dir: tyro.conf.Positional[Path]
    """Folder for the trainings and the figure."""
    output: Path = RESULTS / "output_activation.json"
    """JSON file to write."""
    resolution: int = 64
    """Height and width, in pixels."""
    train_images: int = 6_000
    """Images that each network sees in training."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of weights and order; at least two, for an interval."""
    width_factor: float = 0.25
    """Share of VGG's channels."""
    upsampling: Literal["unpool", "transpose"] = "unpool"
    """unpool gives the decoder the indices of the maxima; transpose decodes from the latents alone."""


def main(config: Config) -> None:
    split_file = config.output_dir / SPLIT
    settings: dict[str, Any] = {"resolution": config.resolution, "color": "rgb"}
    source = ImageDataConfig(data=config.data, split_file=split_file, **settings)
    data = load_image_data(source, split_to_read(None, config.output_dir), 0, **settings)
    write_split(data.split, split_file)  # the trainings read it
    # Both networks of a seed are neighbours in `rows`, so that differences can be paired.
    rows = []
    for seed in config.seeds:
        for activation in ACTIVATIONS:
            folder = config.output_dir / f"{activation}-{seed}"
            facts = train(config, source, data, folder, activation, seed)
            model = ConvAutoencoder.from_pretrained(folder / AUTOENCODER)
            scores, _ = score_model(model, data)
            methods = {
                method: {name: interval.mean for name, interval in values.items()}
                for method, values in scores.methods.items()
            }
            row = {"activation": activation, "seed": seed, "seconds": facts["seconds"], "methods": methods}
            rows.append(row | methods["model"])
    # Mean and interval over seeds, of each network and of their difference.
    means = {
        activation: {
            name: mean_interval([row[name] for row in rows if row["activation"] == activation])._asdict()
            for name in METRIC_TITLES
        }
        for activation in ACTIVATIONS
    }
    differences = {
        name: mean_interval(
            [rows[place + 1][name] - rows[place][name] for place in range(0, len(rows), len(ACTIVATIONS))]
        )._asdict()
        for name in METRIC_TITLES
    }
    means["sigmoid less none"] = differences
    images = {"train": len(data.train), "test": len(data.test)}
    tables = {"activations": activation_table(means, len(config.seeds))}
    write_results(config, {"images": images, "rows": rows, "mean": means}, tables)
    draw(config, data)
    print_tables(tables)


def activation_table(means: dict[str, dict[str, dict[str, float]]], seeds: int) -> Table:
    """Both networks and their difference, with intervals over the seeds."""
    formats: dict[str, tuple[str, str, str, float]] = {
        "psnr_db": ("PSNR", "{:.1f}", " dB", 1),
        "ssim": ("SSIM", "{:.3f}", "", 1),
        "brightness_shift": ("brighter than the input, of 255", "{:.1f}", "", 1),
        "detail_kept": ("detail kept (energy of differences of neighbours)", "{:.1f}", " %", 100),
    }
    rows = [
        [
            title,
            *(mean_cell(means[activation][name], text, unit, factor) for activation in ACTIVATIONS),
            mean_cell(means["sigmoid less none"][name], text, " points" if unit == " %" else unit, factor),
        ]
        for name, (title, text, unit, factor) in formats.items()
    ]
    return {"columns": [f"95 % intervals over {seeds} seeds", *means], "rows": rows}


def train(
    config: Config, source: ImageDataConfig, data: ImageData, folder: Path, activation: Activation, seed: int
) -> dict[str, Any]:
    preset = train_conv_ae.PRESETS["cpu"]
    # float32 and no early stop, so that nothing but the activation differs.
    run = replace(
        preset.run,
        output_dir=folder,
        seed=seed,
        max_train_images=config.train_images,
        validation_every=config.train_images // 5,
        early_stopping_patience=0,
        checkpoints_total_limit=1,
        mixed_precision="no",
        report_to="none",
        resume_from_checkpoint="latest",
    )
    settings = replace(
        preset,
        data=source,
        run=run,
        backbone="vgg13",
        width_factor=config.width_factor,
        upsampling=config.upsampling,
        output_activation=activation,
        sample_every=config.train_images,
    )
    return train_conv_ae.train(settings, data).facts


def draw(config: Config, data: ImageData) -> None:
    """Draw test images and what the networks of the first seed make of them, each with its mean brightness."""
    shown = torch.linspace(0, len(data.test) - 1, SHOWN).round().long()
    pixels = data.test.pixels[shown]
    rows = {"input": pixels.float() / 255}
    for activation in ACTIVATIONS:
        model = ConvAutoencoder.from_pretrained(config.output_dir / f"{activation}-{config.seeds[0]}" / AUTOENCODER)
        with evaluation_mode(model):
            rows[activation] = torch.cat(
                [model.to_unit(batch.reconstructed) for batch in reconstruct_batches(model, pixels)]
            )
    figure = Figure(figsize=(1.5 * SHOWN + 0.5, 1.75 * len(rows)), layout="constrained")
    for row, (name, images) in zip(figure.subplots(len(rows), SHOWN), rows.items(), strict=True):
        for axis, image, brightness in zip(row, images, _brightness(images), strict=True):
            axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{brightness:.0f}", fontsize=8)
        row[0].set_ylabel(name)
    figure.suptitle("Mean brightness of each image, of 255", fontsize=9)
    FigureCanvasAgg(figure).print_png(config.output_dir / "output_activation.png")


def _brightness(images: Tensor) -> list[float]:
    return (255 * brightness_each(images)).tolist()


if __name__ == "__main__":
    main(tyro.cli(Config))
