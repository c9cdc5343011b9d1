"""Which windows of a source overlap, and when each starts: from its names, its pixels, and what the user knows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from echoform_train.data.column_signatures import ColumnSignatures
from echoform_train.data.layout import ImageFile
from echoform_train.data.window_chains import LEAST_ALONE, Link, chain, compare_all, supported
from echoform_train.data.window_names import NamedWalk, counted_walks, timed_walks
from echoform_train.engine.errors import UserError

_MOST_PAIRS = 600
_LEAST_PAIRS = 4
# A common shift counts as seen if pairs correlate by this much on average, more than at any other shift by the margin.
_LEAST_CORRELATION, _LEAST_MARGIN, _LEAST_RELATIVE_MARGIN, _LEAST_T = 0.2, 0.1, 0.2, 5.0
_CHANCES = 6.0
_PERIODIC = 0.5  # so large a correlation without a common shift is that of equal steps, or of a shift that is hidden
_SAME_PEAK = 5 / 128
_LAGS = (2, 3, 4, 6, 8, 12, 16, 24)
_LEAST_CHAINED = 0.3
_MOST_CONFLICTS, _MOST_UNSURE, _MOST_LONE = 0.2, 0.2, 0.1
TOLERANCE_HOPS = 0.1
"""Error of the measured hop: windows that share less than this part of a hop do not overlap."""


@dataclass(frozen=True, kw_only=True)
class WindowTimes:
    """When the windows of each walk start, as far as it was found."""

    walks: tuple[str, ...] | None = None
    """Walk of each image; None if names and metadata tell all that is known."""
    starts: tuple[float, ...] | None = None
    """Start of each image in its walk, columns of the images."""
    columns: int
    """Columns of an image."""
    hop_columns: float | None = None
    """Columns from the start of a window to that of the next one; None if it is unknown or differs."""
    window_s: float | None = None
    """Length of a window, seconds; None if it is unknown."""
    links: tuple[Link, ...] = ()
    """Pairs of images that show the same columns, if all pairs were compared."""
    doubtful: tuple[Link, ...] = ()
    """Pairs that probably show the same columns, because most windows overlap."""
    lone: frozenset[int] = frozenset()
    """The few images that could not be placed in a walk, although nearly all others overlap."""
    unclear: str | None = None
    """Why it cannot be told which images overlap; None if it can."""
    found: str | None = None
    """What was found, for the user; None if nothing was looked for."""

    @property
    def length(self) -> float:
        """Columns that two windows must start apart to count as not overlapping."""
        return self.columns - TOLERANCE_HOPS * (self.hop_columns or 0.0)


@dataclass(frozen=True)
class _Shift:
    """Shift between images that start a usual distance apart."""

    columns: float | None
    """Columns of the signatures, negative if names count against time; None if there is no common shift."""
    unclear: bool = False


def find_window_times(
    images: Sequence[ImageFile],
    signatures: np.ndarray,
    columns: int,
    *,
    window_s: float | None,
    hop_s: float | None,
    axes_hop_s: float | None = None,
) -> WindowTimes:
    """Find which windows overlap.

    Starts in names or metadata are used as they are. Numbers in names are multiples of a hop, which pixels tell: the
    columns of a window are found in the next one, shifted. Where names tell no order, windows that show the same
    columns are chained to walks.

    Args:
        images: The images.
        signatures: Their signatures, see `signature_of`.
        columns: Columns of an image.
        window_s: Length of a window, seconds; None if unknown.
        hop_s: Seconds from the start of a window to that of the next one, if the user gives it.
        axes_hop_s: The same of axes.json, used where the pixels do not tell.

    Raises:
        ValueError: If what the user gives contradicts itself, the names or the pixels.
    """
    if hop_s is not None and not 0 < hop_s < float("inf"):
        raise UserError(f"--hop-s must be a positive number of seconds, got {hop_s}")
    texture = ColumnSignatures(signatures)
    walks, usual_s = timed_walks(images)
    if walks:
        return _of_timed(walks, usual_s, images, texture, columns, window_s, hop_s)
    # Starts that are given are not found anew, also where some images (generated ones, for example) have none.
    if any(image.start_s is not None for image in images):
        return WindowTimes(columns=columns, window_s=window_s)
    counted = counted_walks(images)
    if not counted:
        return _of_hashes(images, texture, columns, window_s, hop_s)
    shift = _common_shift(counted, texture)
    if hop_s is not None:
        return _of_known_hop(counted, shift, images, texture, columns, window_s, hop_s)
    if shift.columns is not None:
        return _placed(counted, shift, images, texture, columns, window_s)
    if axes_hop_s is not None and window_s is not None:
        return _of_known_hop(counted, shift, images, texture, columns, window_s, axes_hop_s)
    if shift.unclear:
        reason = "images of neighbouring numbers look alike at several shifts in time"
        return WindowTimes(columns=columns, window_s=window_s, unclear=reason)
    # Numbers need not be in the order of time.
    times = _of_pixels(images, texture, columns, window_s)
    return replace(times, unclear=None) if times.starts is None else times


def _of_timed(
    walks: Sequence[NamedWalk],
    usual_s: float,
    images: Sequence[ImageFile],
    texture: ColumnSignatures,
    columns: int,
    window_s: float | None,
    hop_s: float | None,
) -> WindowTimes:
    """Starts are known; the pixels tell the length of a window, or contradict the one that is given."""
    if hop_s is not None and abs(hop_s / usual_s - 1) > _SAME_PEAK:
        raise UserError(f"--hop-s is {hop_s:g}, but the starts of the images are {usual_s:g} s apart")
    shift = _common_shift(walks, texture)
    if shift.columns is None:
        reason = (
            "images of neighbouring starts look alike at several shifts in time, and no length of a window is known"
        )
        unclear = reason if shift.unclear and window_s is None else None
        return WindowTimes(columns=columns, window_s=window_s, unclear=unclear)
    measured_s = usual_s * texture.width / abs(shift.columns)
    if window_s is not None:
        if measured_s * (1 - 3 * _SAME_PEAK) > window_s:
            raise UserError(
                f"a window is said to last {window_s:g} s, but the columns of images that start {usual_s:g} s apart "
                f"are {abs(shift.columns) / texture.width:.0%} of a window apart, which makes it {measured_s:.3g} s; "
                "--window-s must be right"
            )
        return WindowTimes(columns=columns, window_s=window_s)
    hop = abs(shift.columns) / texture.width * columns
    starts = tuple((image.start_s or 0.0) / usual_s * hop for image in images)
    return WindowTimes(
        walks=tuple(image.recording or "" for image in images),
        starts=starts,
        columns=columns,
        hop_columns=hop,
        window_s=round(measured_s, 3),
        found=f"{_every(hop, columns)}, so that a window lasts {measured_s:.3g} s",
    )


def _of_known_hop(
    walks: Sequence[NamedWalk],
    shift: _Shift,
    images: Sequence[ImageFile],
    texture: ColumnSignatures,
    columns: int,
    window_s: float | None,
    hop_s: float,
) -> WindowTimes:
    """The hop is given in seconds; with the length of a window it is a number of columns."""
    measured = None if shift.columns is None else abs(shift.columns) / texture.width
    if window_s is None and measured is None:
        raise UserError("--hop-s needs --window-s, the length of a window: the pixels do not tell it")
    given = hop_s / window_s if window_s is not None else measured
    assert given is not None
    window_s = hop_s / given
    if measured is not None and measured < given * 0.9:
        raise UserError(
            f"--hop-s {hop_s:g} and a window of {window_s:g} s make {given:.0%} of a window from one image to the "
            f"next, but their columns are {measured:.0%} of a window apart"
        )
    sign = -1 if shift.columns is not None and shift.columns < 0 else 1
    known = _Shift(sign * given * texture.width)
    return _placed(walks, known, images, texture, columns, window_s)


def _of_hashes(
    images: Sequence[ImageFile], texture: ColumnSignatures, columns: int, window_s: float | None, hop_s: float | None
) -> WindowTimes:
    """Names tell no order."""
    if hop_s is not None and window_s is not None and hop_s >= window_s:
        return WindowTimes(columns=columns, window_s=window_s, found="no two windows overlap, as --hop-s says")
    if hop_s is not None:
        raise UserError(
            f"--hop-s needs names that count up, {images[0].file} does not; a metadata.jsonl with recording and "
            "start_s tells the order, and so does --name-pattern with {index}"
        )
    return _of_pixels(images, texture, columns, window_s)


def _of_pixels(
    images: Sequence[ImageFile], texture: ColumnSignatures, columns: int, window_s: float | None
) -> WindowTimes:
    """Chain the windows that show the same columns to walks."""
    comparison = compare_all(images, texture)
    links = comparison.links
    known = WindowTimes(columns=columns, window_s=window_s, links=tuple(links))
    linked = {index for link in links for index in (link.first, link.second)}
    tolerance = _SAME_PEAK * texture.width
    walks, starts, conflicts = chain(len(images), links, tolerance)
    apart = [pair for pair in comparison.unsure if walks[pair[0]] != walks[pair[1]]]
    unsure = {index for pair in apart for index in pair}
    if len(unsure) > _MOST_UNSURE * len(images):
        reason = "their names tell no order, and many images look alike at several shifts in time"
        return replace(known, unclear=reason)
    if len(linked) < _LEAST_CHAINED * len(images):
        return replace(known, found=_few_links(images, links))
    if conflicts > _MOST_CONFLICTS * len(links):
        return replace(known, unclear="the shifts between images that show the same columns contradict one another")
    weak = comparison.weak_near_usual_shift(tolerance)
    doubtful = tuple(link for link in weak if link.correlation >= LEAST_ALONE)
    weak = supported(weak, walks, starts, tolerance)
    walks, starts, _ = chain(len(images), [*links, *weak], tolerance)
    sizes = Counter(walks)
    lone = [index for index, walk in enumerate(walks) if sizes[walk] == 1]
    scale = columns / texture.width
    hops = [starts[link.second] - starts[link.first] for link in links]
    names = _names_of_walks(images, walks)
    shortest = float(np.quantile(np.abs(hops), 0.1)) * scale
    return replace(
        known,
        doubtful=doubtful,
        lone=frozenset(lone if len(lone) <= _MOST_LONE * len(images) else ()),
        walks=names,
        starts=tuple(start * scale for start in starts),
        found=f"windows overlap, found from the pixels: {_counts(images, names)}; the nearest start "
        f"{shortest:.0f} of {columns} columns apart",
    )


def _placed(
    walks: Sequence[NamedWalk],
    shift: _Shift,
    images: Sequence[ImageFile],
    texture: ColumnSignatures,
    columns: int,
    window_s: float | None,
) -> WindowTimes:
    """Starts of images whose numbers count in hops of a known shift."""
    assert shift.columns is not None
    placed = {member for walk in walks for member in walk.members}
    hop = abs(shift.columns) / texture.width * columns
    if hop < columns and (lost := [image.file for index, image in enumerate(images) if index not in placed]):
        raise UserError(
            f"windows overlap, and the names of {len(lost)} images do not tell when they start, such as {lost[0]}; "
            "--name-pattern must say where the number stands, or a metadata.jsonl with recording and start_s"
        )
    names, starts = [""] * len(images), [0.0] * len(images)
    of_recording = Counter((walk.user, images[walk.members[0]].recording) for walk in walks)
    for walk in walks:
        # A recording keeps its name, unless its images count in several ways.
        recording = images[walk.members[0]].recording
        name = walk.name if recording is None or of_recording[walk.user, recording] > 1 else recording
        for member, step in zip(walk.members, walk.steps, strict=True):
            names[member] = name
            starts[member] = step * (hop if shift.columns > 0 else -hop)
    if hop >= columns:
        return WindowTimes(columns=columns, window_s=window_s, found="no two windows overlap, as the hop says")
    return WindowTimes(
        walks=tuple(names),
        starts=tuple(starts),
        columns=columns,
        hop_columns=hop,
        window_s=window_s,
        found=f"{_every(hop, columns)}; recordings: {_counts(images, names)}",
    )


def _common_shift(walks: Sequence[NamedWalk], texture: ColumnSignatures) -> _Shift:
    """Shift between images that start one step apart, common to all walks."""
    first = _peak(walks, 1, texture)
    if first is None:
        return _Shift(None)
    shift, correlation, clear = first
    if not clear:
        return _Shift(None, unclear=correlation >= max(_PERIODIC, min(0.9, 3 * texture.chance)))
    # Later neighbours tell the hop more exactly, and must not contradict the first ones.
    hop = shift
    for lag in _LAGS:
        if abs(lag * hop) > texture.reach:
            break
        later = _peak(walks, lag, texture)
        if later is None or not later[2]:
            continue
        if abs(later[0] - lag * hop) > max(3.0, 0.1 * abs(lag * hop)) * texture.width / 128:
            return _Shift(None, unclear=True) if lag == 2 else _Shift(hop)
        hop = later[0] / lag
    return _Shift(hop)


def _peak(walks: Sequence[NamedWalk], lag: int, texture: ColumnSignatures) -> tuple[float, float, bool] | None:
    """The shift at which images `lag` steps apart agree best, their mean correlation, and whether no other is near."""
    pairs = [pair for walk in walks for pair in walk.pairs(lag)]
    if len(pairs) < _LEAST_PAIRS:
        return None
    pairs = [pairs[round(at)] for at in np.linspace(0, len(pairs) - 1, min(_MOST_PAIRS, len(pairs)))]
    curves = texture.correlate(*zip(*pairs, strict=True))
    mean, shifts = curves.mean(axis=0), texture.shifts
    best = int(np.where(shifts == 0, -1, mean).argmax())
    away = np.abs(shifts - shifts[best]) > max(1, _SAME_PEAK * texture.width)
    second = int(np.where(away, mean, -1).argmax())
    differences = curves[:, best] - curves[:, second]
    t = differences.mean() / (differences.std() + 1e-3) * len(pairs) ** 0.5
    margin = float(mean[best] - mean[second])
    needed = max(_LEAST_MARGIN, _LEAST_RELATIVE_MARGIN * float(mean[best]))
    least = max(_LEAST_CORRELATION, _CHANCES * texture.chance / len(pairs) ** 0.5)
    clear = mean[best] >= least and margin >= needed and t >= _LEAST_T
    return _between_columns(mean, shifts, best), float(mean[best]), bool(clear)


def _between_columns(mean: np.ndarray, shifts: np.ndarray, best: int) -> float:
    """Top of the parabola through the best shift and its neighbours."""
    if not 0 < best < len(mean) - 1:
        return float(shifts[best])
    before, top, after = mean[best - 1 : best + 2]
    bend = before - 2 * top + after
    return float(shifts[best] + (0.0 if bend >= 0 else 0.5 * (before - after) / bend))


def _every(hop: float, columns: int) -> str:
    return f"windows of one walk every {hop:.3g} of {columns} columns"


def _counts(images: Sequence[ImageFile], walks: Sequence[str]) -> str:
    """Such as "2 to 3 per user, of 20 to 31 windows"."""
    sizes = Counter((image.user, walk) for image, walk in zip(images, walks, strict=True))
    per_user = Counter(user for user, _ in sizes)
    return f"{_range(per_user.values())} per user, of {_range(sizes.values())} windows"


def _range(values: object) -> str:
    numbers = sorted(values)  # type: ignore[call-overload]
    return str(numbers[0]) if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"


def _few_links(images: Sequence[ImageFile], links: Sequence[Link]) -> str:
    if not links:
        return "no two windows of a user show the same columns"
    first, second = images[links[0].first].file, images[links[0].second].file
    return f"{len(links)} pairs of images show the same columns, such as {first} and {second}"


def _names_of_walks(images: Sequence[ImageFile], walks: Sequence[int]) -> tuple[str, ...]:
    """Name of the walk of each image: "walk 1", "walk 2" ... of its user."""
    numbers: dict[str, dict[int, int]] = defaultdict(dict)
    for image, walk in zip(images, walks, strict=True):
        of_user = numbers[image.user]
        of_user.setdefault(walk, len(of_user) + 1)
    return tuple(f"walk {numbers[image.user][walk]}" for image, walk in zip(images, walks, strict=True))
