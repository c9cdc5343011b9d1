"""The split of a source of spectrograms: read or made, and checked for windows that share columns across its sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets import Dataset, Features

from echoform_train.data.dataset import SourceImages
from echoform_train.data.layout import SPLITS
from echoform_train.data.loading import read_split
from echoform_train.data.split import Split, check_split, make_split
from echoform_train.data.split_cutting import enough_recordings, windows_of
from echoform_train.data.window_chains import Link
from echoform_train.data.window_overlap import WindowTimes, find_window_times
from echoform_train.engine.errors import UserError

_COLUMNS = "columns"


def find_times(read: SourceImages, *, window_s: float | None, hop_s: float | None) -> WindowTimes:
    """Find which windows of a source overlap, see `find_window_times`.

    Args:
        read: The source.
        window_s: Length of a window, seconds; None is the one in axes.json, if there is one.
        hop_s: Seconds from the start of a window to that of the next one; None if the user does not give it.

    Raises:
        ValueError: If what the user gives contradicts itself, the names or the pixels.
    """
    axes = read.axes or {}
    return find_window_times(
        read.pixels.images,
        read.pixels.signatures,
        read.pixels.native_size[1],
        window_s=axes.get("window_s") if window_s is None else window_s,
        hop_s=hop_s,
        axes_hop_s=axes.get("hop_s"),
    )


def choose_split(
    read: SourceImages, split_file: Path | None, times: WindowTimes, *, gap_windows: int, seed: int
) -> Split:
    """The split of the file that is given, else that of a published data set, else a new one.

    Whatever the split, no image may share columns with an image of another side.

    Raises:
        ValueError: If it does not fit the images, none can be made, or it cannot be told which images overlap.
    """
    # The length of a window counts where starts are known in seconds.
    window_s = times.window_s if times.starts is None else None
    split = read_split(read.dataset, read.source, split_file, read.split_file, window_s=window_s)
    if split is not None:
        _check_times(read, split, times, str(split_file or read.split_file))
        _check_links(read, split, times, str(split_file or read.split_file))
        return split
    _refuse_unclear(read, times)
    if times.starts is None:
        split = make_split(read.dataset, gap_windows=gap_windows, window_s=window_s, seed=seed)
    else:
        split = _make_timed_split(read, times, gap_windows, seed)
    if split.method == "as given":
        _check_links(read, split, times, "its folders")
        return split
    return _without_links(split, read, times)


def _make_timed_split(read: SourceImages, times: WindowTimes, gap_windows: int, seed: int) -> Split:
    """A split whose sides keep the distance that the found times need."""
    placed = _placed(read, times)
    try:
        # Where the usual gap is long enough, the split is the same as that of unknown times.
        split = make_split(read.dataset, gap_windows=gap_windows, seed=seed)
        check_split(placed, split, window_s=times.length, unit=_COLUMNS)
        return split
    except UserError:
        length = max(times.length, (gap_windows + 1) * (times.hop_columns or 0.0))
        return make_split(placed, gap_windows=gap_windows, window_s=length, unit=_COLUMNS, seed=seed)


def _placed(read: SourceImages, times: WindowTimes) -> Dataset:
    """The facts that a split depends on, with the walks that were found and the starts in columns."""
    assert times.walks is not None and times.starts is not None
    known = [name for name in ("file", "user", "split") if name in read.dataset.column_names]
    facts = {name: read.dataset[name][:] for name in known}
    facts |= {"recording": list(times.walks), "start_s": list(times.starts)}
    return Dataset.from_dict(facts, features=Features({name: read.dataset.features[name] for name in facts}))


def _check_times(read: SourceImages, split: Split, times: WindowTimes, where: str) -> None:
    if times.starts is None:
        return
    try:
        check_split(_placed(read, times), split, window_s=times.length, unit=_COLUMNS)
    except UserError as error:
        raise UserError(f"{where} cannot be used with {read.source}: {error}; {times.found}") from error


def _check_links(read: SourceImages, split: Split, times: WindowTimes, where: str) -> None:
    # Exact duplicates are listed by prepare, and a given split may hold them.
    shifted = [link for link in times.links if link.shift]
    for first, side, second, other in _crossing(split, read, shifted):
        raise UserError(
            f"{where} cannot be used with {read.source}: windows that overlap must stand on one side of a split, but "
            f"{first} ({side}) and {second} ({other}) show the same columns"
        )


def _without_links(split: Split, read: SourceImages, times: WindowTimes) -> Split:
    """The split without images that show the same columns as one of a later side, or that could not be placed."""
    order = {side: number for number, side in enumerate(SPLITS)}
    crossing = _crossing(split, read, [*times.links, *times.doubtful])
    lone = {read.pixels.images[index].file for index in times.lone}
    dropped = lone | {first if order[side] < order[other] else second for first, side, second, other in crossing}
    if not dropped:
        return split
    sides = {side: tuple(file for file in getattr(split, side) if file not in dropped) for side in SPLITS}
    left_out = {*split.left_out, *dropped}
    files = read.dataset["file"][:]
    split = replace(split, **sides, left_out=tuple(file for file in files if file in left_out))
    split.check_sides()
    return split


def _crossing(split: Split, read: SourceImages, links: Sequence[Link]) -> list[tuple[str, str, str, str]]:
    """Images that show the same columns on two sides: file and side of both."""
    side_of = {file: side for side in SPLITS for file in getattr(split, side)}
    images = read.pixels.images
    pairs = [(images[link.first].file, images[link.second].file) for link in links]
    return [
        (first, side_of[first], second, side_of[second])
        for first, second in pairs
        if first in side_of and second in side_of and side_of[first] != side_of[second]
    ]


def _refuse_unclear(read: SourceImages, times: WindowTimes) -> None:
    """Refuse to cut walks whose overlap is unknown; whole recordings and given folders need no gap."""
    if times.unclear is None:
        return
    windows = windows_of(read.dataset)
    to_cut = [window for window in windows if window.split in (None, "train")]
    missing = {"validation", "test"} - {window.split for window in windows}
    if not missing or enough_recordings(to_cut, len(missing) + 1):
        return
    raise UserError(
        f"it cannot be told which images of {read.source} overlap: {times.unclear}; --hop-s must give the seconds from "
        "the start of an image to that of the next one, with --window-s, the length of an image (a hop of that length "
        "says that none overlap), or a metadata.jsonl the recording and start_s of each image"
    )
