"""What a radar researcher does without a generator: classical augmentations of spectrograms, each on a batch.

None stretches or flips along frequency: the same shape at another Doppler frequency is another speed, a mirrored one
another direction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from echoform_train.data.spectrograms import Spectrograms, to_model
from echoform_train.scoring.classifier_training import shrink

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""Of a batch in model range, float32 [B, C, H, W] in [-1, 1] where -1 is the floor of the colour scale, and a CPU
generator: the same shape and range. Each image gets amounts of its own."""

GAIN_DEVIATION = 0.1
OFFSET_DEVIATION = 0.05
MAX_NOISE = 0.05
MAX_MASKED_SHARE = 0.15
"""Longest mask of SpecAugment, as a share of the axis."""

MIN_AGREEMENT = 0.9

REAL = "real"
RECROPPING = "re-cropping"
ALL = "all classical"


def time_roll(image: Tensor, generator: torch.Generator) -> Tensor:
    """Each image rolled by any number of columns; a walk has no first second."""
    batch, _, _, width = image.shape
    shift = torch.randint(width, (batch, 1), generator=generator)
    columns = (torch.arange(width) + shift) % width  # [B, W]
    return image.gather(3, columns[:, None, None].expand_as(image))


def gain(image: Tensor, generator: torch.Generator) -> Tensor:
    """Each image's height above the floor times a factor of 1 +- 0.1: another range or radar cross-section."""
    return ((image + 1) * (1 + GAIN_DEVIATION * _one_each(image, generator)) - 1).clamp(-1, 1)


def noise_floor(image: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by an offset (deviation 0.05) and given white noise (deviation up to 0.05)."""
    deviation = MAX_NOISE * torch.rand(len(image), 1, 1, 1, generator=generator)
    noise = deviation * torch.randn(image.shape, generator=generator)
    return (image + OFFSET_DEVIATION * _one_each(image, generator) + noise).clamp(-1, 1)


def spec_augment(image: Tensor, generator: torch.Generator) -> Tensor:
    """One stretch of time and one of frequency put to the floor, each up to 15 % of the axis.

    The masking of Park et al., Interspeech 2019, section 2; without the time warping, which they find least useful and
    which would change the cadence. What is masked is set to the floor of the colour scale.
    """
    height, width = image.shape[-2:]
    rows = _mask(len(image), height, generator)[:, None, :, None]
    columns = _mask(len(image), width, generator)[:, None, None, :]
    return image.masked_fill(rows | columns, -1.0)


AUGMENTATIONS: dict[str, Augmentation] = {
    "time roll": time_roll,
    "gain": gain,
    "noise floor": noise_floor,
    "SpecAugment": spec_augment,
}
"""By name, those that ask for nothing but the batch; `Strips` is the one that asks for more."""

COMBINATIONS: dict[str, tuple[str, ...]] = {
    "time roll and re-cropping": ("time roll", RECROPPING),
    "time roll, gain and noise": ("time roll", "gain", "noise floor"),
    ALL: (*AUGMENTATIONS, RECROPPING),
}
"""Several together."""

CLASSICAL = (*AUGMENTATIONS, RECROPPING, *COMBINATIONS)
"""Every way to augment without a generator."""


@dataclass(frozen=True)
class Recipe:
    """What one way of augmenting asks of the training."""

    augmentation: Augmentation | None
    strips: Strips | None


def recipe(name: str, strips: Strips) -> Recipe:
    """How to augment by a name of CLASSICAL, or not at all for "real".

    Args:
        name: Of CLASSICAL, or "real".
        strips: Of the images to train on; used where the name asks for re-cropping and some windows overlap.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in (REAL, *CLASSICAL):
        raise ValueError(f"an augmentation must be one of {', '.join((REAL, *CLASSICAL))}, got {name}")
    parts = COMBINATIONS.get(name, (name,))
    on_batches = [AUGMENTATIONS[part] for part in parts if part in AUGMENTATIONS]
    crops = RECROPPING in parts and strips.why_none is None
    return Recipe(chain(on_batches) if on_batches else None, strips if crops else None)


def without_recropping(name: str) -> str | None:
    """The name of what is left of one of CLASSICAL where nothing can be re-cropped; None where it has none."""
    parts = COMBINATIONS.get(name, (name,))
    if RECROPPING not in parts:
        return name
    left = tuple(part for part in parts if part != RECROPPING)
    names = {(): REAL} | {(single,): single for single in AUGMENTATIONS} | {v: k for k, v in COMBINATIONS.items()}
    return names.get(left)


def chain(augmentations: Sequence[Augmentation]) -> Augmentation:
    """One augmentation that does all of these in order."""

    def apply(image: Tensor, generator: torch.Generator) -> Tensor:
        for augmentation in augmentations:
            image = augmentation(image, generator)
        return image

    return apply


class Strips:
    """Re-cropping: overlapping windows of one recording stitched to longer strips, and new windows cut from those.

    Two windows join where their starts are known and less than a window apart, and where they agree on the time that
    both show (correlation of at least 0.9: neighbours reach 0.95 on simulated and on real walkers, others 0.75, and so
    do windows that are 3 columns off). Starts count to the nearest column. Columns that several windows show come from
    the one whose middle is nearest.

    Args:
        part: The images to stitch, and no others: what a study of few images may know.
        window_s: Seconds in one image; None where it is unknown, and then nothing joins.
        full_size: Cut windows of the size of `part`, and not what classifiers see of it.
    """

    def __init__(self, part: Spectrograms, window_s: float | None, *, full_size: bool = False) -> None:
        if window_s is not None and window_s <= 0:
            raise ValueError(f"window_s must be above 0, got {window_s}")
        seen = to_model if full_size else lambda pixels: shrink(to_model(pixels))
        images = torch.cat([seen(pixels) for pixels in part.pixels.split(256)])
        self.width = images.shape[-1]
        groups, self.why_none = _groups(part, images, window_s)
        self._strips = [_stitch(images, group) for group in groups]
        self._strip_of = torch.empty(len(images), dtype=torch.int64)
        for number, group in enumerate(groups):
            self._strip_of[[place for place, _ in group]] = number

    why_none: str | None
    """Why no strip is longer than an image, in words, so that nothing is re-cropped; None where some are."""

    def __len__(self) -> int:
        """Number of images, not of strips."""
        return len(self._strip_of)

    def crop(self, places: Tensor, generator: torch.Generator) -> Tensor:
        """A window at any column of the strip of each of these images.

        Args:
            places: int64 [B] of images of `part`.
            generator: CPU generator.

        Returns:
            float32 [B, C, H, W] in [-1, 1]; the image itself where its strip is no longer than it.
        """
        chosen = [self._strips[number] for number in self._strip_of[places].tolist()]
        share = torch.rand(len(chosen), generator=generator).tolist()
        starts = [int(part * (strip.shape[-1] - self.width + 1)) for part, strip in zip(share, chosen, strict=True)]
        return torch.stack([strip[..., at : at + self.width] for strip, at in zip(chosen, starts, strict=True)])


_Group = list[tuple[int, int]]
"""Images of one strip in order of time: place, and first column in the strip."""


def _groups(part: Spectrograms, images: Tensor, window_s: float | None) -> tuple[list[_Group], str | None]:
    """The images of each strip, and why no strip has several, in words, where that is so."""
    alone: list[_Group] = [[(place, 0)] for place in range(len(part))]
    if window_s is None:
        return alone, "the length of a window in seconds is unknown"
    timed: dict[tuple[int, str], list[tuple[float, int]]] = defaultdict(list)
    rows = zip(part.users.tolist(), part.recordings, part.starts_s, strict=True)
    for place, (user, recording, start_s) in enumerate(rows):
        if recording is not None and start_s is not None:
            timed[user, recording].append((start_s, place))
    if not timed:
        return alone, "the recordings or the starts of the windows are unknown"
    known = {place for windows in timed.values() for _, place in windows}
    groups = [group for group in alone if group[0][0] not in known]
    overlaps = 0
    width = images.shape[-1]
    for windows in timed.values():
        windows.sort()
        columns = [(round((start_s - windows[0][0]) / window_s * width), place) for start_s, place in windows]
        groups.append([(columns[0][1], 0)])
        for (before, earlier), (column, later) in pairwise(columns):
            shift = column - before
            overlaps += shift < width
            if shift < width and _agree(images[earlier][..., shift:], images[later][..., : width - shift]):
                groups[-1].append((later, groups[-1][-1][1] + shift))
            else:
                groups.append([(later, 0)])
    if all(group[-1][1] == 0 for group in groups):
        return groups, "overlapping windows do not show the same" if overlaps else "no two windows overlap"
    return groups, None


def _agree(one: Tensor, other: Tensor) -> bool:
    if torch.equal(one, other):
        return True
    one, other = one - one.mean(), other - other.mean()
    scale = one.norm() * other.norm()
    return bool(scale > 0) and bool((one * other).sum() >= MIN_AGREEMENT * scale)


def _stitch(images: Tensor, group: _Group) -> Tensor:
    """Strip [C, H, L] of images [N, C, H, W]."""
    width = images.shape[-1]
    ends = [(first + second + width) // 2 for (_, first), (_, second) in pairwise(group)]
    bounds = [0, *ends, group[-1][1] + width]
    pieces = [
        images[place][..., low - first : high - first]
        for (place, first), (low, high) in zip(group, pairwise(bounds), strict=True)
    ]
    return torch.cat(pieces, dim=-1)


def _one_each(image: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(len(image), 1, 1, 1, generator=generator)


def _mask(batch: int, length: int, generator: torch.Generator) -> Tensor:
    """True where the mask of an axis lies, [B, length]."""
    size = torch.randint(int(MAX_MASKED_SHARE * length) + 1, (batch, 1), generator=generator)
    start = (torch.rand(batch, 1, generator=generator) * (length - size + 1)).long()
    places = torch.arange(length)
    return (places >= start) & (places < start + size)
