"""The order of windows that their names tell: starts in seconds, or numbers that count up."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from echoform_train.data.layout import ImageFile
from echoform_train.data.split_cutting import usual_hop_s

_LAST_NUMBER = re.compile(r"(?P<before>.*?)(?P<number>\d{1,15})(?P<after>\D*)")
_LEAST_REGULAR = 0.3
_STEP_TOLERANCE = 0.02


@dataclass(frozen=True)
class NamedWalk:
    """Windows of one walk of one user, in the order of their names."""

    user: str
    name: str
    """The recording, or what is common to the names of the files."""
    members: tuple[int, ...]
    """Indices of the images."""
    steps: tuple[float, ...]
    """When each of them starts, in units of the usual distance of two windows; a missing number is a gap in time."""

    def pairs(self, lag: int) -> list[tuple[int, int]]:
        """Images that start `lag` usual distances apart: index of the earlier and of the later one."""
        found, later = [], 0
        for member, step in zip(self.members, self.steps, strict=True):
            while later < len(self.steps) and self.steps[later] < step + lag - _STEP_TOLERANCE:
                later += 1
            if later < len(self.steps) and self.steps[later] <= step + lag + _STEP_TOLERANCE:
                found.append((member, self.members[later]))
        return found


def timed_walks(images: Sequence[ImageFile]) -> tuple[list[NamedWalk], float]:
    """The walks whose recordings and starts are all known, and the usual distance of two starts, seconds.

    Returns:
        No walks if a recording or a start is unknown, or no recording has two starts.
    """
    if any(image.recording is None or image.start_s is None for image in images):
        return [], 0.0
    groups: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for index, image in enumerate(images):
        groups[image.user, image.recording or ""].append((image.start_s or 0.0, index))
    hops = [usual_hop_s(sorted(start for start, _ in group)) for group in groups.values()]
    usual_s = min((hop for hop in hops if hop > 0), default=0.0)
    if usual_s == 0:
        return [], 0.0
    return [_walk(*key, [(start / usual_s, index) for start, index in group]) for key, group in groups.items()], usual_s


def counted_walks(images: Sequence[ImageFile]) -> list[NamedWalk]:
    """The walks whose names count up; none if the numbers have no usual distance, as those of hashes."""
    groups: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for index, image in enumerate(images):
        numbered = _numbered(image)
        if numbered is not None:
            name, number = numbered
            groups[image.user, name].append((number, index))
    steps = Counter(
        after - before
        for group in groups.values()
        for (before, _), (after, _) in pairwise(sorted(group))
        if after > before
    )
    if not steps:
        return []
    usual, count = steps.most_common(1)[0]
    if count < _LEAST_REGULAR * steps.total() or count < len(images) / 20:
        return []
    return [_walk(*key, [(number / usual, index) for number, index in group]) for key, group in groups.items()]


def _walk(user: str, name: str, group: Sequence[tuple[float, int]]) -> NamedWalk:
    ordered = sorted(group)
    return NamedWalk(user, name, tuple(index for _, index in ordered), tuple(step for step, _ in ordered))


def _numbered(image: ImageFile) -> tuple[str, int] | None:
    """What an image's name has in common with those of the same walk, and its number; None if it has no number."""
    if image.index is not None:
        return image.recording or " ".join(str(value) for value in image.columns.values()), image.index
    path = PurePosixPath(image.file)
    match = _LAST_NUMBER.fullmatch(path.stem)
    if match is None:
        return None
    # One walk can be spread over the folders train, validation and test.
    folders = path.parts[1 if image.split is not None else 0 : -1]
    return "/".join([*folders, image.recording or "", match["before"] + match["after"]]), int(match["number"])
