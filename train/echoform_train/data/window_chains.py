"""Windows that show the same columns, found without their names, and chained to walks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from echoform_train.data.column_signatures import ColumnSignatures
from echoform_train.data.layout import ImageFile

_SAME_PEAK = 5 / 128
_LIKELY, _MOST_PER_IMAGE = 0.35, 16
# Two images show the same columns if they correlate by so much, and less at other shifts; periodic gait does neither.
_LEAST_CORRELATION, _LEAST_MARGIN = 0.65, 0.2
_SHORT_OVERLAP, _LEAST_IN_SHORT = 0.35, 0.8
_EQUAL, _LEAST_MARGIN_OF_EQUAL = 0.95, 0.05
# Nor may random images of the source reach it by chance; smooth and small ones have little to compare.
_CHANCES, _CERTAIN = 4.5, 0.97
_UNSURE = 0.7
# Where windows are known to overlap, less is enough at multiples of the usual shift.
_LEAST_OF_WEAK, _LEAST_MARGIN_OF_WEAK = 0.35, 0.1
LEAST_ALONE = 0.5
"""Correlation from which a weak link counts without others."""
_PER_VOTE = 0.05


@dataclass(frozen=True)
class Link:
    """Two images that show the same columns."""

    first: int
    second: int
    shift: float
    """Columns of the signatures by which the second starts later."""
    correlation: float


@dataclass(frozen=True)
class Comparison:
    """What comparing all pairs of images of each user told; links are sorted, the best first."""

    links: list[Link]
    """Pairs that show the same columns."""
    weak: list[Link]
    """Pairs that do so only if windows are known to overlap by about these shifts."""
    unsure: list[tuple[int, int]]
    """Pairs that look alike at several shifts, so that it cannot be told."""

    def weak_near_usual_shift(self, tolerance: float) -> list[Link]:
        """The weak links whose shift is a multiple of the usual smallest shift, by the tolerance in columns."""
        nearest: dict[int, float] = {}
        for link in self.links:
            for index in (link.first, link.second):
                nearest[index] = min(abs(link.shift), nearest.get(index, float("inf")))
        usual = max(1.0, float(np.median(list(nearest.values())))) if nearest else float("inf")
        return [
            link
            for link in self.weak
            if round(abs(link.shift) / usual) >= 1
            and abs(abs(link.shift) - usual * round(abs(link.shift) / usual)) <= tolerance
        ]


def compare_all(images: Sequence[ImageFile], texture: ColumnSignatures) -> Comparison:
    """Compare all pairs of images of each user."""
    of_user: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        of_user[image.user].append(index)
    found = Comparison([], [], [])
    for members in of_user.values():
        pairs = texture.likely_pairs(members, _LIKELY, _MOST_PER_IMAGE)
        if pairs:
            _judge(pairs, texture, found)
    for links in (found.links, found.weak):
        links.sort(key=lambda link: -link.correlation)
    return found


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


def supported(links: Sequence[Link], walks: Sequence[int], starts: Sequence[float], tolerance: float) -> list[Link]:
    """The weak links between two walks that others with the same offset support, or that are strong for weak ones.

    Args:
        links: Weak links.
        walks: Number of the walk of each image.
        starts: Start of each image in its walk, columns of the signatures.
        tolerance: Largest difference of two offsets that count as the same, in these columns.

    Returns:
        One link for each offset of two walks, the best supported first.
    """
    votes: dict[tuple[int, int, int], list[Link]] = defaultdict(list)
    for link in links:
        one, other = walks[link.first], walks[link.second]
        if one != other:
            offset = starts[link.first] + link.shift - starts[link.second]
            ends = (one, other, offset) if one < other else (other, one, -offset)
            votes[ends[0], ends[1], round(ends[2] / (2 * tolerance))].append(link)
    groups = [
        group for group in votes.values() if len(group) > 1 or max(link.correlation for link in group) >= LEAST_ALONE
    ]
    best = [(max(group, key=lambda link: link.correlation), len(group)) for group in groups]
    best.sort(key=lambda each: -each[0].correlation - _PER_VOTE * (each[1] - 1))
    return [link for link, _ in best]


def _judge(pairs: Sequence[tuple[int, int]], texture: ColumnSignatures, found: Comparison) -> None:
    shifts, width = texture.shifts, texture.width
    curves = texture.correlate(*zip(*pairs, strict=True))
    best = curves.argmax(axis=1)
    top = curves[np.arange(len(pairs)), best]
    near = np.abs(shifts[None] - shifts[best][:, None]) <= max(1, _SAME_PEAK * width)
    margin = top - np.where(near, -1, curves).max(axis=1)
    overlap = 1 - np.abs(shifts[best]) / width
    by_chance = min(_CERTAIN, _CHANCES * texture.chance)
    needed = np.maximum(np.where(overlap < _SHORT_OVERLAP, _LEAST_IN_SHORT, _LEAST_CORRELATION), by_chance)
    same = (top >= needed) & (margin >= _LEAST_MARGIN) & (shifts[best] != 0)
    equal = (top >= max(_EQUAL, by_chance)) & (margin >= _LEAST_MARGIN_OF_EQUAL)
    same |= equal & ((overlap >= _SHORT_OVERLAP) | (by_chance < _EQUAL))
    weak = ~same & (top >= _LEAST_OF_WEAK) & (margin >= _LEAST_MARGIN_OF_WEAK) & (shifts[best] != 0)
    for index, (first, second) in enumerate(pairs):
        link = Link(first, second, float(shifts[best[index]]), float(top[index]))
        if same[index]:
            found.links.append(link)
        elif weak[index]:
            found.weak.append(link)
        if not same[index] and top[index] >= _UNSURE and overlap[index] >= _SHORT_OVERLAP:
            found.unsure.append((first, second))
