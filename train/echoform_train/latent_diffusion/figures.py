"""Figures of the quality of a first stage: its worst and best reconstructions, and the spectrum of its error."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from echoform_train.data.painting import to_pil_images
from echoform_train.data.spectrograms import SpectrogramData, to_model
from echoform_train.latent_diffusion.error_spectrum import AxisSpectrum
from echoform_train.latent_diffusion.quality import Quality

SHOWN = 4
"""Worst reconstructions shown, and as many best ones."""


def save_worst_and_best(data: SpectrogramData, quality: Quality, path: Path) -> None:
    """Write a figure of the test images with the lowest and the highest PSNR: original, reconstruction and error."""
    # 1. Which images, and what to show of each.
    order = quality.psnr_db.argsort()
    shown = torch.cat([order[:SHOWN], order[-SHOWN:]]).unique_consecutive()[: len(order)]
    pixels, reconstructed = data.test.pixels[shown], quality.reconstructed[shown]
    error = (to_model(reconstructed) - to_model(pixels)).abs().mean(dim=1)  # [N, H, W] in 0..2
    painted = (to_pil_images(images, data.colormap) for images in (pixels, reconstructed))
    largest = max(error.max().item(), 1e-6)
    # 2. One column per image, one row per kind.
    figure = Figure(figsize=(1.5 * len(shown) + 1, 5), layout="constrained")
    axes = figure.subplots(3, len(shown), squeeze=False)
    for column, index, original, reconstruction, wrong in zip(axes.T, shown.tolist(), *painted, error, strict=True):
        user = data.id2label[int(data.test.users[index])]
        column[0].set_title(f"{user}\n{quality.psnr_db[index]:.1f} dB", fontsize=8)
        column[0].imshow(original)
        column[1].imshow(reconstruction)
        column[2].imshow(wrong, cmap="inferno", vmin=0, vmax=largest)
    # 3. Labels and the scale of the error, which all columns share.
    for row, name in zip(axes, ("real", "reconstruction", "error"), strict=True):
        row[0].set_ylabel(name)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    scale = ScalarMappable(Normalize(0, largest), "inferno")
    figure.colorbar(scale, ax=axes.ravel().tolist(), shrink=0.3, anchor=(0, 0), label="error, of a range of 2")
    figure.suptitle("Worst on the left, best on the right")
    FigureCanvasAgg(figure).print_png(path)


def save_error_spectrum(spectra: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Write a figure of the power of images and error by frequency, along time and along Doppler.

    Args:
        spectra: By axis ("time", "doppler"), the fields of `AxisSpectrum`.
        path: PNG to write.
    """
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axis, (name, fields) in zip(figure.subplots(1, 2, sharey=True), spectra.items(), strict=True):
        spectrum = AxisSpectrum(**fields)
        for label, power in (("images", spectrum.image), ("error", spectrum.error)):
            axis.plot(spectrum.cycles_per_pixel[1:], power[1:], label=label)
        axis.set(xlabel="cycles per pixel", yscale="log", title="along time" if name == "time" else "along Doppler")
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("power, model range squared")
    figure.axes[0].legend()
    FigureCanvasAgg(figure).print_png(path)
