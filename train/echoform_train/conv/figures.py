"""Figures of a scored convolutional autoencoder, as PNG files."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from echoform.conv_autoencoder import ConvAutoencoder
from echoform_train.conv.quality import Measurements
from echoform_train.conv.validation import rows_of_sheet, save_rows
from echoform_train.data.images import Images

SHOWN_IMAGES = 12


def save_score_figures(model: ConvAutoencoder, images: Images, measured: Measurements, folder: Path) -> None:
    """Write reconstructions.png and brightness_detail.png of scored test images."""
    save_reconstructions(model, images, measured, folder / "reconstructions.png")
    save_brightness_and_detail(measured, folder / "brightness_detail.png")


def save_reconstructions(model: ConvAutoencoder, images: Images, measured: Measurements, path: Path) -> None:
    """Draw 12 images from the worst to the best reconstruction: input, reconstruction and, if the decoder unpools, its
    output without the pooling indices of the encoder."""
    worst_first = measured.squared_error.argsort(descending=True)
    chosen = worst_first[torch.linspace(0, len(worst_first) - 1, min(SHOWN_IMAGES, len(worst_first))).long()]
    pixels = images.pixels[chosen]
    save_rows(rows_of_sheet(model, pixels), path)


def save_brightness_and_detail(measured: Measurements, path: Path) -> None:
    """Plot brightness and gradient energy of the reconstructions over those of the inputs, one point per image."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    for axis, name, scale in zip(figure.subplots(1, 2), ("brightness", "detail"), ("linear", "log"), strict=True):
        of_input, of_output = getattr(measured, name)
        axis.scatter(of_input, of_output, s=8)
        # The diagonal, on which output equals input.
        ends = [float(torch.cat([of_input, of_output]).min()), float(torch.cat([of_input, of_output]).max())]
        axis.plot(ends, ends, color="black", linewidth=0.8)
        axis.set(xlabel=f"{name} of the input", ylabel=f"{name} of the output", xscale=scale, yscale=scale)
    FigureCanvasAgg(figure).print_png(path)
