"""Which generated pictures to keep: walks that an independent classifier agrees with, and no near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoform_train.data.spectrograms import to_model
from echoform_train.scoring.generated_images import Sample

COMPARED_SIDE = 32
"""Pixels a side at which pictures are compared; noise is averaged out."""

KEPT = ""
NO_WALK = "no walker can have made it"
COPY_OF_REAL = "near-duplicate of a training image"
COPY_OF_KEPT = "near-duplicate of a kept image"
LESS_AGREED = "less agreed on than those kept"
REASONS = (KEPT, NO_WALK, COPY_OF_REAL, COPY_OF_KEPT, LESS_AGREED)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What became of each generated picture."""

    places: Tensor
    """Of those kept, int64, ascending."""
    reasons: tuple[str, ...]
    """Why each of all pictures was dropped; KEPT for those that were not."""
    agreement: Tensor
    """Probability that the scorer gives to the user of each, float32 [N], 0..1."""
    nearest_real: Tensor
    """Largest likeness to a training picture of the same user, float32 [N], -1..1; -1 where there is none."""

    def counts(self) -> dict[str, int]:
        """Number of pictures for each reason, those kept under KEPT."""
        return {reason: self.reasons.count(reason) for reason in REASONS}


def select(
    generated: Sample,
    real: Sample,
    *,
    scorer: nn.Module,
    keep_share: float = 0.5,
    max_duplicate: float = 0.99,
    walks: Tensor | None = None,
    batch_size: int = 256,
) -> Selection:
    """Choose generated pictures, user by user, so that the balance of the users stays.

    Of each user, the pictures are taken in the order of the scorer's agreement, those that are no walk or too like a
    training picture of that user or one taken before left out, until `keep_share` of them are taken. Fewer are kept
    where too many are left out.

    Args:
        generated: Pixels uint8 [N, C, H, W] and users int64 [N].
        real: Training pictures of the same size, those that the generator has seen.
        scorer: Gives logits [B, users] for pictures [B, C, H, W] in [-1, 1]. A classifier trained on the same pictures
            as the generator, and no judge of the study: what selects must not judge. In eval mode.
        keep_share: Share of each user's pictures to keep, above 0 and at most 1.
        max_duplicate: Largest likeness of two pictures, see `likeness`. Of simulated walkers, the nearest picture of
            another recording of the same person reaches 0.96, and 0.99 in one of a hundred.
        walks: Which pictures a walker can have made, bool [N]; None takes all for walks.
        batch_size: Pictures that the scorer sees at a time.

    Raises:
        ValueError: If a share is out of its range, the scorer is in training mode, or the sets do not fit each other or
            the scorer.
    """
    _check(generated, real, keep_share, max_duplicate)
    if walks is not None and (walks.dtype != torch.bool or len(walks) != len(generated[1])):
        raise ValueError(f"walks must be bool [{len(generated[1])}], got {walks.dtype} {list(walks.shape)}")
    if scorer.training:
        raise ValueError("the scorer must be in eval mode, so that the same pictures are always chosen")
    pixels, users = generated
    agreement = agree(scorer, pixels, users, batch_size)
    reasons = [LESS_AGREED] * len(users)
    nearest_real = torch.full((len(users),), -1.0)
    for user in torch.unique(users).tolist():
        mine = torch.nonzero(users == user).flatten()
        own = pixels[mine]
        theirs = real[0][real[1] == user]
        if len(theirs):
            nearest_real[mine] = likeness(own, theirs).amax(dim=1)
        among = likeness(own, own)
        order = agreement[mine].argsort(descending=True, stable=True).tolist()
        wanted = max(1, round(keep_share * len(mine)))
        taken: list[int] = []
        for place in order:
            if len(taken) == wanted:
                break
            index = int(mine[place])
            if walks is not None and not walks[index]:
                reasons[index] = NO_WALK
            elif nearest_real[index] > max_duplicate:
                reasons[index] = COPY_OF_REAL
            elif taken and float(among[place, taken].max()) > max_duplicate:
                reasons[index] = COPY_OF_KEPT
            else:
                reasons[index] = KEPT
                taken.append(place)
    places = torch.tensor([place for place, reason in enumerate(reasons) if reason == KEPT], dtype=torch.int64)
    return Selection(places=places, reasons=tuple(reasons), agreement=agreement, nearest_real=nearest_real)


@torch.inference_mode()
def agree(scorer: nn.Module, pixels: Tensor, users: Tensor, batch_size: int = 256) -> Tensor:
    """Probability that the scorer gives to the user of each picture, float32 [N] on the CPU.

    Raises:
        ValueError: If it knows fewer users than there are.
    """
    device = next((parameter.device for parameter in scorer.parameters()), torch.device("cpu"))
    parts = []
    for some, whose in zip(pixels.split(batch_size), users.split(batch_size), strict=True):
        logits = scorer(to_model(some).to(device)).float().cpu()
        if int(whose.max()) >= logits.shape[1]:
            raise ValueError(f"users must be in 0..{logits.shape[1] - 1}, as the scorer knows them, got {whose.max()}")
        parts.append(logits.softmax(dim=1).gather(1, whose[:, None])[:, 0])
    return torch.cat(parts)


def likeness(a: Tensor, b: Tensor, chunk: int = 64) -> Tensor:
    """Pearson correlation of two sets of pictures, the largest over all rolls in time, float32 [N, M], -1..1.

    A picture that was rolled in time, made brighter or given another floor is still the same picture. Compared at 32
    pixels a side; a picture of one colour is like none.

    Args:
        a: uint8 [N, C, H, W].
        b: uint8 [M, C, H, W].
        chunk: Pictures of `a` at a time.
    """
    spectrum_a, spectrum_b = _spectra(a), _spectra(b)  # [N, rows, frequencies]
    width = min(a.shape[-1], COMPARED_SIDE)
    parts = []
    for some in spectrum_a.split(chunk):
        crossed = torch.einsum("nrf,mrf->nmf", some, spectrum_b.conj())
        parts.append(torch.fft.irfft(crossed, n=width).amax(dim=2))
    return torch.cat(parts).clamp(-1, 1)


def _spectra(pixels: Tensor) -> Tensor:
    """Fourier transforms in time of the rows of small pictures of mean 0 and sum of squares 1."""
    size = (min(pixels.shape[-2], COMPARED_SIDE), min(pixels.shape[-1], COMPARED_SIDE))
    small = torch.cat([F.adaptive_avg_pool2d(part.float(), size) for part in pixels.split(256)]).flatten(1, 2)
    centred = small - small.mean(dim=(1, 2), keepdim=True)
    norm = centred.square().sum(dim=(1, 2), keepdim=True).sqrt()
    return torch.fft.rfft(torch.where(norm > 1e-3, centred / norm.clamp(min=1e-3), 0.0))


def _check(generated: Sample, real: Sample, keep_share: float, max_duplicate: float) -> None:
    if not 0 < keep_share <= 1:
        raise ValueError(f"keep_share must be above 0 and at most 1, got {keep_share}")
    if not -1 <= max_duplicate <= 1:
        raise ValueError(f"max_duplicate must be in -1..1, got {max_duplicate}")
    for name, (pixels, users) in (("generated", generated), ("real", real)):
        if pixels.ndim != 4 or pixels.dtype != torch.uint8 or users.shape != pixels.shape[:1] or len(users) == 0:
            raise ValueError(
                f"{name} pictures must be uint8 [N, C, H, W] with N > 0 users, "
                f"got {pixels.dtype} {list(pixels.shape)} and {list(users.shape)}"
            )
    if generated[0].shape[1:] != real[0].shape[1:]:
        raise ValueError(
            f"generated pictures must be of the size of the real ones, {list(real[0].shape[1:])}, "
            f"got {list(generated[0].shape[1:])}"
        )
