"""Which images train, which validate and which test, so that no picture stands on both sides; kept in a JSON file."""

from __future__ import annotations

import json
import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Literal, get_args

from datasets import Dataset

from echoform_train.data.layout import SPLITS, natural_key

Sides = dict[str, str | None]
"""Side of each file; None is left out."""

How = Literal["by recording", "contiguous with a gap", "as given"]

# File names hold starts in 1/100 s: the difference of two rounded starts is off by up to 0.01 s.
_ROUNDING_S = 0.011
_LISTED = 3


@dataclass(frozen=True, kw_only=True)
class Split:
    """Names of the images of each side; every stage and every classifier uses the same."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    left_out: tuple[str, ...]
    """Images in the gaps, which overlap images of another side."""
    how: How
    gap_windows: int
    """Windows left out at each cut through a recording of unknown window length."""
    seed: int
    """Seed that chose the recordings of each side."""

    def __post_init__(self) -> None:
        counts = Counter([*self.train, *self.validation, *self.test, *self.left_out])
        twice = [file for file, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"an image must stand on one side of a split, {twice[0]} stands on two")

    def save(self, path: str | Path) -> None:
        """Write the split as JSON."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Read what `save` wrote.

        Raises:
            ValueError: If the file is no split.
        """
        try:
            facts = json.loads(Path(path).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} must be JSON ({error})") from error
        names = set(cls.__dataclass_fields__)
        if not isinstance(facts, dict) or set(facts) != names or facts["how"] not in get_args(How):
            raise ValueError(f"{path} must be a split with {', '.join(sorted(names))}; it is not")
        lists = {name: tuple(facts.pop(name)) for name in (*SPLITS, "left_out")}
        return cls(**lists, **facts)


@dataclass(frozen=True)
class _Window:
    """What a split needs to know of an image."""

    file: str
    user: str
    recording: str | None
    start_s: float | None
    given: str | None

    @property
    def sequence(self) -> tuple[str, str]:
        """Windows of one sequence may overlap: those of one recording of a user, or of one folder where unknown."""
        if self.recording is not None:
            return self.user, f"recording {self.recording}"
        return self.user, f"folder {PurePosixPath(self.file).parent}"


def make_split(
    dataset: Dataset,
    *,
    validation_share: float = 0.15,
    test_share: float = 0.2,
    gap_windows: int = 2,
    window_s: float | None = None,
    seed: int = 0,
) -> Split:
    """Part the images of `load_images` so that no window of one side overlaps one of another.

    - "as given" where the source has train, validation and test folders; a side that it lacks is taken from train.
    - "by recording" where every user has at least three: whole recordings, drawn by the seed, at least one a side.
    - "contiguous with a gap" elsewhere: each recording (each folder, where recordings are unknown) is cut in time
      order into train, gap, validation, gap, test. Starts on two sides differ by at least the window length where it
      is known, else by gap_windows + 1 hops, so that gap_windows windows are left out; that is enough where the hop is
      no less than 1 / (gap_windows + 1) of a window. Starts that are unknown count as one hop apart in the order of
      the names. What is too short to cut is for training.

    Args:
        dataset: What `load_images` returns.
        validation_share: Share of each user's images for validation.
        test_share: Share of each user's images for the test.
        gap_windows: Windows to leave out at each cut; used where the window length is unknown.
        window_s: Length of a window, seconds.
        seed: Draws the recordings.

    Raises:
        ValueError: If an argument is out of range, a user would have no image on one side, or folders given by the
            source part windows that overlap.
    """
    if not (validation_share > 0 and test_share > 0 and validation_share + test_share < 1):
        raise ValueError(f"shares must be positive and leave some for train, got {validation_share} and {test_share}")
    if gap_windows < 0:
        raise ValueError(f"gap_windows must not be negative, got {gap_windows}")
    if window_s is not None and window_s <= 0:
        raise ValueError(f"window_s must be positive, got {window_s}")
    windows = _windows(dataset)
    shares = {"test": test_share, "validation": validation_share}  # latest first
    sides: Sides = {window.file: window.given for window in windows if window.given}
    missing = {side: share for side, share in shares.items() if side not in sides.values()}
    how: How = "as given"
    if missing:
        to_cut = [window for window in windows if window.given in (None, "train")]
        cut, drawn = _cut(to_cut, missing, gap_windows, window_s, seed)
        sides.update(cut)
        if not any(window.given for window in windows):
            how = drawn
    _check_every_user(windows, sides, how)
    split = Split(
        **{side: _files(windows, sides, side) for side in SPLITS},
        left_out=_files(windows, sides, None),
        how=how,
        gap_windows=gap_windows,
        seed=seed,
    )
    check_split(dataset, split, window_s=window_s)
    if how == "as given":
        _warn_of_shared_recordings(windows, sides, gap_windows, window_s)
    return split


def check_split(dataset: Dataset, split: Split, *, window_s: float | None = None) -> None:
    """Hold a split against the images that it is to part.

    Raises:
        ValueError: If the split names images that are not there, misses some that are, or parts windows which overlap
            as far as their starts and window_s tell.
    """
    windows = _windows(dataset)
    sides: Sides = {file: side for side in SPLITS for file in getattr(split, side)}
    sides.update(dict.fromkeys(split.left_out))
    present = {window.file for window in windows}
    absent, unknown = [file for file in sides if file not in present], sorted(present - set(sides), key=natural_key)
    if absent or unknown:
        raise ValueError(
            f"a split must fit the images: {len(absent)} of its files are not there{_examples(absent)}, "
            f"{len(unknown)} images are not in it{_examples(unknown)}"
        )
    if window_s is not None:
        for first, second, apart_s in _near_pairs(windows, sides):
            if apart_s < window_s - _ROUNDING_S:
                raise ValueError(
                    f"windows that overlap must stand on one side of a split: {first} ({sides[first]}) and "
                    f"{second} ({sides[second]}) start {apart_s:.2f} s apart and last {window_s:g} s"
                )


def _windows(dataset: Dataset) -> list[_Window]:
    table = dataset.select_columns([name for name in _Window.__dataclass_fields__ if name in dataset.column_names])
    columns = table.to_dict()
    assert isinstance(columns, dict)
    users = [dataset.features["user"].int2str(user) for user in columns["user"]]
    given = dataset["split"] if "split" in dataset.column_names else [None] * len(dataset)
    rows = zip(columns["file"], users, columns["recording"], columns["start_s"], given, strict=True)
    return [_Window(*row) for row in rows]


def _cut(
    windows: Sequence[_Window], shares: dict[str, float], gap_windows: int, window_s: float | None, seed: int
) -> tuple[Sides, How]:
    """Side of every file (None: left out), sides other than train as `shares` says, the latest in time first."""
    recordings: dict[str, dict[str, list[_Window]]] = defaultdict(lambda: defaultdict(list))
    for window in windows:
        if window.recording is not None:
            recordings[window.user][window.recording].append(window)
    known = all(window.recording is not None for window in windows)
    if known and min(map(len, recordings.values())) > len(shares):
        sides: Sides = {}
        for user, of_user in recordings.items():
            sides.update(_draw_recordings(of_user, shares, random.Random(f"{seed} {user}")))
        return sides, "by recording"
    sequences = defaultdict(list)
    for window in windows:
        sequences[window.sequence].append(window)
    return {
        file: side
        for sequence in sequences.values()
        for file, side in _cut_sequence(sequence, shares, gap_windows, window_s).items()
    }, "contiguous with a gap"


def _draw_recordings(recordings: dict[str, list[_Window]], shares: dict[str, float], rng: random.Random) -> Sides:
    """Whole recordings to each side until its share of the images is met as nearly as may be; at least one a side."""
    names = sorted(recordings, key=natural_key)
    rng.shuffle(names)
    total = sum(map(len, recordings.values()))
    sides: Sides = {}
    sides_to_come = len(shares)
    for side, share in shares.items():
        taken = 0
        while taken == 0 or (len(names) > sides_to_come and taken + len(recordings[names[-1]]) / 2 <= share * total):
            of_name = recordings[names.pop()]
            taken += len(of_name)
            sides.update({window.file: side for window in of_name})
        sides_to_come -= 1
    sides.update({window.file: "train" for name in names for window in recordings[name]})
    return sides


def _cut_sequence(sequence: list[_Window], shares: dict[str, float], gap_windows: int, window_s: float | None) -> Sides:
    sequence, times, gap = _timeline(sequence, gap_windows, window_s)
    sides: Sides = {}
    end, limit = len(sequence), float("inf")
    for side, share in shares.items():
        while end > 0 and times[end - 1] > limit:
            end -= 1
        start = max(0, end - max(1, round(share * len(sequence))))
        sides.update({window.file: side for window in sequence[start:end]})
        if start < end:
            limit = times[start] - gap
        end = start
    while end > 0 and times[end - 1] > limit:
        end -= 1
    if end == 0:
        return {window.file: "train" for window in sequence}
    sides.update({window.file: "train" for window in sequence[:end]})
    return {window.file: sides.get(window.file) for window in sequence}


def _timeline(
    sequence: list[_Window], gap_windows: int, window_s: float | None
) -> tuple[list[_Window], list[float], float]:
    """Windows in time order, their times, and how far apart (less rounding) two of them must be on two sides."""
    sequence = sorted(sequence, key=lambda window: natural_key(window.file))
    starts = [window.start_s for window in sequence if window.start_s is not None]
    if len(starts) < len(sequence):
        return sequence, [float(place) for place in range(len(sequence))], gap_windows + 0.5
    sequence.sort(key=lambda window: window.start_s or 0.0)
    starts.sort()
    length_s = window_s if window_s is not None else (gap_windows + 1) * _hop_s(starts)
    return sequence, starts, max(length_s, 2 * _ROUNDING_S) - _ROUNDING_S


def _hop_s(starts: Sequence[float]) -> float:
    """Usual time from one start to the next, from sorted starts, seconds; 0 where there is none."""
    hops = [after - before for before, after in pairwise(starts) if after > before]
    return median(hops) if hops else 0.0


def _files(windows: Sequence[_Window], sides: Sides, side: str | None) -> tuple[str, ...]:
    return tuple(window.file for window in windows if sides[window.file] == side)


def _check_every_user(windows: Sequence[_Window], sides: Sides, how: How) -> None:
    counts = Counter((window.user, sides[window.file]) for window in windows)
    totals = Counter(window.user for window in windows)
    for user in totals:
        needed = ("train",) if how == "as given" else SPLITS
        empty = [side for side in needed if counts[user, side] == 0]
        if empty:
            raise ValueError(
                f"every user must have images for {', '.join(needed)}: {user} has {totals[user]} images "
                f"(for example {next(window.file for window in windows if window.user == user)}), "
                f"which leaves none for {', '.join(empty)} ({how})"
            )


def _near_pairs(windows: Sequence[_Window], sides: Sides) -> Iterator[tuple[str, str, float]]:
    """Neighbours in time on two sides of one recording: their files and the seconds between their starts."""
    recordings: dict[tuple[str, str], dict[str, list[tuple[float, str]]]] = defaultdict(lambda: defaultdict(list))
    for window in windows:
        side = sides[window.file]
        if side is not None and window.recording is not None and window.start_s is not None:
            recordings[window.sequence][side].append((window.start_s, window.file))
    for by_side in recordings.values():
        for one, other in combinations(by_side.values(), 2):
            for (first_s, first), (second_s, second) in pairwise(sorted(one + other)):
                if sides[first] != sides[second]:
                    yield first, second, second_s - first_s


def _warn_of_shared_recordings(
    windows: Sequence[_Window], sides: Sides, gap_windows: int, window_s: float | None
) -> None:
    """Warn where folders that the source gives part one recording and nothing shows that the windows do not overlap."""
    of_sequence: dict[tuple[str, str], list[_Window]] = defaultdict(list)
    for window in windows:
        if window.recording is not None and sides[window.file] is not None:
            of_sequence[window.sequence].append(window)
    shared = []
    for (user, recording), members in of_sequence.items():
        if len({sides[window.file] for window in members}) == 1:
            continue
        starts = sorted(window.start_s for window in members if window.start_s is not None)
        length_s = window_s if window_s is not None else (gap_windows + 1) * _hop_s(starts)
        apart = len(starts) == len(members) and all(
            apart_s >= length_s - _ROUNDING_S for _, _, apart_s in _near_pairs(members, sides)
        )
        if not apart:
            shared.append(f"{recording} of {user} (for example {members[0].file} and {members[-1].file})")
    if shared:
        warnings.warn(
            f"recordings should stand on one side of a split, or be cut with a gap; {len(shared)} given "
            f"{'stands' if len(shared) == 1 else 'stand'} on two: {'; '.join(shared[:_LISTED])}",
            UserWarning,
            stacklevel=3,
        )


def _examples(files: Sequence[str]) -> str:
    return f" ({', '.join(files[:_LISTED])}{', ...' if len(files) > _LISTED else ''})" if files else ""
