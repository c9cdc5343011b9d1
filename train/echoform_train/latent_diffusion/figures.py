"""Figures of the quality of a first stage: its worst and best reconstructions, and the spectrum of its error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from echoform_train.data.figure import figure, save_figure
from echoform_train.data.painting import to_pil_images
from echoform_train.data.spectrograms import SpectrogramData, to_model
from echoform_train.latent_diffusion.error_spectrum import AxisSpectrum
from echoform_train.latent_diffusion.quality import Quality

SHOWN = 4
"""Worst reconstructions shown, and as many best ones."""


def save_worst_and_best(data: SpectrogramData, quality: Quality, path: Path) -> None:
    """Write a figure of the test images with the lowest and the highest PSNR: original, reconstruction and error."""
    order = quality.psnr_db.argsort()
    shown = torch.cat([order[:SHOWN], order[-SHOWN:]]).unique_consecutive()[: len(order)]
    pixels, reconstructed = data.test.pixels[shown], quality.reconstructed[shown]
    error = (to_model(reconstructed) - to_model(pixels)).abs().mean(dim=1) / 2  # [N, H, W], shares of the range
    largest = max(error.max().item(), 1e-6)
    # The error has colours of its own, from black to light yellow.
    errors = matplotlib.colormaps["inferno"]((error / largest).numpy(), bytes=True)[..., :3]
    images = [*to_pil_images(pixels, data.colormap), *to_pil_images(reconstructed, data.colormap)]
    users = [data.id2label[int(data.test.users[index])] for index in shown]
    scores = [f"PSNR {quality.psnr_db[index]:.1f} dB" for index in shown]
    worst = min(SHOWN, len(shown))
    drawn = figure(
        [*images, *map(Image.fromarray, errors)],
        data.axes,
        [*users, *scores, *[""] * len(shown)],
        columns=len(shown),
        rows=["real", "reconstruction", f"error, 0 to\n{_in_words(largest, data.axes)}"],
        groups=(("worst", worst), ("best", len(shown) - worst)) if len(shown) > worst else (),
        colormap=data.colormap,
        text=1.2,
    )
    save_figure(drawn, path)


def _in_words(share: float, axes: Mapping[str, float] | None) -> str:
    """A share of the range of levels, in decibels where their range is known, else in percent of it."""
    if axes is not None and {"db_min", "db_max"} <= set(axes):
        return f"{share * (axes['db_max'] - axes['db_min']):.1f} dB"
    return f"{100 * share:.0f} % of the range"


def save_error_spectrum(spectra: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Write a figure of the power of images and error by frequency, along time and along Doppler.

    Args:
        spectra: By axis ("time", "doppler"), the fields of `AxisSpectrum`.
        path: PNG to write.
    """
    drawn = Figure(figsize=(9, 3.5), layout="constrained")
    for axis, (name, fields) in zip(drawn.subplots(1, 2, sharey=True), spectra.items(), strict=True):
        spectrum = AxisSpectrum(**fields)
        for label, power in (("images", spectrum.image), ("error", spectrum.error)):
            axis.plot(spectrum.cycles_per_pixel[1:], power[1:], label=label)
        axis.set(xlabel="cycles per pixel", yscale="log", title="along time" if name == "time" else "along Doppler")
        axis.grid(alpha=0.3)
    drawn.axes[0].set_ylabel("power, model range squared")
    drawn.axes[0].legend()
    FigureCanvasAgg(drawn).print_png(path)
