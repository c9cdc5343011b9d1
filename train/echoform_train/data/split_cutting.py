"""How images are distributed over training, validation and test: whole recordings, or blocks of time with a gap."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from statistics import median

from datasets import Dataset

from echoform_train.data.layout import natural_key

Sides = dict[str, str | None]
"""Side of each file: train, validation or test; None is left out."""

# File names hold starts in 1/100 s: the difference of two rounded starts is off by up to 0.01 s.
ROUNDING_S = 0.011


@dataclass(frozen=True)
class Window:
    """The facts of an image that a split depends on."""

    file: str
    user: str
    recording: str | None
    start_s: float | None
    """Start in the recording, seconds; None if unknown."""
    split: str | None
    """train, validation or test if the source gives it."""

    @property
    def sequence(self) -> tuple[str, str]:
        """Name of the sequence of images that may overlap: the recording of a user; the folder if that is unknown."""
        if self.recording is not None:
            return self.user, f"recording {self.recording}"
        return self.user, f"folder {PurePosixPath(self.file).parent}"


def windows_of(dataset: Dataset) -> list[Window]:
    """The rows of a data set with the columns `file`, `user`, `recording`, `start_s` and, optionally, `split`."""
    table = dataset.select_columns([name for name in Window.__dataclass_fields__ if name in dataset.column_names])
    columns = table.to_dict()
    assert isinstance(columns, dict)
    users = [dataset.features["user"].int2str(user) for user in columns["user"]]
    given = dataset["split"] if "split" in dataset.column_names else [None] * len(dataset)
    rows = zip(columns["file"], users, columns["recording"], columns["start_s"], given, strict=True)
    return [Window(*row) for row in rows]


def enough_recordings(windows: Sequence[Window], sides: int) -> bool:
    """Whether all recordings are known and every user has at least one for each of `sides` sides."""
    recordings: dict[str, set[str]] = defaultdict(set)
    for window in windows:
        if window.recording is None:
            return False
        recordings[window.user].add(window.recording)
    return min(map(len, recordings.values())) >= sides


def draw_recordings(windows: Sequence[Window], shares: dict[str, float], seed: int) -> Sides:
    """Give whole recordings of each user to each side of `shares`, drawn by the seed; the others are for training.

    Args:
        windows: Images whose recordings are known.
        shares: Share of each user's images per side; every side gets at least one recording.
        seed: Seed for choosing the recordings.
    """
    by_user: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for window in windows:
        assert window.recording is not None
        by_user[window.user][window.recording].append(window.file)
    sides: Sides = {}
    for user, recordings in by_user.items():
        sides.update(_draw_of_user(recordings, shares, random.Random(f"{seed} {user}")))
    return sides


def _draw_of_user(recordings: dict[str, list[str]], shares: dict[str, float], rng: random.Random) -> Sides:
    names = sorted(recordings, key=natural_key)
    rng.shuffle(names)
    total = sum(map(len, recordings.values()))
    sides: Sides = {}
    sides_to_come = len(shares)
    for side, share in shares.items():
        taken = 0
        # Take another recording while at least half of it still fits into the share, and leave one for each
        # later side and one for training.
        while taken == 0 or (len(names) > sides_to_come and taken + len(recordings[names[-1]]) / 2 <= share * total):
            files = recordings[names.pop()]
            taken += len(files)
            sides.update(dict.fromkeys(files, side))
        sides_to_come -= 1
    sides.update({file: "train" for name in names for file in recordings[name]})
    return sides


def cut_in_time(
    windows: Sequence[Window], shares: dict[str, float], *, gap_windows: int, window_s: float | None
) -> Sides:
    """Cut every recording (folder, if recordings are unknown) in time order into train, gap, side, gap, side.

    Args:
        windows: Images to cut.
        shares: Share of each recording's images per side, the side that is latest in time first.
        gap_windows: Images left out at each cut if the length of a window is unknown.
        window_s: Length of a window, seconds; None if unknown.
    """
    sequences: dict[tuple[str, str], list[Window]] = defaultdict(list)
    for window in windows:
        sequences[window.sequence].append(window)
    sides: Sides = {}
    for sequence in sequences.values():
        sides.update(_cut_sequence(sequence, shares, gap_windows, window_s))
    return sides


def _cut_sequence(sequence: list[Window], shares: dict[str, float], gap_windows: int, window_s: float | None) -> Sides:
    sequence, times, gap = _timeline(sequence, gap_windows, window_s)
    sides: Sides = {}
    end, limit = len(sequence), float("inf")
    for side, share in shares.items():
        # Leave a gap before the side just cut: images that start too near to its first image belong to no side.
        while end > 0 and times[end - 1] > limit:
            end -= 1
        start = max(0, end - max(1, round(share * len(sequence))))
        sides.update({window.file: side for window in sequence[start:end]})
        if start < end:
            limit = times[start] - gap
        end = start
    while end > 0 and times[end - 1] > limit:
        end -= 1
    # Too short to cut: the whole sequence is for training.
    if end == 0:
        return {window.file: "train" for window in sequence}
    sides.update({window.file: "train" for window in sequence[:end]})
    return {window.file: sides.get(window.file) for window in sequence}


def _timeline(
    sequence: list[Window], gap_windows: int, window_s: float | None
) -> tuple[list[Window], list[float], float]:
    """Images in time order, their times, and the distance (less rounding) that two images on two sides must keep."""
    sequence = sorted(sequence, key=lambda window: natural_key(window.file))
    starts = [window.start_s for window in sequence if window.start_s is not None]
    if len(starts) < len(sequence):  # count hops instead of seconds, in the order of the names
        return sequence, [float(index) for index in range(len(sequence))], gap_windows + 0.5
    sequence.sort(key=lambda window: window.start_s or 0.0)
    starts.sort()
    length_s = window_s if window_s is not None else (gap_windows + 1) * usual_hop_s(starts)
    return sequence, starts, max(length_s, 2 * ROUNDING_S) - ROUNDING_S


def usual_hop_s(starts: Sequence[float]) -> float:
    """Median time from one start to the next of sorted starts, seconds; 0 if there is no next one."""
    hops = [after - before for before, after in pairwise(starts) if after > before]
    return median(hops) if hops else 0.0
