"""Validation during the training of a depth autoencoder: held-out loss and metrics, and sheets of reconstructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from echoform.depth_autoencoder import DepthAutoencoder
from echoform_train.depth.dataset import DepthData
from echoform_train.depth.depth_ae_config import Weights
from echoform_train.depth.metrics import ImageSums, known_columns, mae_mm, psnr_db, rmse_mm, validity_iou
from echoform_train.depth.objective import reconstruction_losses
from echoform_train.depth.reconstruction import BATCH_SIZE, Reconstruction, reconstruct
from echoform_train.engine.errors import UserError
from echoform_train.engine.processes import summed

SHEET_IMAGES = 12


def validate(
    autoencoder: DepthAutoencoder, data: DepthData, weights: Weights, accelerator: Accelerator
) -> dict[str, float]:
    """Measure the model on the validation images, in float32 and without dropout, shared among all processes.

    Returns:
        `loss` and its weighted parts `huber`, `gradient` and `validity`; `l1` and `mse` in model range; `psnr_db`,
        `rmse_mm`, `mae_mm` and `validity_iou`.
    """
    indices = torch.arange(accelerator.process_index, len(data.validation), accelerator.num_processes)
    found = reconstruct(autoencoder, data.validation.select(indices).units, data.scale)
    # Each process adds the losses of its own images, weighted so that the totals are means over all images.
    names = ("huber", "gradient", "validity", "l1", "mse")
    totals = {name: torch.zeros((), device=accelerator.device) for name in names}
    for batch in torch.arange(len(indices)).split(BATCH_SIZE):
        for name, value in _batch_losses(found, batch, weights).items():
            totals[name] += len(batch) / len(data.validation) * value.to(accelerator.device)
    means = {name: summed(value, accelerator).item() for name, value in totals.items()}
    sums = _sum_over_processes(found.sums(data.scale), accelerator)
    if not sums.pixels.sum():
        raise UserError(f"validation needs images with readings, the {len(data.validation)} of {data.source} have none")
    return {
        "loss": means["huber"] + means["gradient"] + means["validity"],
        **means,
        "psnr_db": psnr_db(sums, data.scale.peak_mm),
        "rmse_mm": rmse_mm(sums),
        "mae_mm": mae_mm(sums),
        "validity_iou": validity_iou(sums),
    }


def save_reconstruction_sheet(autoencoder: DepthAutoencoder, data: DepthData, path: Path) -> None:
    """Draw up to 12 validation images, their reconstructions with the RMSE of each, and the errors, in millimetres."""
    from echoform_train.depth.figures import save_reconstructions  # matplotlib takes a moment to import

    chosen = torch.linspace(0, len(data.validation) - 1, min(SHEET_IMAGES, len(data.validation))).long()
    found = reconstruct(autoencoder, data.validation.select(chosen).units, data.scale)
    labels = data.validation.labels
    save_reconstructions(
        data.scale.to_mm(found.depth),
        found.valid,
        {"reconstruction": data.scale.to_mm(found.reconstructed)},
        found.valid_logit > 0,
        path,
        names=None if labels is None else [data.id2label[int(label)] for label in labels[chosen]],
    )


def _batch_losses(found: Reconstruction, batch: Tensor, weights: Weights) -> dict[str, Tensor]:
    """Parts of the loss of the images with the indices `batch`, and their mean absolute and squared error."""
    reconstructed, depth, valid = found.reconstructed[batch], found.depth[batch], found.valid[batch]
    losses = reconstruction_losses(reconstructed, found.valid_logit[batch], depth, valid, weights)
    losses["l1"] = ((reconstructed - depth).abs() * valid).mean()
    losses["mse"] = ((reconstructed - depth).square() * valid).mean()
    return losses


def _sum_over_processes(sums: ImageSums, accelerator: Accelerator) -> ImageSums:
    """Totals over the images of all processes, as `ImageSums` of length 1."""
    totals = {name: values.sum() for name, values in known_columns(sums).items()}
    own = torch.tensor(list(totals.values()), dtype=torch.float64, device=accelerator.device)
    everywhere = summed(own, accelerator).tolist()
    return ImageSums(**{name: np.array([value]) for name, value in zip(totals, everywhere, strict=True)})
