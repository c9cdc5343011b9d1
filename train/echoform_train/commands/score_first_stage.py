"""`echoform score first-stage`: what a first stage keeps of held-out spectrograms, and whether that is enough."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from echoform_train.data.config import data_facts
from echoform_train.data.painting import to_pictures
from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms, to_model
from echoform_train.engine.files import SCORES, SPLIT
from echoform_train.engine.provenance import provenance
from echoform_train.latent_diffusion.first_stage import FirstStage, load_first_stage
from echoform_train.latent_diffusion.quality import LATENT_NOISE, AxisSpectrum, Quality, measure, verdict
from echoform_train.scoring.judge import Judge, train_judge

PICTURE = "worst_and_best.png"
SPECTRUM = "error_spectrum.png"
SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Config:
    """Score a first stage on the test part: reconstruction, codebook, what judges still see, and a verdict."""

    folder: tyro.conf.Positional[Path]
    """Output folder of `echoform train vq-vae` or `echoform train kl-vae`."""
    data: str
    """Folder of the spectrograms that it was trained on, or the id of the data set on the Hub."""
    split_file: Path | None = None
    """Split of that training. Default: split.json of the folder."""
    output: Path | None = None
    """Folder for scores.json and the pictures. Default: `scores` in the folder of the first stage."""
    judge_seeds: tuple[int, ...] = (0, 1, 2)
    """One judge each, trained on real images."""
    judge_train_images: int = 12_000
    """Images that a judge sees in training; a quarter of a minute for 12,000 on one core."""
    colormap: str = "auto"
    """Colour map of the pictures: auto detects it, none keeps RGB, or its name."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""
    device: str = "auto"
    """Where everything runs; auto: on the GPU, if there is one."""


def main(config: Config) -> None:
    """Score, print the table and the verdict, and write the JSON file and the pictures."""
    stage = load_first_stage(config.folder)
    split_file = config.split_file or config.folder / SPLIT
    if not split_file.is_file():
        raise FileNotFoundError(f"{split_file} is no file; scoring needs the split of the first stage's training")
    data = load_spectrograms(
        config.data,
        split_file=split_file,
        resolution=stage.facts["data"]["resolution"],
        colormap=config.colormap,
        skip_bad_files=config.skip_bad_files,
    )
    stage.check_data(data_facts(data))
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    judges = train_judges(data, config.judge_seeds, config.judge_train_images, device)
    quality = score(stage, data, judges, device)
    settings = {"judge_seeds": list(config.judge_seeds), "judge_train_images": config.judge_train_images}
    output = config.output or config.folder / "scores"
    output.mkdir(parents=True, exist_ok=True)
    (output / SCORES).write_text(json.dumps(quality.scores | {"settings": settings} | provenance(), indent=1) + "\n")
    save_worst_and_best(data, quality, output / PICTURE)
    save_error_spectrum(quality.scores["error_spectrum"], output / SPECTRUM)
    print("\n".join(describe(quality.scores)))
    print(f"Written to {output}")


def train_judges(
    data: SpectrogramData, seeds: tuple[int, ...], train_images: int, device: torch.device | str = "cpu"
) -> list[Judge]:
    """Judges that saw the training part of `data` alone, one a seed."""
    return [
        train_judge(
            data.train.pixels, data.train.users, len(data.id2label), seed=seed, train_images=train_images, device=device
        )
        for seed in tqdm(seeds, desc="judges", unit="judge")
    ]


def score(stage: FirstStage, data: SpectrogramData, judges: list[Judge], device: torch.device | str = "cpu") -> Quality:
    """Measure a first stage on the test part of `data`; the scores hold those of `measure` and the "verdict".

    Raises:
        ValueError: If there are no test images.
    """
    stage.model.to(device)  # pyright: ignore[reportArgumentType]
    quality = measure(stage.model, data.test, data.id2label, judges, quantize=stage.quantized)
    counts = {"train": len(data.train), "test": len(data.test), "users": len(data.id2label)}
    scores = {"verdict": verdict(quality.scores, len(data.id2label)), **quality.scores, "images": counts}
    return Quality(scores, quality.made, quality.psnr_db)


def describe(scores: dict[str, Any]) -> Iterator[str]:
    """The scores as lines of a table, the verdict last."""
    lpips, codebook, accuracy = scores["lpips"], scores["codebook"], scores["accuracy"]
    rows = [
        ("PSNR, dB", _cell(scores["psnr_db"], ".2f")),
        ("  of a thumbnail of the latents' size", f"{scores['thumbnail_psnr_db']:.2f}"),
        (f"  with noise of {LATENT_NOISE:g} deviations on the latents", f"{scores['noisy_latents_psnr_db']:.2f}"),
        ("SSIM", _cell(scores["ssim"], ".4f")),
        ("LPIPS", "torchvision's AlexNet weights are not at hand" if lpips is None else _cell(lpips, ".4f")),
        ("Accuracy of judges on real images", _cell(accuracy["real"], ".1%")),
        ("Accuracy kept on reconstructions", _cell(accuracy["kept"], ".1%")),
    ]
    if codebook is not None:
        rows += [
            ("Codebook use", f"{codebook['use']:.1%}"),
            ("Codebook perplexity", f"{codebook['perplexity']:.1f} of {codebook['size']}"),
        ]
    yield from (f"{label:<48}  {value}" for label, value in rows)
    yield ""
    yield f"{'user':<16}{'images':>8}{'PSNR, dB':>10}{'SSIM':>8}{'real':>8}{'kept':>8}"
    for user, row in scores["users"].items():
        yield (
            f"{user:<16}{row['images']:>8}{row['psnr_db']:>10.2f}{row['ssim']:>8.3f}{row['real_accuracy']:>8.1%}"
            f"{row['reconstruction_accuracy']:>8.1%}"
        )
    yield ""
    yield scores["verdict"]["sentence"]


def save_worst_and_best(data: SpectrogramData, quality: Quality, path: Path) -> None:
    """The test images with the lowest PSNR and those with the highest, above what the model makes of them."""
    order = quality.psnr_db.argsort()
    shown = torch.cat([order[:SHOWN], order[-SHOWN:]]).unique_consecutive()[: len(order)]
    target, made = data.test.pixels[shown], quality.made[shown]
    error = (to_model(made) - to_model(target)).abs().mean(dim=1)  # [N, H, W], 0..2
    figure = Figure(figsize=(1.5 * len(shown) + 1, 5), layout="constrained")
    axes = figure.subplots(3, len(shown), squeeze=False)
    pictures = zip(to_pictures(target, data.colormap), to_pictures(made, data.colormap), error, strict=True)
    last = None
    for column, place, (real, picture, wrong) in zip(axes.T, shown.tolist(), pictures, strict=True):
        column[0].imshow(real)
        column[1].imshow(picture)
        last = column[2].imshow(wrong, cmap="inferno", vmin=0, vmax=max(error.max().item(), 1e-6))
        user = data.id2label[int(data.test.users[place])]
        column[0].set_title(f"{user}\n{quality.psnr_db[place]:.1f} dB", fontsize=8)
    for row, name in zip(axes, ("real", "reconstruction", "error"), strict=True):
        row[0].set_ylabel(name)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    assert last is not None  # there is at least one image
    figure.colorbar(last, ax=axes.ravel().tolist(), shrink=0.3, anchor=(0, 0), label="error, of a range of 2")
    figure.suptitle("Worst on the left, best on the right")
    FigureCanvasAgg(figure).print_png(path)


def save_error_spectrum(spectra: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Power of the images and of the error by frequency, along time and along Doppler."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axis, (name, values) in zip(figure.subplots(1, 2, sharey=True), spectra.items(), strict=True):
        spectrum = AxisSpectrum(**values)
        for label, power in (("images", spectrum.image), ("error", spectrum.error)):
            axis.plot(spectrum.cycles_per_pixel[1:], power[1:], label=label)
        axis.set(xlabel="cycles a pixel", yscale="log", title="along time" if name == "time" else "along Doppler")
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("power, model range squared")
    figure.axes[0].legend()
    FigureCanvasAgg(figure).print_png(path)


def _cell(entry: dict[str, float | None], form: str) -> str:
    if entry["low"] is None or entry["high"] is None:
        return format(entry["mean"], form)
    return f"{entry['mean']:{form}} ({entry['low']:{form}} .. {entry['high']:{form}})"
