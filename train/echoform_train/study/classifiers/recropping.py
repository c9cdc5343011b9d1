"""Re-cropping: overlapping windows of one recording are stitched to strips, and new windows are cut from the strips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from echoform_train.data.spectrograms import Spectrograms, to_model
from echoform_train.engine.errors import UserError
from echoform_train.scoring.classifier_training import shrink

MIN_CORRELATION = 0.9
"""Two windows are stitched if they correlate by at least this over the time that both show."""

_Strip = list[tuple[int, int]]
"""Images of one strip in order of time: (index of the image, its first column in the strip)."""


class Strips:
    """The strips of some images: each strip is one image, or several overlapping windows of one recording.

    Two windows are stitched if their starts are known and less than one window apart, and if they correlate over the
    time that both show. Starts that the pixels tell need no length in seconds. Starts are rounded to the nearest
    column. Columns that several windows show are taken from the window whose middle is nearest.

    Args:
        images: The images to stitch; no other image is used.
        window_s: Length of one image, seconds; None if it is unknown, and then nothing is stitched.
        full_size: Whether windows keep the size of `images`; else they have the smaller size that classifiers see.

    Raises:
        ValueError: If `window_s` is not above 0.
    """

    why_none: str | None
    """Reason why no strip is longer than one image, so that nothing can be re-cropped; None if some are longer."""

    def __init__(self, images: Spectrograms, window_s: float | None, *, full_size: bool = False) -> None:
        if window_s is not None and window_s <= 0:
            raise UserError(f"window_s must be above 0, got {window_s}")
        to_used = to_model if full_size else lambda pixels: shrink(to_model(pixels))
        pixels = torch.cat([to_used(part) for part in images.pixels.split(256)])
        self.width = pixels.shape[-1]
        strips, self.why_none = _find_strips(images, pixels, window_s)
        self._strips = [_stitch(pixels, strip) for strip in strips]
        self._strip_of_image = torch.empty(len(pixels), dtype=torch.int64)
        for number, strip in enumerate(strips):
            self._strip_of_image[[index for index, _ in strip]] = number

    def __len__(self) -> int:
        """Number of images, not of strips."""
        return len(self._strip_of_image)

    def crop(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """Cut a window at a random column of the strip of each of these images.

        Args:
            indices: int64 [B], of the images that the strips were made of.
            generator: CPU generator.

        Returns:
            float32 [B, C, H, W] in [-1, 1]; the image itself if its strip is no longer than one image.
        """
        chosen = [self._strips[number] for number in self._strip_of_image[indices].tolist()]
        shares = torch.rand(len(chosen), generator=generator).tolist()
        starts = [int(share * (strip.shape[-1] - self.width + 1)) for share, strip in zip(shares, chosen, strict=True)]
        return torch.stack([strip[..., at : at + self.width] for strip, at in zip(chosen, starts, strict=True)])


def _find_strips(images: Spectrograms, pixels: Tensor, window_s: float | None) -> tuple[list[_Strip], str | None]:
    """The images of each strip, and the reason why no strip is longer than one image, or None."""
    single: list[_Strip] = [[(index, 0)] for index in range(len(images))]
    # Starts are counted in seconds, or in lengths of a window where the pixels told them.
    length = window_s if images.starts_windows is None else 1.0
    if length is None:
        return single, "the length of a window in seconds is unknown"
    recordings = _timed_recordings(images)
    if not recordings:
        return single, "the recordings or the starts of the windows are unknown"
    # Images without a known start are strips of their own.
    timed = {index for windows in recordings for _, index in windows}
    strips = [strip for strip in single if strip[0][0] not in timed]
    width = pixels.shape[-1]
    overlaps = 0
    for windows in recordings:
        first = windows[0][0]
        columns = [(round((start - first) / length * width), index) for start, index in windows]
        strips.append([(columns[0][1], 0)])
        for (before, earlier), (column, later) in pairwise(columns):
            shift = column - before
            overlaps += shift < width
            # Start times in file names can be wrong, so the pixels must agree too.
            if shift < width and _agree(pixels[earlier][..., shift:], pixels[later][..., : width - shift]):
                strips[-1].append((later, strips[-1][-1][1] + shift))
            else:
                strips.append([(later, 0)])
    if all(strip[-1][1] == 0 for strip in strips):
        return strips, "overlapping windows do not show the same" if overlaps else "no two windows overlap"
    return strips, None


def _timed_recordings(images: Spectrograms) -> list[list[tuple[float, int]]]:
    """Start and index of the windows of each recording, in order; windows without a start are left out."""
    starts = images.starts_s if images.starts_windows is None else images.starts_windows
    windows: dict[tuple[int, str], list[tuple[float, int]]] = defaultdict(list)
    rows = zip(images.users.tolist(), images.recordings, starts, strict=True)
    for index, (user, recording, start) in enumerate(rows):
        if recording is not None and start is not None:
            windows[user, recording].append((start, index))
    return [sorted(each) for each in windows.values()]


def _agree(one: Tensor, other: Tensor) -> bool:
    if torch.equal(one, other):
        return True
    one, other = one - one.mean(), other - other.mean()
    scale = one.norm() * other.norm()
    return bool(scale > 0) and bool((one * other).sum() >= MIN_CORRELATION * scale)


def _stitch(pixels: Tensor, strip: Sequence[tuple[int, int]]) -> Tensor:
    """Strip [C, H, L] of images [N, C, H, W]."""
    width = pixels.shape[-1]
    # Neighbouring windows are joined in the middle of their overlap.
    ends = [(first + second + width) // 2 for (_, first), (_, second) in pairwise(strip)]
    bounds = [0, *ends, strip[-1][1] + width]
    pieces = [
        pixels[index][..., low - first : high - first]
        for (index, first), (low, high) in zip(strip, pairwise(bounds), strict=True)
    ]
    return torch.cat(pieces, dim=-1)
