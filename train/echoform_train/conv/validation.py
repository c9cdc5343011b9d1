"""Validation during the training of a convolutional autoencoder: held-out loss and PSNR, and sheets of images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor
from torch.nn import functional as F

from echoform.conv_autoencoder import ConvAutoencoder
from echoform_train.conv.conv_ae_config import ErrorKind
from echoform_train.conv.objective import training_losses
from echoform_train.conv.reconstruction import decode_latents_alone, reconstruct_batches, to_uint8
from echoform_train.engine.evaluation import evaluation_mode
from echoform_train.engine.processes import summed
from echoform_train.scoring.image_quality import psnr_each

SHEET_IMAGES = 12
RANDOM_ROWS = 4


def validate(
    autoencoder: ConvAutoencoder, pixels: Tensor, error: ErrorKind, kl_weight: float, accelerator: Accelerator
) -> dict[str, float]:
    """Measure the model on validation images, in float32 and evaluation mode, shared among all processes.

    Args:
        autoencoder: The model with its current batch norm statistics.
        pixels: uint8 [N, C, H, W].
        error: Kind of error, as in training.
        kl_weight: Weight of the divergence, as in training.
        accelerator: The accelerator of the training.

    Returns:
        `loss` and its parts, and `psnr_db` over all images.
    """
    if accelerator.num_processes > 1:
        # Each process has its own batch norm statistics; all use those of the main process, which are saved.
        for buffer in autoencoder.buffers():
            buffer.copy_(broadcast(buffer))
    totals: dict[str, Tensor] = {}
    with evaluation_mode(autoencoder):
        for batch in reconstruct_batches(autoencoder, pixels[accelerator.process_index :: accelerator.num_processes]):
            parts = (batch.reconstructed, batch.images, batch.latents, batch.log_variance)
            values = training_losses(*parts, error, kl_weight)
            # PSNR is measured on images in 0..1, also if the model has another range.
            squared = F.mse_loss(autoencoder.to_unit(batch.reconstructed), autoencoder.to_unit(batch.images))
            for name, value in (values | {"squared": squared}).items():
                before = totals.get(name, torch.zeros((), device=accelerator.device))
                totals[name] = before + len(batch.images) * value
    means = {name: summed(total, accelerator).item() / len(pixels) for name, total in totals.items()}
    mean_squared = means.pop("squared")
    return {"loss": sum(means.values())} | means | {"psnr_db": -10 * math.log10(max(mean_squared, 1e-12))}


def save_reconstruction_sheet(autoencoder: ConvAutoencoder, pixels: Tensor, path: Path) -> None:
    """Draw up to 12 images, and in the row below their reconstructions with the PSNR of each.

    If the decoder unpools, a third row shows its output without the pooling indices of the encoder.

    Args:
        autoencoder: On any device.
        pixels: Validation images, uint8 [N, C, H, W].
        path: PNG file.
    """
    shown = pixels[torch.linspace(0, len(pixels) - 1, min(SHEET_IMAGES, len(pixels))).long()]
    save_rows(rows_of_sheet(autoencoder, shown), path)


def rows_of_sheet(autoencoder: ConvAutoencoder, pixels: Tensor) -> dict[str, Tensor]:
    """Images uint8 [N, C, H, W] and what the autoencoder makes of them, by the name of the row of a sheet."""
    rows = {"image": pixels}
    with evaluation_mode(autoencoder):
        for batch in reconstruct_batches(autoencoder, pixels, batch_size=len(pixels)):
            rows["reconstruction"] = to_uint8(autoencoder.to_unit(batch.reconstructed))
            if autoencoder.config["upsampling"] == "unpool":
                rows["latents alone"] = to_uint8(decode_latents_alone(autoencoder, batch.latents))
    return rows


def save_rows(rows: Mapping[str, Tensor], path: Path) -> None:
    """Draw rows of images uint8 [N, C, H, W]; the first row holds originals, and the others have the PSNR of each."""
    from echoform_train.data.figure import figure, save_figure  # matplotlib takes a moment to import

    original, *others = rows.values()
    names = [""] * len(original)
    for images in others:
        names += [f"PSNR {value:.1f} dB" for value in psnr_each(images / 255, original / 255).tolist()]
    drawn = figure(
        torch.cat([original, *others]),
        None,
        names,
        columns=len(original),
        rows=list(rows),
        colormap=None,
        labels=None,
    )
    save_figure(drawn, path)


def save_random_sheet(autoencoder: ConvAutoencoder, seed: int, path: Path) -> None:
    """Write images decoded from random latents of a variational model as PNG. Unlike reconstructions, they show no
    image of the data, so that the sheet may be published."""
    shape = (RANDOM_ROWS * SHEET_IMAGES, *autoencoder.latent_shape)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    with evaluation_mode(autoencoder):
        device = next(autoencoder.parameters()).device
        images = to_uint8(decode_latents_alone(autoencoder, noise.to(device)))
    from echoform_train.data.figure import figure, save_figure  # matplotlib takes a moment to import

    title = f"Decoded from random latents, seed {seed}"
    save_figure(figure(images, columns=SHEET_IMAGES, colormap=None, labels=None, title=title), path)
