"""Which images are for training, validation and test, such that no image overlaps one of another side."""

from __future__ import annotations

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from datasets import Dataset

from echoform_train.data.layout import SIDES, SPLITS, natural_key
from echoform_train.data.split_cutting import (
    ROUNDING_S,
    Sides,
    Window,
    cut_in_time,
    draw_recordings,
    enough_recordings,
    usual_hop_s,
    windows_of,
)
from echoform_train.engine.errors import UserError
from echoform_train.engine.hashes import json_hash
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.names import check_relative_path, composed

Method = Literal["by recording", "contiguous with a gap", "as given"]

MOST_GAP_WINDOWS = 1_000_000
"""Largest number of images to leave out at a cut."""

_LISTED = 3
_METHOD_KEY = "how"  # in the JSON file


@dataclass(frozen=True, kw_only=True)
class Split:
    """Names of the images of each side; every training stage and every classifier uses the same split."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    left_out: tuple[str, ...]
    """Images in the gaps, which overlap images of another side."""
    method: Method
    """How the images were distributed; see `make_split`."""
    gap_windows: int
    """Images left out at each cut through a recording if the length of a window is unknown."""
    seed: int
    """Seed that chose the recordings of each side."""

    def __post_init__(self) -> None:
        counts = Counter([*self.train, *self.validation, *self.test, *self.left_out])
        twice = [file for file, count in counts.items() if count > 1]
        if twice:
            raise UserError(f"an image must stand on one side of a split, {twice[0]} stands on two")

    def indices(self, files: Sequence[str]) -> dict[str, list[int]]:
        """For each side of SIDES, the indices of its images in `files`, in the order of the split."""
        index_of = {file: index for index, file in enumerate(files)}
        return {side: [index_of[file] for file in getattr(self, side)] for side in SIDES}

    @property
    def sha256(self) -> str:
        """Hash of the names of each side, in hexadecimal: two splits of equal hash hold out the same images."""
        return json_hash({side: sorted(getattr(self, side)) for side in SIDES})

    def save(self, path: str | Path) -> None:
        """Write the split as JSON, atomically; an existing file is replaced."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {_METHOD_KEY if name == "method" else name: value for name, value in asdict(self).items()})

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Read a file that `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file holds no split: another JSON, an unusable name, an image on two sides, or no images
                for training, validation or test.
        """
        facts = read_json_object(Path(path))
        expected = {*cls.__dataclass_fields__, _METHOD_KEY} - {"method"}
        if set(facts) != expected:
            raise UserError(f"{path} must be a split with {', '.join(sorted(expected))}; it is not")
        # Every name and number is checked, because the file may be somebody else's.
        sides = {side: _names_of_side(facts[side], side, path) for side in SIDES}
        method, gap_windows, seed = facts[_METHOD_KEY], facts["gap_windows"], facts["seed"]
        if method not in get_args(Method):
            methods = ", ".join(get_args(Method))
            raise UserError(f"{path} must have a {_METHOD_KEY} among {methods}, it is {repr(method)[:40]}")
        if type(seed) is not int or type(gap_windows) is not int or not 0 <= gap_windows <= MOST_GAP_WINDOWS:
            raise UserError(f"{path} must have a whole gap_windows in 0..{MOST_GAP_WINDOWS} and a whole seed")
        try:
            split = cls(method=method, gap_windows=gap_windows, seed=seed, **sides)
            split.check_sides()
        except UserError as error:
            raise UserError(f"{path} cannot be used: {error}") from error
        return split

    def check_sides(self) -> None:
        """Refuse a split without images for training, validation or test.

        Raises:
            ValueError: If a side is empty.
        """
        if empty := [side for side in SPLITS if not getattr(self, side)]:
            raise UserError(f"a split must have images for {', '.join(SPLITS)}, it has none for {', '.join(empty)}")


def _names_of_side(names: Any, side: str, path: str | Path) -> tuple[str, ...]:
    if not isinstance(names, list):
        raise UserError(f"{path} must have a list of images for {side}, it has {repr(names)[:40]}")
    for name in names:
        if check_relative_path(name, f"an image for {side}", path) != name:
            raise UserError(f"{path} must name images by their paths inside the source, it names {name!r}")
    return tuple(map(composed, names))


def make_split(
    dataset: Dataset,
    *,
    validation_share: float = 0.15,
    test_share: float = 0.2,
    gap_windows: int = 2,
    window_s: float | None = None,
    unit: str = "s",
    seed: int = 0,
) -> Split:
    """Split images such that no window of one side overlaps a window of another.

    - "as given" if the source has train, validation and test folders; a missing side is taken from train.
    - "by recording" if every user has at least three recordings: whole recordings, drawn by the seed, at least one per
      side.
    - "contiguous with a gap" otherwise: each recording (each folder, if recordings are unknown) is cut in time order
      into train, gap, validation, gap, test. Starts on two sides differ by at least the length of a window. If the
      length is unknown, they differ by at least gap_windows + 1 hops; this is enough if a window is no longer than
      gap_windows + 1 hops. Images whose starts are unknown count as one hop apart in the order of their names. A
      recording that is too short to cut is for training.

    Args:
        dataset: Images as `load_images` returns them.
        validation_share: Share of each user's images for validation.
        test_share: Share of each user's images for the test.
        gap_windows: Images to leave out at each cut; used if the length of a window is unknown.
        window_s: Length of a window, seconds; None if unknown.
        unit: What starts and `window_s` are counted in, if not in seconds.
        seed: Seed for choosing the recordings.

    Raises:
        ValueError: If an argument is out of range, a user would have no image on one side, or the folders of the source
            put overlapping windows on two sides.
    """
    _check_arguments(validation_share, test_share, gap_windows, window_s)
    windows = windows_of(dataset)
    # Images in validation or test folders keep their side; a missing side is taken from train.
    sides: Sides = {window.file: window.split for window in windows if window.split}
    shares = {"test": test_share, "validation": validation_share}  # latest first
    missing = {side: share for side, share in shares.items() if side not in sides.values()}
    # Recordings stay whole if there are enough of them; otherwise each is cut in time.
    to_cut = [window for window in windows if window.split in (None, "train")]
    method: Method = "as given"
    if missing and enough_recordings(to_cut, len(missing) + 1):
        sides.update(draw_recordings(to_cut, missing, seed))
        method = "by recording"
    elif missing:
        sides.update(cut_in_time(to_cut, missing, gap_windows=gap_windows, window_s=window_s))
        method = "contiguous with a gap"
    if any(window.split for window in windows):
        method = "as given"

    # Whatever the method, no user may miss a side, and no overlapping windows may be on two sides.
    _check_every_user(windows, sides, method)
    split = Split(
        train=_files_of_side(windows, sides, "train"),
        validation=_files_of_side(windows, sides, "validation"),
        test=_files_of_side(windows, sides, "test"),
        left_out=_files_of_side(windows, sides, None),
        method=method,
        gap_windows=gap_windows,
        seed=seed,
    )
    check_split(dataset, split, window_s=window_s, unit=unit)
    if method == "as given":
        _warn_of_shared_recordings(windows, sides, gap_windows, window_s)
    return split


def check_split(dataset: Dataset, split: Split, *, window_s: float | None = None, unit: str = "s") -> None:
    """Check that a split fits the images.

    Args:
        dataset: Images as `load_images` returns them.
        split: The split to check.
        window_s: Length of a window, seconds; None if unknown: overlap is then not checked.
        unit: What starts and `window_s` are counted in, if not in seconds.

    Raises:
        ValueError: If the split names images that do not exist, lacks some that do, or has overlapping windows on two
            sides.
    """
    _check_window(window_s)
    windows = windows_of(dataset)
    sides: Sides = {file: side for side in SPLITS for file in getattr(split, side)}
    sides.update(dict.fromkeys(split.left_out))
    present = {window.file for window in windows}
    absent, unknown = [file for file in sides if file not in present], sorted(present - set(sides), key=natural_key)
    if absent or unknown:
        raise UserError(
            f"a split must fit the images: {len(absent)} of its files are not there{_examples(absent)}, "
            f"{len(unknown)} images are not in it{_examples(unknown)}"
        )
    if window_s is not None:
        for first, second, distance_s in _neighbours_on_two_sides(windows, sides):
            if distance_s < window_s - ROUNDING_S:
                raise UserError(
                    f"windows that overlap must stand on one side of a split: {first} ({sides[first]}) and "
                    f"{second} ({sides[second]}) start {distance_s:.2f} {unit} apart and last {window_s:g} {unit}"
                )


def _check_arguments(validation_share: float, test_share: float, gap_windows: int, window_s: float | None) -> None:
    if not (validation_share > 0 and test_share > 0 and validation_share + test_share < 1):
        raise UserError(
            "shares must be positive and leave some for train (--validation-share, --test-share), got "
            f"{validation_share} and {test_share}"
        )
    if not 0 <= gap_windows <= MOST_GAP_WINDOWS:
        raise UserError(f"gap_windows must be in 0..{MOST_GAP_WINDOWS}, got {gap_windows}")
    _check_window(window_s)


def _check_window(window_s: float | None) -> None:
    if window_s is not None and not (math.isfinite(window_s) and window_s > 0):
        raise UserError(f"window_s must be a positive number of seconds, got {window_s}")


def _files_of_side(windows: Sequence[Window], sides: Sides, side: str | None) -> tuple[str, ...]:
    return tuple(window.file for window in windows if sides[window.file] == side)


def _check_every_user(windows: Sequence[Window], sides: Sides, method: Method) -> None:
    counts = Counter((window.user, sides[window.file]) for window in windows)
    totals = Counter(window.user for window in windows)
    for user in totals:
        needed = ("train",) if method == "as given" else SPLITS
        empty = [side for side in needed if counts[user, side] == 0]
        if empty:
            raise UserError(
                f"every user must have images for {', '.join(needed)}: {user} has {totals[user]} images "
                f"(for example {next(window.file for window in windows if window.user == user)}), "
                f"which leaves none for {', '.join(empty)} ({method})"
            )


def _neighbours_on_two_sides(windows: Sequence[Window], sides: Sides) -> Iterator[tuple[str, str, float]]:
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
    windows: Sequence[Window], sides: Sides, gap_windows: int, window_s: float | None
) -> None:
    """Warn if folders put one recording on two sides, unless the starts show that its windows do not overlap."""
    recordings: dict[tuple[str, str], list[Window]] = defaultdict(list)
    for window in windows:
        if window.recording is not None and sides[window.file] is not None:
            recordings[window.sequence].append(window)
    shared = [
        f"{recording} of {user} (for example {members[0].file} and {members[-1].file})"
        for (user, recording), members in recordings.items()
        if not _known_apart(members, sides, gap_windows, window_s)
    ]
    if shared:
        warnings.warn(
            "the windows of a recording should be on one side of a split, or be cut with a gap; on two sides without a "
            f"known gap: {len(shared)} ({'; '.join(shared[:_LISTED])})",
            UserWarning,
            stacklevel=3,
        )


def _known_apart(recording: Sequence[Window], sides: Sides, gap_windows: int, window_s: float | None) -> bool:
    """Whether all windows are on one side, or their starts show that windows on two sides do not overlap."""
    if len({sides[window.file] for window in recording}) == 1:
        return True
    starts = sorted(window.start_s for window in recording if window.start_s is not None)
    length_s = window_s if window_s is not None else (gap_windows + 1) * usual_hop_s(starts)
    return len(starts) == len(recording) and all(
        distance_s >= length_s - ROUNDING_S for _, _, distance_s in _neighbours_on_two_sides(recording, sides)
    )


def _examples(files: Sequence[str]) -> str:
    return f" ({', '.join(files[:_LISTED])}{', ...' if len(files) > _LISTED else ''})" if files else ""
