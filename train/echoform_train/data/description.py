"""Summary of a data set of spectrograms, as lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch

from echoform_train.data.image_check import find_suspicious
from echoform_train.data.layout import SIDES
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.resolution import shown_size

_LISTED = 10


def describe(data: SpectrogramData) -> Iterator[str]:
    """Lines of text: users, sizes, colour map, recordings, conditions, sides of the split and suspicious files."""
    sides = {side: getattr(data, side) for side in SIDES}
    total = sum(map(len, sides.values()))
    height, width = data.native_size
    resized_to = tuple(data.train.pixels.shape[-2:])
    order = "" if height == width else " (height x width)"
    yield f"{data.source}: {total} images of {len(data.id2label)} users, {height}x{width} pixels{order}"
    if resized_to != (height, width):
        yield f"Resized to {shown_size(*resized_to)}"
    if data.other_sizes:
        yield f"Of another size by a few pixels, and resized all the same: {data.other_sizes} images"
    yield _colormap_line(data)
    yield from data.notes
    yield _recordings_line(data, sides)
    if data.times is not None and (overlap := data.times.found or data.times.unclear):
        yield f"Overlap: {'unknown, because ' if data.times.found is None else ''}{overlap}"
    for name, labels in data.condition_labels.items():
        counts = Counter(value for side in sides.values() for value in side.conditions[name].tolist())
        yield f"{name.capitalize()}: " + ", ".join(f"{label} {counts[value]}" for value, label in labels.items())
    if data.axes:
        yield "Axes: " + ", ".join(f"{name} {value:g}" for name, value in data.axes.items())
    yield ""
    yield from _user_table(data, sides)
    yield ""
    yield f"Split {data.split.method}" + _gap_note(data)
    yield from _suspicious_lines(data, sides)
    yield from _listed("Skipped", [str(bad) for bad in data.skipped], limit=None)
    yield from _listed("Not images", list(data.other_files))


def _colormap_line(data: SpectrogramData) -> str:
    if data.colormap is None:
        distance = f"the nearest known one is {data.colormap_residual:.1f} RGB units away"
        return f"Colour map: none ({distance}); models work on 3 channels"
    return (
        f"Colour map: {data.colormap}, {data.colormap_residual:.2f} RGB units away on average; models work on 1 channel"
    )


def _recordings_line(data: SpectrogramData, sides: dict[str, Spectrograms]) -> str:
    known: dict[int, set[str]] = {user: set() for user in data.id2label}
    unknown = 0
    for side in sides.values():
        for user, recording in zip(side.users.tolist(), side.recordings, strict=True):
            if recording is None:
                unknown += 1
            else:
                known[user].add(recording)
    if not any(known.values()):
        return "Recordings: unknown (neither names like <recording>_t<centiseconds>.png nor a metadata.jsonl give them)"
    counts = sorted(map(len, known.values()))
    text = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    return f"Recordings: {text} per user" + (f", unknown for {unknown} images" if unknown else "")


def _user_table(data: SpectrogramData, sides: dict[str, Spectrograms]) -> Iterator[str]:
    width = max(4, *(len(label) for label in data.id2label.values()))
    headings = ("images", *(side.replace("_", " ") for side in SIDES))
    yield "  ".join([f"{'user':<{width}}", *headings])
    counts = {side: torch.bincount(images.users, minlength=len(data.id2label)) for side, images in sides.items()}
    rows = {label: [int(counts[side][user]) for side in SIDES] for user, label in data.id2label.items()}
    rows["all"] = [len(sides[side]) for side in SIDES]
    for label, row in rows.items():
        cells = [f"{count:>{len(heading)}}" for count, heading in zip([sum(row), *row], headings, strict=True)]
        yield "  ".join([f"{label:<{width}}", *cells])


def _gap_note(data: SpectrogramData) -> str:
    left_out = len(data.split.left_out)
    return f"; {left_out} images in the gaps are left out" if left_out else ""


def _suspicious_lines(data: SpectrogramData, sides: dict[str, Spectrograms]) -> Iterator[str]:
    files = [file for side in sides.values() for file in side.files]
    side_of = {file: name.replace("_", " ") for name, side in sides.items() for file in side.files}
    suspicious = find_suspicious(torch.cat([side.pixels for side in sides.values()]).numpy(), files)
    yield from _listed("Blank images", list(suspicious.blank))
    groups = [", ".join(f"{file} ({side_of[file]})" for file in group) for group in suspicious.duplicates]
    yield from _listed("Exact duplicates", groups)
    if not suspicious.blank and not groups:
        yield "No blank images, no exact duplicates"


def _listed(title: str, items: list[str], limit: int | None = _LISTED) -> Iterator[str]:
    if not items:
        return
    yield f"{title}: {len(items)}"
    shown = items if limit is None else items[:limit]
    yield from (f"  {item}" for item in shown)
    if len(shown) < len(items):
        yield f"  and {len(items) - len(shown)} more"
