"""`echoform score conv-ae`: what a convolutional autoencoder gives back of held-out pictures, and what it changes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from echoform.conv_autoencoder import ConvAutoencoder
from echoform.pipeline_conv_autoencoder import ConvAutoencoderPipeline
from echoform_train.conv.quality import alone, evaluating, passed
from echoform_train.data.images import ImageData, Images, ImageSourceConfig, image_facts, load_image_data
from echoform_train.data.painting import save_sheet
from echoform_train.data.spectrograms import to_pixels
from echoform_train.engine.files import SCORES
from echoform_train.engine.provenance import provenance
from echoform_train.publishing.card import write_card
from echoform_train.scoring.image_quality import brightness_each, detail_each, ssim_each
from echoform_train.scoring.intervals import Interval, bootstrap_sums, percentile_ends
from echoform_train.scoring.paths import scoring_paths

SHOWN = 4
BLOCK = 10
"""Consecutive images that the bootstrap draws together, fewer where there are few."""
MANY = 20

LABELS = {
    "psnr_db": "PSNR, dB",
    "ssim": "SSIM",
    "brightness_shift": "Brightness, 1/255",
    "detail_kept": "Detail kept",
}
"""What each score is, in words, in the order to show them."""

METHODS = {
    "model": "model",
    "alone": "latents alone",
    "mean": "mean image",
    "resized": "resized",
}
"""Whose scores stand beside one another; "resized" has as many numbers as the latents."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Score a convolutional autoencoder on held-out pictures: error, structure, brightness and detail."""

    pipeline: tyro.conf.Positional[str]
    """Exported pipeline: a folder, or user/model on the Hub."""
    data: tyro.conf.OmitArgPrefixes[ImageSourceConfig]
    output: Path | None = None
    """Folder for scores.json and the pictures. Default: `scores` beside the folder of the pipeline."""
    seed: int = 0
    """Seed of the training, which drew the split."""
    card: bool = True
    """Write the scores into the card of the pipeline, where it is a folder."""
    device: str = "auto"
    """Where the model runs; auto: on the GPU, if there is one."""


def main(config: Config) -> None:
    """Score, print the table, write the JSON file and the pictures, and renew the card."""
    folder = Path(config.pipeline)
    output, split_file = scoring_paths(config.pipeline, config.output, config.data.split_file)
    pipeline = ConvAutoencoderPipeline.from_pretrained(config.pipeline)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    model = pipeline.to(device).autoencoder
    data = load_image_data(
        config.data,
        split_file,
        config.seed,
        resolution=model.config["sample_size"],
        color="grey" if model.config["in_channels"] == 1 else "rgb",
    )
    scores, methods = score(model, data)
    output.mkdir(parents=True, exist_ok=True)
    (output / SCORES).write_text(json.dumps(scores | provenance(), indent=1) + "\n")
    draw(model, data.test, methods["model"], output)
    if folder.is_dir() and config.card:
        write_card(folder, scores=card_scores(scores))
    print("\n".join(describe(scores)))
    print(f"Written to {output}")


@dataclass(frozen=True)
class Measured:
    """Numbers of each image, float64 [N]."""

    squared: Tensor
    """Mean squared error, of pixels in 0..1."""
    ssim: Tensor
    brightness: tuple[Tensor, Tensor]
    """Mean of the input and of the output, 0..1."""
    detail: tuple[Tensor, Tensor]
    """Gradient energy of the input and of the output."""


def score(model: ConvAutoencoder, data: ImageData) -> tuple[dict[str, Any], dict[str, Measured]]:
    """Measure a model and what is simpler on the test part of `data`.

    Beside the model stand its latents alone, without the places of the maxima (where it unpools); the mean training
    image; and the image shrunk to as many numbers as the latents have and enlarged again, where those are fewer.

    Returns:
        JSON-able: "methods", by the names of METHODS and in each by those of LABELS {"mean", "low", "high"}, a 95 %
        bootstrap interval over "interval_over"; "images", numbers of each; "settings". And what each method measured.

    Raises:
        ValueError: If there are no test images, or they are smaller than a window of SSIM.
    """
    if not len(data.test):
        raise ValueError(f"scoring needs test images, the split of {data.source} has none")
    methods = _methods(model, data)
    groups, interval_over = _groups(len(data.test))
    shape, places = model.latent_shape, _places(model)
    return {
        "methods": {name: _summary(measured, groups) for name, measured in methods.items()},
        "images": _rows(data.test, methods["model"]),
        "settings": {
            "images": len(data.test),
            "interval_over": interval_over,
            "numbers": math.prod(shape),
            "values_of_an_image": data.test.pixels[0].numel(),
            "bits_around_the_latents": 2 * places,
            "data": image_facts(data),
        },
    }, methods


def describe(scores: dict[str, Any]) -> Iterator[str]:
    """The scores as lines of a table."""
    width = max(map(len, LABELS.values()))
    methods = [name for name in METHODS if name in scores["methods"]]
    yield f"{'':<{width}}  {'model (95 % interval)':>30}" + "".join(f"{METHODS[name]:>15}" for name in methods[1:])
    for name, label in LABELS.items():
        of_model = scores["methods"]["model"][name]
        value = f"{of_model['mean']:.4g} ({of_model['low']:.4g} .. {of_model['high']:.4g})"
        others = [scores["methods"][method][name]["mean"] for method in methods[1:]]
        yield f"{label:<{width}}  {value:>30}" + "".join(f"{other:>15.4g}" for other in others)
    settings = scores["settings"]
    around = settings["bits_around_the_latents"]
    yield (
        f"{settings['images']} held-out images of {settings['values_of_an_image']} values; {settings['numbers']} "
        "numbers in the latents" + (f", and {around} bits of where maxima stood go around them" if around else "")
    )


def card_scores(scores: dict[str, Any]) -> dict[str, Any]:
    """The model's scores as `write_card` takes them, with those of the others beside each."""
    methods, settings = scores["methods"], scores["settings"]
    columns = {METHODS[name]: values for name, values in methods.items() if name != "model"}
    return {
        name: value
        | {
            "n": settings["images"],
            "interval_over": settings["interval_over"],
            "baselines": {label: values[name]["mean"] for label, values in columns.items()},
        }
        for name, value in methods["model"].items()
    }


def draw(model: ConvAutoencoder, images: Images, measured: Measured, output: Path) -> None:
    """Write the pictures: worst, middling and best reconstructions, and brightness and detail of input and output."""
    order = measured.squared.argsort(descending=True)
    shown = order[torch.linspace(0, len(order) - 1, min(3 * SHOWN, len(order))).long()]
    pixels = images.pixels[shown]
    rows = [pixels]
    with evaluating(model):
        for each in passed(model, pixels, batch_size=len(pixels)):
            rows.append(_stored(model.to_unit(each.made)))
            if _places(model):
                rows.append(_stored(alone(model, each.latents)))
    save_sheet(torch.cat(rows), len(pixels), None, output / "reconstructions.png")
    figure = Figure(figsize=(8, 4), layout="constrained")
    for axis, name, scale in zip(figure.subplots(1, 2), ("brightness", "detail"), ("linear", "log"), strict=True):
        given, made = getattr(measured, name)
        axis.scatter(given, made, s=8)
        ends = [float(torch.cat([given, made]).min()), float(torch.cat([given, made]).max())]
        axis.plot(ends, ends, color="black", linewidth=0.8)
        axis.set(xlabel=f"{name} of the input", ylabel=f"{name} of the output", xscale=scale, yscale=scale)
    FigureCanvasAgg(figure).print_png(output / "brightness_detail.png")


def _methods(model: ConvAutoencoder, data: ImageData) -> dict[str, Measured]:
    """Each method's numbers of each test image; nothing but numbers is kept of a batch."""
    device = next(model.parameters()).device
    mean = data.train.pixels.double().mean(dim=0).float().to(device) / 255
    side = round(math.sqrt(math.prod(model.latent_shape) / data.test.pixels.shape[1]))
    parts: dict[str, list[Measured]] = {}
    with evaluating(model):
        for each in passed(model, data.test.pixels):
            target = model.to_unit(each.images)
            made = {"model": model.to_unit(each.made), "mean": mean.expand_as(target)}
            if _places(model):
                made["alone"] = alone(model, each.latents)
            if 1 <= side < target.shape[-1]:
                made["resized"] = _resized(target, side)
            for name, images in made.items():
                parts.setdefault(name, []).append(_measured(images, target))
    return {name: _joined(measured) for name, measured in parts.items()}


def _measured(made: Tensor, target: Tensor) -> Measured:
    return Measured(
        squared=(made.double() - target.double()).square().flatten(1).mean(dim=1).cpu(),
        ssim=ssim_each(made, target).cpu(),
        brightness=(brightness_each(target).cpu(), brightness_each(made).cpu()),
        detail=(detail_each(target).cpu(), detail_each(made).cpu()),
    )


def _joined(parts: list[Measured]) -> Measured:
    def pair(name: str) -> tuple[Tensor, Tensor]:
        given, made = zip(*(getattr(part, name) for part in parts), strict=True)
        return torch.cat(given), torch.cat(made)

    return Measured(
        squared=torch.cat([part.squared for part in parts]),
        ssim=torch.cat([part.ssim for part in parts]),
        brightness=pair("brightness"),
        detail=pair("detail"),
    )


def _summary(measured: Measured, groups: np.ndarray) -> dict[str, Any]:
    """Means over all images, each with its 95 % percentile bootstrap interval over groups."""
    one = torch.ones_like(measured.squared)
    shift = 255 * (measured.brightness[1] - measured.brightness[0])
    pairs = {
        "psnr_db": (measured.squared, one),
        "ssim": (measured.ssim, one),
        "brightness_shift": (shift, one),
        "detail_kept": (measured.detail[1], measured.detail[0]),
    }
    summary = {}
    for name, (over, under) in pairs.items():
        columns = torch.stack([over, under], dim=1).numpy()
        values = _ratio(name, np.vstack([columns.sum(axis=0), bootstrap_sums(columns, groups, seed=0, resamples=1000)]))
        summary[name] = Interval(float(values[0]), *percentile_ends(values[1:]))._asdict()
    return summary


def _ratio(name: str, sums: np.ndarray) -> np.ndarray:
    values = sums[:, 0] / np.maximum(sums[:, 1], 1e-12)
    return -10 * np.log10(np.maximum(values, 1e-12)) if name == "psnr_db" else values


def _rows(images: Images, measured: Measured) -> list[dict[str, Any]]:
    psnr_db = -10 * measured.squared.log10()
    columns = {
        "psnr_db": psnr_db,
        "ssim": measured.ssim,
        "brightness_in": measured.brightness[0],
        "brightness_out": measured.brightness[1],
        "detail_in": measured.detail[0],
        "detail_out": measured.detail[1],
    }
    return [
        {"file": file} | {name: float(column[place]) for name, column in columns.items()}
        for place, file in enumerate(images.files)
    ]


def _groups(count: int) -> tuple[np.ndarray, str]:
    """Which images the bootstrap draws together: neighbours may be windows of one recording, or frames of one video."""
    block = max(1, min(BLOCK, count // MANY))
    return np.arange(count) // block, "images" if block == 1 else f"blocks of {block} images"


def _places(model: ConvAutoencoder) -> int:
    """How many places of maxima go around the latents of one image."""
    if model.config["upsampling"] != "unpool":
        return 0
    size = model.config["sample_size"]
    return sum(width * (size >> level + 1) ** 2 for level, width in enumerate(model.config["block_out_channels"]))


def _resized(images: Tensor, side: int) -> Tensor:
    """Shrunk to `side` pixels a side and enlarged again, float [B, C, H, W] in 0..1."""
    small = F.interpolate(images, size=(side, side), mode="bicubic", antialias=True)
    return F.interpolate(small, size=images.shape[2:], mode="bicubic").clamp(0, 1)


def _stored(unit: Tensor) -> Tensor:
    return to_pixels(2 * unit - 1).cpu()
