"""Any source of spectrograms as tensors in memory, split into train, validation and test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset
from torch import Tensor

from echoform_train.data.dataset import SourceImages, read_source
from echoform_train.data.image_check import BadFile
from echoform_train.data.reading import ReadingConfig
from echoform_train.data.split import Split
from echoform_train.data.split_of_source import choose_split, find_times
from echoform_train.data.window_overlap import WindowTimes
from echoform_train.engine.errors import UserError
from echoform_train.engine.resolution import Halving
from echoform_train.engine.shown import ShownAsTable


@dataclass(frozen=True, kw_only=True)
class Spectrograms:
    """Spectrograms with what is known of each."""

    pixels: Tensor
    """uint8 [N, C, H, W]; C is 1 for indices into a colour map, 3 for RGB. H is frequency, W is time."""
    users: Tensor
    """Class ids int64 [N], keys of `SpectrogramData.id2label`."""
    conditions: dict[str, Tensor]
    """By condition: int64 [N], keys of its `SpectrogramData.condition_labels`."""
    files: tuple[str, ...]
    recordings: tuple[str | None, ...]
    starts_s: tuple[float | None, ...]
    """Start of each window in its recording, seconds; None if unknown."""
    starts_windows: tuple[float, ...] | None = None
    """Start of each window in its recording, in lengths of a window, where the pixels or --hop-s tell it."""

    def __len__(self) -> int:
        return len(self.files)

    def select(self, indices: Sequence[int] | Tensor) -> Spectrograms:
        """The images with these indices, in this order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return Spectrograms(
            pixels=self.pixels[chosen],
            users=self.users[chosen],
            conditions={name: values[chosen] for name, values in self.conditions.items()},
            files=tuple(self.files[index] for index in chosen.tolist()),
            recordings=tuple(self.recordings[index] for index in chosen.tolist()),
            starts_s=tuple(self.starts_s[index] for index in chosen.tolist()),
            starts_windows=None
            if self.starts_windows is None
            else tuple(self.starts_windows[index] for index in chosen.tolist()),
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class SpectrogramData(ShownAsTable):
    """Spectrograms of one source, split for training and scoring."""

    train: Spectrograms
    validation: Spectrograms
    test: Spectrograms
    left_out: Spectrograms
    """Images in the gaps of the split."""
    split: Split
    split_file: Path | None
    """File that the split was read from; None: that of a published data set, or a new one."""
    images_sha256: str
    """Hash of names and content of all image files."""
    id2label: dict[int, str]
    """Label of each user by class id, in natural order."""
    condition_labels: dict[str, dict[int, str]]
    """By condition: label of each of its values by id."""
    colormap: str | None
    """Colour map of the images; None for RGB."""
    colormap_residual: float
    """Mean distance of the images from the (nearest) colour map, RGB units of 0..255."""
    axes: dict[str, float] | None
    """Content of axes.json (window_s, doppler_min_hz ...), if there is one."""
    native_size: tuple[int, int]
    """Height and width of the files, pixels."""
    other_sizes: int = 0
    """Number of files that differ from it by a few pixels."""
    times: WindowTimes | None = None
    """Which windows overlap, and when each starts, as far as it was found."""
    reading: str = ""
    """How files were read, if not as they are: the box of the data, the scale of numbers ..."""
    notes: tuple[str, ...] = ()
    """What was found in the files, as lines of text."""
    source: str
    skipped: tuple[BadFile, ...]
    """Files that could not be used and were skipped, because `skip_bad_files` was set."""
    other_files: tuple[str, ...]
    """Files of the source that are neither images nor metadata."""

    def shown(self) -> Iterator[tuple[str, str]]:
        """Rows of the table that it prints."""
        yield "source", str(self.source)
        yield "users", str(len(self.id2label))
        for side in ("train", "validation", "test", "left_out"):
            yield side, f"{len(getattr(self, side))} images"
        yield "pixels", "x".join(map(str, self.train.pixels.shape[1:]))
        yield "colormap", str(self.colormap)
        yield "split", self.split.method


def load_spectrograms(
    source: str | Path,
    *,
    split_file: Path | None = None,
    resolution: int | str | None = None,
    halving: Halving | None = None,
    native: bool = False,
    colormap: str = "auto",
    conditions: tuple[str, ...] | None = None,
    gap_windows: int = 2,
    window_s: float | None = None,
    hop_s: float | None = None,
    name_pattern: str | None = None,
    find_overlap: bool = True,
    reading: ReadingConfig | None = None,
    skip_bad_files: bool = False,
    seed: int = 0,
) -> SpectrogramData:
    """Read, check and split a source; everything is kept in memory.

    Args:
        source: Folder or Hub id, see `load_images`.
        split_file: Existing split to use; None: that of a published data set, or a new one.
        resolution: Height and width to resize to, pixels: one number, or a text such as "64x128"; None keeps the size.
        halving: How often models will halve the images, which must have a size that allows it.
        native: Resize pictures that were enlarged to their native grid, where resolution is None.
        colormap: "auto" detects it, "none" keeps RGB, or the name of a map.
        conditions: Categorical columns to keep; None keeps all that have at least two values.
        gap_windows: Windows to leave out at each cut through a recording of unknown window length.
        window_s: Length of a window, seconds; None is the one in axes.json, if there is one.
        hop_s: Seconds from the start of a window to that of the next one; None finds it in names and pixels.
        name_pattern: What names of files tell, see `NamePattern`.
        find_overlap: Whether to find windows that overlap; False where the split is not used.
        reading: How files are read: the box of the data, and what numbers mean.
        skip_bad_files: List and skip files that cannot be used instead of stopping.
        seed: Seed for choosing the recordings of each side.

    Raises:
        FileNotFoundError: If there is no such source or split.
        ValueError: If a file cannot be used, a condition is unknown, the split does not fit, or an argument is out of
            range; the message names the file or argument.
    """
    read = read_source(
        source,
        skip_bad_files=skip_bad_files,
        colormap=colormap,
        resolution=resolution,
        halving=halving,
        native=native,
        name_pattern=name_pattern,
        reading=reading,
    )
    # Conditions and split are checked before the pixels are copied.
    condition_names = _choose_conditions(read.dataset, conditions)
    times = (
        find_times(read, window_s=window_s, hop_s=hop_s)
        if find_overlap
        else WindowTimes(columns=read.pixels.native_size[1], window_s=window_s)
    )
    split = choose_split(read, split_file, times, gap_windows=gap_windows, seed=seed)

    everything = _to_tensors(read, condition_names, times)
    sides = {side: everything.select(indices) for side, indices in split.indices(everything.files).items()}
    features = read.dataset.features
    return SpectrogramData(
        **sides,
        split=split,
        split_file=split_file,
        images_sha256=read.pixels.images_sha256,
        id2label=dict(enumerate(features["user"].names)),
        condition_labels={name: dict(enumerate(features[name].names)) for name in condition_names},
        colormap=read.pixels.colormap,
        colormap_residual=read.pixels.residual,
        times=times,
        axes=read.axes,
        reading=read.pixels.reading,
        notes=read.pixels.notes,
        native_size=read.pixels.native_size,
        other_sizes=read.pixels.other_sizes,
        source=str(source),
        skipped=read.skipped,
        other_files=read.other_files,
    )


def to_model(pixels: Tensor) -> Tensor:
    """Convert stored pixels, uint8 of any shape, to model range, float32 in [-1, 1]."""
    return pixels.to(torch.float32) / 127.5 - 1


def to_pixels(model: Tensor) -> Tensor:
    """Convert model range, float of any shape, to stored pixels, uint8: clamped to [-1, 1] and rounded."""
    return ((model.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _choose_conditions(dataset: Dataset, chosen: tuple[str, ...] | None) -> tuple[str, ...]:
    known = [name for name, feature in dataset.features.items() if isinstance(feature, ClassLabel) and name != "user"]
    if chosen is None:
        return tuple(name for name in known if dataset.features[name].num_classes >= 2)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise UserError(f"conditions must be among the categorical columns {known}, got {', '.join(unknown)}")
    return chosen


def _to_tensors(read: SourceImages, condition_names: tuple[str, ...], times: WindowTimes) -> Spectrograms:
    def column(name: str) -> Tensor:
        return torch.from_numpy(np.asarray(read.dataset[name][:], dtype=np.int64))

    return Spectrograms(
        pixels=torch.from_numpy(read.pixels.pixels),
        users=column("user"),
        conditions={name: column(name) for name in condition_names},
        files=tuple(read.dataset["file"][:]),
        recordings=tuple(read.dataset["recording"][:]) if times.walks is None else times.walks,
        starts_s=tuple(read.dataset["start_s"][:]),
        starts_windows=None if times.starts is None else tuple(start / times.columns for start in times.starts),
    )
