"""`echoform prepare`: what a folder of spectrograms holds, and the split, before anything trains.

Measured recordings become such a folder first (--from-iq), and a folder that was looked at may go to the Hub.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from echoform_train.data.config import PublishConfig
from echoform_train.data.image_check import find_suspicious
from echoform_train.data.publish import publish_dataset
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, load_spectrograms
from echoform_train.radar.iq_recordings import IqConfig, prepare_recordings

_LISTED = 10
_SIDES = ("train", "validation", "test", "left_out")


@dataclass(frozen=True, kw_only=True)
class Config(PublishConfig):
    """Show what a folder of spectrograms holds: users, sizes, colour map, suspicious files and the split.

    With --from-iq the spectrograms are made first, from recordings of complex samples or FMCW cubes.
    """

    data: tyro.conf.Positional[str]
    """Folder of spectrograms, one folder a user, or the id of a data set on the Hub; with --from-iq, of recordings."""
    split_file: Path | None = None
    """Split to use; written there when it does not exist yet."""
    resolution: int | None = None
    """Height and width to resize to, in pixels. Default: the size of the images; with --from-iq, 256."""
    colormap: str = "auto"
    """Colour map of the pictures: auto detects it, none keeps RGB, or its name."""
    gap_windows: int = 2
    """Windows left out at each cut through a recording whose window length is unknown."""
    window_s: float | None = None
    """Length of a window, seconds. Default: that of axes.json, if there is one; with --from-iq, 3."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""
    seed: int = 0
    """Seed that draws the recordings of each side."""
    iq: Annotated[IqConfig, tyro.conf.arg(name="")] = field(default_factory=IqConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.iq.check()


def main(config: Config) -> None:
    """Read the images as training would, print what was found, and push them where that is asked for.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If it cannot be trained on; the message names the file and the rule.
        PushError: If the Hub does not take it.
    """
    measured = config.iq.from_iq
    if measured:
        config = _make_pictures(config)
    split_existed = config.split_file is not None and config.split_file.exists()
    data = load_spectrograms(
        config.data,
        split_file=config.split_file,
        resolution=config.resolution,
        colormap=config.colormap,
        gap_windows=config.gap_windows,
        window_s=config.window_s,
        skip_bad_files=config.skip_bad_files,
        seed=config.seed,
    )
    print("\n".join(describe(data)))
    if config.split_file is not None:
        print(f"Split {'read from' if split_existed else 'written to'} {config.split_file}")
    if config.push_to_hub is not None:
        url = publish_dataset(
            config.data,
            config.push_to_hub,
            split_file=config.split_file,
            people="recorded" if measured else None,
            private=config.private,
            revision=config.revision,
            license=config.license,
            colormap=config.colormap,
            window_s=config.window_s,
            gap_windows=config.gap_windows,
            skip_bad_files=config.skip_bad_files,
            seed=config.seed,
        )
        print(f"Pushed to {url}")


def _make_pictures(config: Config) -> Config:
    """Cut the recordings, and go on with what was written."""
    assert config.iq.output_dir is not None
    written = prepare_recordings(
        Path(config.data),
        config.iq,
        window_s=3.0 if config.window_s is None else config.window_s,
        resolution=256 if config.resolution is None else config.resolution,
        skip_bad_files=config.skip_bad_files,
    )
    print(f"Wrote {written} pictures to {config.iq.output_dir}")
    return replace(config, data=str(config.iq.output_dir), resolution=None, window_s=None, iq=IqConfig())


def describe(data: SpectrogramData) -> Iterator[str]:
    """Lines of text on what was found."""
    sides = {side: getattr(data, side) for side in _SIDES}
    total = sum(map(len, sides.values()))
    height, width = data.native_size
    yield f"{data.source}: {total} images of {len(data.id2label)} users, {width}x{height} pixels"
    if data.train.pixels.shape[-2:] != (height, width):
        yield f"Resized to {data.train.pixels.shape[-1]}x{data.train.pixels.shape[-2]}"
    yield _colormap_line(data)
    yield _recordings_line(data, sides)
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
        return (
            f"Colour map: none of the known fits (the nearest is {data.colormap_residual:.1f} RGB units away), or none "
            "was asked for; models work on 3 channels"
        )
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
        return "Recordings: unknown (names do not read <recording>_t<centiseconds>, and no metadata.jsonl tells)"
    counts = sorted(map(len, known.values()))
    text = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    return f"Recordings: {text} a user" + (f", unknown for {unknown} images" if unknown else "")


def _user_table(data: SpectrogramData, sides: dict[str, Spectrograms]) -> Iterator[str]:
    wide = max(4, *(len(label) for label in data.id2label.values()))
    headings = ("images", *(side.replace("_", " ") for side in _SIDES))
    yield "  ".join([f"{'user':<{wide}}", *headings])
    counts = {side: torch.bincount(images.users, minlength=len(data.id2label)) for side, images in sides.items()}
    rows = {label: [int(counts[side][user]) for side in _SIDES] for user, label in data.id2label.items()}
    rows["all"] = [len(sides[side]) for side in _SIDES]
    for label, row in rows.items():
        cells = [f"{count:>{len(heading)}}" for count, heading in zip([sum(row), *row], headings, strict=True)]
        yield "  ".join([f"{label:<{wide}}", *cells])


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
