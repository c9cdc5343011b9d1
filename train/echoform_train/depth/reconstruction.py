"""Reconstruct and embed depth images with an autoencoder, in batches and in evaluation mode."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from echoform.depth_autoencoder import DepthAutoencoder
from echoform_train.depth.metrics import ImageSums, image_sums
from echoform_train.depth.scale import Scale
from echoform_train.engine.evaluation import evaluation_mode

BATCH_SIZE = 64


@dataclass(frozen=True)
class Reconstruction:
    """Images, their reconstructions and embeddings, on the CPU."""

    depth: Tensor
    """The images, float32 [N, 1, H, W], model range [-1, 1]."""
    valid: Tensor
    """Where they have a reading, bool [N, 1, H, W]."""
    reconstructed: Tensor
    """float32 [N, 1, H, W], model range [-1, 1]."""
    valid_logit: Tensor
    """float32 [N, 1, H, W], above 0 where the model predicts a reading."""
    latents: Tensor
    """Embeddings, float32 [N, D]."""

    def sums(self, scale: Scale) -> ImageSums:
        """Sums of errors of each image, from which the metrics are computed."""
        return image_sums(scale.to_mm(self.reconstructed), scale.to_mm(self.depth), self.valid, self.valid_logit > 0)


def reconstruct(autoencoder: DepthAutoencoder, units: Tensor, scale: Scale) -> Reconstruction:
    """Encode and decode images in float32 and without dropout, as the exported pipeline does.

    Args:
        autoencoder: On any device; its training mode is restored afterwards.
        units: Sensor units, [N, 1, H, W].
        scale: Scale of the model.
    """
    device = next(autoencoder.parameters()).device
    batches: list[tuple[Tensor, ...]] = []
    with evaluation_mode(autoencoder):
        for batch in units.split(BATCH_SIZE):
            depth, valid = scale.to_model(batch)
            output = autoencoder(depth.to(device), valid.to(device))
            batches.append((depth, valid, output.depth.cpu(), output.valid_logit.cpu(), output.latents.cpu()))
    return Reconstruction(*(torch.cat(column) for column in zip(*batches, strict=True)))


def embed(autoencoder: DepthAutoencoder, units: Tensor, scale: Scale) -> Tensor:
    """Embed images; the arguments are those of `reconstruct`. Returns float32 [N, D] on the CPU."""
    device = next(autoencoder.parameters()).device
    with evaluation_mode(autoencoder):
        batches = (scale.to_model(batch) for batch in units.split(BATCH_SIZE))
        latents = [autoencoder.encode(depth.to(device), valid.to(device)).float().cpu() for depth, valid in batches]
    return torch.cat(latents)
