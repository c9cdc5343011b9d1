"""Windows that show the same columns, found without their names, and chained to walks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from echoform_train.data.column_signatures import ColumnSignatures
from echoform_train.data.layout import ImageFile

_SAME_PEAK = 5 / 128
_LIKELY, _MOST_PER_IMAGE = 0.5, 12
# Two images show the same columns if they correlate by so much, and less at any other shift; periodic gait does neither.
_LEAST_CORRELATION, _LEAST_MARGIN = 0.65, 0.2
_SHORT_OVERLAP, _LEAST_IN_SHORT = 0.35, 0.8
_EQUAL, _LEAST_MARGIN_OF_EQUAL = 0.95, 0.05
_UNSURE = 0.7


@dataclass(frozen=True)
class Link:
    """Two images that show the same columns."""

    first: int
    second: int
    shift: float
    """Columns of the signatures by which the second starts later."""
    correlation: float


def find_links(images: Sequence[ImageFile], texture: ColumnSignatures) -> tuple[list[Link], list[tuple[int, int]]]:
    """Compare all pairs of images of each user.

    Returns:
        The pairs that show the same columns, best first; and the pairs that look alike at several shifts, so that it
        cannot be told.
    """
    of_user: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        of_user[image.user].append(index)
    links: list[Link] = []
    unsure: list[tuple[int, int]] = []
    for members in of_user.values():
        pairs = texture.likely_pairs(members, _LIKELY, _MOST_PER_IMAGE)
        if pairs:
            _judge(pairs, texture, links, unsure)
    return sorted(links, key=lambda link: -link.correlation), unsure


def chain(count: int, links: Sequence[Link], tolerance: float) -> tuple[list[int], list[float], int]:
    """Join images to walks.

    Args:
        count: Number of images.
        links: The best first; one that contradicts better ones by more than the tolerance is not used.
        tolerance: In columns of the signatures.

    Returns:
        Number of the walk and start in the walk of each image, and how many links were not used.
    """
    walk = list(range(count))
    start = [0.0] * count
    members = {index: [index] for index in range(count)}
    conflicts = 0
    for link in links:
        one, other = walk[link.first], walk[link.second]
        offset = start[link.first] + link.shift - start[link.second]
        if one == other:
            conflicts += abs(offset) > tolerance
            continue
        if len(members[one]) < len(members[other]):
            one, other, offset = other, one, -offset
        for index in members.pop(other):
            walk[index] = one
            start[index] += offset
            members[one].append(index)
    for group in members.values():
        earliest = min(start[index] for index in group)
        for index in group:
            start[index] -= earliest
    return walk, start, conflicts


def _judge(
    pairs: Sequence[tuple[int, int]], texture: ColumnSignatures, links: list[Link], unsure: list[tuple[int, int]]
) -> None:
    shifts, width = texture.shifts, texture.width
    curves = texture.correlate(*zip(*pairs, strict=True))
    best = curves.argmax(axis=1)
    top = curves[np.arange(len(pairs)), best]
    near = np.abs(shifts[None] - shifts[best][:, None]) <= max(1, _SAME_PEAK * width)
    margin = top - np.where(near, -1, curves).max(axis=1)
    overlap = 1 - np.abs(shifts[best]) / width
    needed = np.where(overlap < _SHORT_OVERLAP, _LEAST_IN_SHORT, _LEAST_CORRELATION)
    same = (top >= needed) & (margin >= _LEAST_MARGIN) & (shifts[best] != 0)
    same |= (top >= _EQUAL) & (margin >= _LEAST_MARGIN_OF_EQUAL)
    for pair, at, linked, alike in zip(pairs, best, same, top, strict=True):
        if linked:
            links.append(Link(*pair, float(shifts[at]), float(alike)))
        elif alike >= _UNSURE and 1 - abs(shifts[at]) / width >= _SHORT_OVERLAP:
            unsure.append(pair)
