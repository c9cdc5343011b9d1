"""Depth images through a model, and what came back, kept for measuring and for pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from echoform.depth_autoencoder import DepthAutoencoder
from echoform.pipeline_depth_autoencoder import decode_units, encode_units
from echoform_train.depth.metrics import ImageSums, image_sums
from echoform_train.engine.processes import summed

BATCH = 64


@dataclass(frozen=True)
class Scale:
    """How model range and millimetres belong together."""

    depth_range_mm: Mapping[str, float]
    units_per_mm: float

    @property
    def peak_mm(self) -> float:
        """Length of the range, the peak of PSNR."""
        return self.depth_range_mm["max"] - self.depth_range_mm["min"]

    def to_model(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Units [N, 1, H, W] to depth in [-1, 1] and validity, bool."""
        return encode_units(units, self.depth_range_mm, self.units_per_mm)

    def to_mm(self, depth: Tensor) -> Tensor:
        """Model range to millimetres, rounded to the sensor's whole units as the pipeline returns them."""
        return decode_units(depth, self.depth_range_mm, self.units_per_mm).round() / self.units_per_mm


@dataclass(frozen=True)
class Reconstruction:
    """Images and what a model made of them; on the CPU."""

    depth: Tensor
    """float32 [N, 1, H, W], model range."""
    valid: Tensor
    """bool [N, 1, H, W]."""
    made: Tensor
    """float32 [N, 1, H, W], model range."""
    logit: Tensor
    """float32 [N, 1, H, W], above 0 where the model says that there is a reading."""
    latents: Tensor
    """float32 [N, D]."""

    def sums(self, scale: Scale) -> ImageSums:
        """What each image adds to the metrics."""
        return image_sums(scale.to_mm(self.made), scale.to_mm(self.depth), self.valid, self.logit > 0)


@torch.no_grad()
def reconstruct(autoencoder: DepthAutoencoder, units: Tensor, scale: Scale) -> Reconstruction:
    """Encode and decode units [N, 1, H, W], in float32 and without dropout, as whoever loads the model will."""
    training, parameter = autoencoder.training, next(autoencoder.parameters())
    autoencoder.eval()
    parts: list[tuple[Tensor, ...]] = []
    for batch in units.split(BATCH):
        depth, valid = scale.to_model(batch)
        output = autoencoder(depth.to(parameter.device), valid.to(parameter.device))
        parts.append((depth, valid, output.depth.cpu(), output.valid_logit.cpu(), output.latents.cpu()))
    autoencoder.train(training)
    return Reconstruction(*(torch.cat(column) for column in zip(*parts, strict=True)))


@torch.no_grad()
def embed(autoencoder: DepthAutoencoder, units: Tensor, scale: Scale) -> Tensor:
    """Embeddings float32 [N, D] of units [N, 1, H, W], without dropout; on the CPU."""
    training, device = autoencoder.training, next(autoencoder.parameters()).device
    autoencoder.eval()
    batches = (scale.to_model(batch) for batch in units.split(BATCH))
    latents = [autoencoder.encode(depth.to(device), valid.to(device)).float().cpu() for depth, valid in batches]
    autoencoder.train(training)
    return torch.cat(latents)


def shared_sums(sums: ImageSums, accelerator: Accelerator) -> ImageSums:
    """The sums of the images of all processes together, as those of one image."""
    totals = {field.name: getattr(sums, field.name) for field in fields(ImageSums)}
    known = {name: values.sum() for name, values in totals.items() if values is not None}
    everywhere = summed(torch.tensor(list(known.values()), dtype=torch.float64, device=accelerator.device), accelerator)
    return ImageSums(**{name: np.array([value]) for name, value in zip(known, everywhere.tolist(), strict=True)})
