"""Filter generated images: keep possible walks that a classifier recognises, without near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoform_train.data.spectrograms import to_model
from echoform_train.engine.errors import UserError
from echoform_train.scoring.generated_images import Sample

COMPARED_SIDE = 32
"""Pixels per side at which images are compared, so that noise is averaged out."""

KEPT = ""
NO_WALK = "no walker can have made it"
COPY_OF_REAL = "near-duplicate of a training image"
COPY_OF_KEPT = "near-duplicate of a kept image"
LESS_AGREED = "less agreed on than those kept"
REASONS = (KEPT, NO_WALK, COPY_OF_REAL, COPY_OF_KEPT, LESS_AGREED)
"""Reasons in report.json why an image was not kept; KEPT for kept images."""


@dataclass(frozen=True, kw_only=True)
class Filtered:
    """Which of N generated images are kept, and why the others are not."""

    indices: Tensor
    """Indices of the kept images, int64, ascending."""
    reasons: tuple[str, ...]
    """One of REASONS for each of the N images."""
    agreement: Tensor
    """Probability that the scorer assigns to the user of each image, float32 [N], 0..1."""
    nearest_real: Tensor
    """Largest similarity to a training image of the same user, float32 [N], -1..1; -1 if that user has none."""

    def counts(self) -> dict[str, int]:
        """Number of images by reason."""
        return {reason: self.reasons.count(reason) for reason in REASONS}


def filter_images(
    generated: Sample,
    real: Sample,
    *,
    scorer: nn.Module,
    keep_share: float = 0.5,
    max_duplicate: float = 0.99,
    walks: Tensor | None = None,
    batch_size: int = 256,
) -> Filtered:
    """Keep the same share of the generated images of every user.

    The images of a user are kept in descending order of the scorer's agreement, up to `keep_share` of them. Images that
    show no possible walk, or are too similar to a training image of that user or to an image kept before, are left out,
    so that fewer than `keep_share` may be kept.

    Args:
        generated: Pixels uint8 [N, C, H, W] and users int64 [N].
        real: Pixels and users of the training images, of the same size.
        scorer: Classifier in eval mode that gives logits [B, num_users] of images in [-1, 1].
        keep_share: Share of the images of each user to keep, above 0 and at most 1.
        max_duplicate: Largest `similarity` of two images, -1..1.
        walks: Which images can show a walking person, bool [N]; None: all.
        batch_size: Images per forward pass of the scorer.

    Raises:
        ValueError: If a share is out of range, the scorer is in training mode, or sizes or users of the two sets and
            the scorer do not fit.
    """
    _check(generated, real, keep_share, max_duplicate)
    if walks is not None and (walks.dtype != torch.bool or len(walks) != len(generated[1])):
        raise UserError(f"walks must be bool [{len(generated[1])}], got {walks.dtype} {list(walks.shape)}")
    if scorer.training:
        raise UserError("the scorer must be in eval mode, got a scorer in training mode")
    pixels, users = generated
    agreement = score_agreement(scorer, pixels, users, batch_size)
    # One user at a time, because a share of each is kept and only images of one user are compared.
    reasons = [LESS_AGREED] * len(users)
    nearest_real = torch.full((len(users),), -1.0)
    for user in torch.unique(users).tolist():
        indices = torch.nonzero(users == user).flatten()
        own, of_real = pixels[indices], real[0][real[1] == user]
        if len(of_real):
            nearest_real[indices] = similarity(own, of_real).amax(dim=1)
        # Highest agreement first, so that of two similar images the one with higher agreement is kept.
        is_walk = torch.ones(len(indices), dtype=torch.bool) if walks is None else walks[indices]
        found = _reasons_of_user(
            agreement[indices].argsort(descending=True, stable=True).tolist(),
            is_walk,
            nearest_real[indices] > max_duplicate,
            similarity(own, own) > max_duplicate,
            max(1, round(keep_share * len(indices))),
        )
        for index, reason in zip(indices.tolist(), found, strict=True):
            reasons[index] = reason
    kept = torch.tensor([index for index, reason in enumerate(reasons) if reason == KEPT], dtype=torch.int64)
    return Filtered(indices=kept, reasons=tuple(reasons), agreement=agreement, nearest_real=nearest_real)


def _reasons_of_user(
    order: list[int], is_walk: Tensor, copies_real: Tensor, copies_each_other: Tensor, wanted: int
) -> list[str]:
    """Reason for each of the M images of a user, which are visited in `order` until `wanted` are kept.

    Args:
        order: Indices 0..M-1, highest agreement first.
        is_walk: bool [M].
        copies_real: Whether each image is too similar to a training image, bool [M].
        copies_each_other: Whether two images are too similar to each other, bool [M, M].
        wanted: Number of images to keep.
    """
    reasons = [LESS_AGREED] * len(order)
    kept: list[int] = []
    for index in order:
        if len(kept) == wanted:
            break
        # The first applicable reason is recorded.
        if not is_walk[index]:
            reasons[index] = NO_WALK
        elif copies_real[index]:
            reasons[index] = COPY_OF_REAL
        elif kept and copies_each_other[index, kept].any():
            reasons[index] = COPY_OF_KEPT
        else:
            reasons[index] = KEPT
            kept.append(index)
    return reasons


@torch.inference_mode()
def score_agreement(scorer: nn.Module, pixels: Tensor, users: Tensor, batch_size: int = 256) -> Tensor:
    """Probability that the scorer assigns to the user of each image, float32 [N] on the CPU.

    Raises:
        ValueError: If the scorer knows fewer users than there are.
    """
    device = next((parameter.device for parameter in scorer.parameters()), torch.device("cpu"))
    parts = []
    for some, users_of_some in zip(pixels.split(batch_size), users.split(batch_size), strict=True):
        logits = scorer(to_model(some).to(device)).float().cpu()
        if int(users_of_some.max()) >= logits.shape[1]:
            raise UserError(
                f"users must be in 0..{logits.shape[1] - 1}, the users of the scorer, got {users_of_some.max()}"
            )
        parts.append(logits.softmax(dim=1).gather(1, users_of_some[:, None])[:, 0])
    return torch.cat(parts)


def similarity(a: Tensor, b: Tensor, chunk: int = 64) -> Tensor:
    """Largest Pearson correlation of two images over all rolls in time, float32 [N, M], -1..1.

    The similarity does not change if an image is rolled in time, scaled or given another noise floor. Images are
    compared at 32 pixels per side; the similarity to a constant image is 0.

    Args:
        a: uint8 [N, C, H, W].
        b: uint8 [M, C, H, W].
        chunk: Images of `a` that are compared at a time.
    """
    spectrum_a, spectrum_b = _spectra(a), _spectra(b)  # [N, rows, frequencies]
    width = min(a.shape[-1], COMPARED_SIDE)
    parts = []
    for some in spectrum_a.split(chunk):
        # Cross-correlation theorem: the inverse transform holds the correlation at every roll.
        crossed = torch.einsum("nrf,mrf->nmf", some, spectrum_b.conj())
        parts.append(torch.fft.irfft(crossed, n=width).amax(dim=2))
    return torch.cat(parts).clamp(-1, 1)


def _spectra(pixels: Tensor) -> Tensor:
    """Fourier transforms along time of small images that are scaled to mean 0 and sum of squares 1."""
    size = (min(pixels.shape[-2], COMPARED_SIDE), min(pixels.shape[-1], COMPARED_SIDE))
    small = torch.cat([F.adaptive_avg_pool2d(part.float(), size) for part in pixels.split(256)]).flatten(1, 2)
    centred = small - small.mean(dim=(1, 2), keepdim=True)
    norm = centred.square().sum(dim=(1, 2), keepdim=True).sqrt()
    return torch.fft.rfft(torch.where(norm > 1e-3, centred / norm.clamp(min=1e-3), 0.0))


def _check(generated: Sample, real: Sample, keep_share: float, max_duplicate: float) -> None:
    if not 0 < keep_share <= 1:
        raise UserError(f"keep_share must be above 0 and at most 1, got {keep_share}")
    if not -1 <= max_duplicate <= 1:
        raise UserError(f"max_duplicate must be in -1..1, got {max_duplicate}")
    for name, (pixels, users) in (("generated", generated), ("real", real)):
        if pixels.ndim != 4 or pixels.dtype != torch.uint8 or users.shape != pixels.shape[:1] or len(users) == 0:
            raise UserError(
                f"{name} images must be uint8 [N, C, H, W] with N > 0 users, "
                f"got {pixels.dtype} {list(pixels.shape)} and {list(users.shape)}"
            )
    if generated[0].shape[1:] != real[0].shape[1:]:
        raise UserError(
            f"generated images must be of the size of the real ones, {list(real[0].shape[1:])}, "
            f"got {list(generated[0].shape[1:])}"
        )
