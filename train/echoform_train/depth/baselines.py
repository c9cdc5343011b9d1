"""Baselines of a depth autoencoder: linear transforms to the same number of values, raw pixels, random weights.

A linear transform needs a value in every pixel, so pixels without a reading are filled in the way that gives the
transforms the best scores: with the nearest reading for reconstruction, and with the training mean of the pixel for
recognition. Errors are measured at pixels with a reading only, as for the model. The transforms predict no validity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from scipy import ndimage
from scipy.fft import dctn, idctn
from torch import Tensor

from echoform.depth_autoencoder import DepthAutoencoder
from echoform_train.engine.errors import UserError

EXACT_PCA_IMAGES = 6_000
"""Largest number of training images for which principal components are computed exactly."""


class Transform(Protocol):
    """A map from images to embeddings and back."""

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Images with a value in every pixel, float32 [N, H, W] in model range, to embeddings float32 [N, D]."""
        ...

    def decode(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings float32 [N, D] to images float32 [N, H, W], clipped to the model range [-1, 1]."""
        ...


def fill_with_nearest(depth: Tensor, valid: Tensor) -> np.ndarray:
    """Fill each pixel without a reading with the value of the nearest pixel that has one.

    Args:
        depth: float32 [N, 1, H, W], model range [-1, 1].
        valid: Where there is a reading, bool or 0/1 [N, 1, H, W].

    Returns:
        float32 [N, H, W]; an image without any reading becomes 0, the middle of the range.
    """
    images, has_reading = depth[:, 0].cpu().numpy().astype(np.float32).copy(), valid[:, 0].cpu().numpy().astype(bool)
    for image, readings in zip(images, has_reading, strict=True):
        if not readings.any():
            image[:] = 0
        elif not readings.all():
            nearest = ndimage.distance_transform_edt(~readings, return_distances=False, return_indices=True)
            image[:] = image[tuple(np.asarray(nearest))]
    return images


def fill_with_mean(parts: Sequence[tuple[Tensor, Tensor]]) -> list[np.ndarray]:
    """Fill each pixel without a reading with the mean reading of this pixel over the first part.

    Args:
        parts: Depth float32 [N, 1, H, W] in model range and validity of the same shape; training images first.

    Returns:
        float32 [N, H, W] of each part; 0, the middle of the range, where no training image has a reading.
    """
    depth, valid = parts[0]
    mean = (depth * valid).sum(0) / valid.sum(0).clamp(min=1)
    return [torch.where(valid.bool(), depth, mean)[:, 0].cpu().numpy() for depth, valid in parts]


@dataclass(frozen=True)
class PCA:
    """Principal components of the training images."""

    mean: np.ndarray
    """float32 [H, W]."""
    components: np.ndarray
    """float32 [D, H * W], orthonormal rows, largest variance first."""

    @classmethod
    def fit(cls, images: np.ndarray, dim: int, seed: int = 0) -> PCA:
        """Fit to images without holes, float32 [N, H, W].

        With fewer than dim + 1 images there are fewer than `dim` components; see `principal_components`.
        """
        flat = torch.from_numpy(images).flatten(1)
        mean = flat.mean(0)
        components, _ = principal_components(flat - mean, dim, seed)
        return cls(mean.reshape(images.shape[1:]).numpy(), components.numpy())

    def encode(self, images: np.ndarray) -> np.ndarray:
        """See `Transform`."""
        return (images - self.mean).reshape(len(images), -1) @ self.components.T

    def decode(self, embeddings: np.ndarray) -> np.ndarray:
        """See `Transform`."""
        flat = embeddings @ self.components
        return np.clip(flat.reshape(len(embeddings), *self.mean.shape) + self.mean, -1, 1)


@dataclass(frozen=True)
class DCT:
    """The first coefficients of the cosine transform (type II, orthonormal) in zigzag order, as in JPEG."""

    side: int
    """Height and width of the images, pixels."""
    dim: int
    """Number of coefficients."""

    def __post_init__(self) -> None:
        if not 1 <= self.dim <= self.side**2:
            raise UserError(f"a {self.side}x{self.side} image has 1..{self.side**2} coefficients, got {self.dim}")

    def encode(self, images: np.ndarray) -> np.ndarray:
        """See `Transform`."""
        rows, columns = zigzag_order(self.side)
        spectrum = np.asarray(dctn(images, axes=(1, 2), norm="ortho"))
        return spectrum[:, rows[: self.dim], columns[: self.dim]].astype(np.float32)

    def decode(self, embeddings: np.ndarray) -> np.ndarray:
        """See `Transform`."""
        rows, columns = zigzag_order(self.side)
        spectrum = np.zeros((len(embeddings), self.side, self.side), np.float32)
        spectrum[:, rows[: self.dim], columns[: self.dim]] = embeddings
        return np.clip(np.asarray(idctn(spectrum, axes=(1, 2), norm="ortho")), -1, 1).astype(np.float32)


def principal_components(centred: Tensor, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Directions of the largest variance.

    Exact for up to 6,000 images; for more by a randomised decomposition (Halko et al., SIAM Review 2011).

    Args:
        centred: float32 [N, P]; each column has the mean 0.
        dim: Largest number D of directions. At most min(N - 1, P) are returned, and only those with variance.
        seed: Seed of the randomised decomposition.

    Returns:
        Orthonormal directions float32 [D, P], largest variance first, and their variances float32 [D].

    Raises:
        ValueError: If there are fewer than two images, or all are equal.
    """
    count = len(centred)
    if count < 2:
        raise UserError(f"principal components need at least 2 training images, got {count}")
    dim = min(dim, count - 1, centred.shape[1])
    if count <= EXACT_PCA_IMAGES:
        # The N x N matrix of inner products has the same nonzero eigenvalues as the P x P matrix.
        values, vectors = (found.flip(-1) for found in torch.linalg.eigh((centred @ centred.T).double()))
        dim = min(dim, int((values > 1e-9 * values[0]).sum()) if values[0] > 0 else 0)
        if dim == 0:
            raise UserError("principal components need training images that differ, all are the same")
        spread = values[:dim].sqrt()
        directions = (vectors[:, :dim] / spread).T.float() @ centred
    else:
        # This function takes no generator, so the global random state is seeded and restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _, spread, columns = torch.svd_lowrank(centred, q=min(dim + 64, *centred.shape), niter=3)
        directions, spread = columns.T[:dim], spread[:dim]
    return directions.contiguous(), (spread.square() / count).float()


def zigzag_order(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, int64 [side^2] each, of a square in zigzag order: (0, 0), (0, 1), (1, 0), (2, 0), (1, 1) ..."""
    rows, columns = np.divmod(np.arange(side**2), side)
    diagonal = rows + columns
    # Even diagonals run upwards to the right, odd ones downwards to the left.
    order = np.lexsort((np.where(diagonal % 2, rows, columns), diagonal))
    return rows[order], columns[order]


def flatten_pixels(images: np.ndarray) -> np.ndarray:
    """Images without holes, float32 [N, H, W], as embeddings float32 [N, H * W]."""
    return images.reshape(len(images), -1)


def with_random_weights(model: DepthAutoencoder, seed: int = 0) -> DepthAutoencoder:
    """A new model with the same settings and random initial weights, in evaluation mode and without gradients."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DepthAutoencoder(**_settings(model)).eval().requires_grad_(False)


def standardise(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Shift and scale each dimension to mean 0 and deviation 1 over the training images; constant ones become 0.

    Args:
        train: Embeddings of training images, float32 [N, D].
        others: Embeddings of other images, float32 [M, D].

    Returns:
        float32, the shapes of `train` and `others`.
    """
    mean, deviation = train.mean(0), train.std(0)
    scale = np.where(deviation > 1e-6 * max(float(deviation.max()), math.ulp(0.0)), deviation, np.inf)
    return [((part - mean) / scale).astype(np.float32) for part in (train, *others)]


def _settings(model: DepthAutoencoder) -> dict[str, Any]:
    """The constructor arguments of a model."""
    return {name: value for name, value in model.config.items() if not name.startswith("_") and name != "auto_map"}
