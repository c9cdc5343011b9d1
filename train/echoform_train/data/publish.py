"""Push a folder of spectrograms to the Hub as a data set that loads as the same tensors, split and axes."""

from __future__ import annotations

import shlex
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any, Literal

from datasets import ClassLabel, Dataset, Value

from echoform.hub import CARD, push_folder
from echoform_cards.dataset_card import HubMetadata, SplitFacts, StoredImage, Table, render_dataset_card
from echoform_train.data.dataset import SourceImages, read_source
from echoform_train.data.layout import ARRAYS
from echoform_train.data.parquet import MAX_SHARD_BYTES, write_parquet
from echoform_train.data.reading import ReadingConfig
from echoform_train.data.split import Split
from echoform_train.data.split_of_source import choose_split, find_times
from echoform_train.engine.atomic_files import write_text
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import AXES, SPLIT
from echoform_train.engine.json_files import write_json
from echoform_train.engine.sources import DatasetInMemory


def publish_dataset(
    data: str | Path,
    repo_id: str,
    *,
    split_file: Path | None = None,
    name: str | None = None,
    people: Literal["simulated", "recorded"] | None = None,
    license: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str | None = None,
    resolution: int | str | None = None,
    colormap: str = "auto",
    window_s: float | None = None,
    hop_s: float | None = None,
    name_pattern: str | None = None,
    gap_windows: int = 2,
    reading: ReadingConfig | None = None,
    skip_bad_files: bool = False,
    seed: int = 0,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> str:
    """Push spectrograms to the Hub in one commit: parquet files, split.json, axes.json and a card.

    Every image is stored as the bytes of its file, beside `file`, `user`, `recording`, `start_s`, its conditions and
    numbers. `load_spectrograms(repo_id)` then gives the same result as `load_spectrograms(data)` with this split.
    Pushing the same content again makes no commit.

    Args:
        data: Folder or Hub id, see `load_spectrograms`.
        repo_id: `user/name` on the Hub; created if it does not exist.
        split_file: Existing split to publish; None: the split that a training would make.
        name: Title of the card; None is the name of the folder.
        people: Whether the walking people are simulated or recorded; if unknown, the card warns as for recorded people.
        license: Licence identifier of the Hub, such as "cc-by-4.0"; None: the card says that there is none.
        private: Whether a new repository is private; None is the default of the account.
        revision: Branch to push to; None is main.
        token: Access token; None is that of `hf auth login`.
        commit_message: Title of the commit.
        resolution: Size at which the split is made; the files themselves are published as they are.
        colormap: See `load_spectrograms`.
        window_s: Length of a window, seconds.
        hop_s: See `load_spectrograms`.
        name_pattern: See `load_spectrograms`.
        gap_windows: Windows left out at each cut through a recording of unknown window length.
        reading: See `load_spectrograms`; arrays are refused, as a data set of images holds none.
        skip_bad_files: Leave out files that cannot be used.
        seed: Seed for choosing the recordings of each side.
        max_shard_bytes: Largest total size of the images in one parquet file, bytes.

    Returns:
        URL of the commit, or of the latest commit if nothing had to change.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If the images cannot be used or do not fit the split.
        PushError: If the push failed; the message says which command tries again.
    """
    # Images and split are those that a training on `data` would use.
    read = read_source(
        data,
        skip_bad_files=skip_bad_files,
        colormap=colormap,
        resolution=resolution,
        name_pattern=name_pattern,
        reading=reading,
    )
    if any(image.file.lower().endswith(ARRAYS.suffixes) for image in read.pixels.images):
        raise UserError(f"a data set on the Hub must hold pictures, {data} holds arrays; 16-bit PNG keeps numbers")
    times = find_times(read, window_s=window_s, hop_s=hop_s)
    split = choose_split(read, split_file, times, gap_windows=gap_windows, seed=seed)
    title = name or (repo_id.rpartition("/")[2] if isinstance(data, DatasetInMemory) else Path(data).resolve().name)
    # The data set is written to one folder first, so that one upload makes one commit.
    with tempfile.TemporaryDirectory(prefix="echoform-") as scratch:
        metadata, table = write_dataset(read.dataset, split, Path(scratch), max_shard_bytes=max_shard_bytes)
        if read.axes is not None:
            write_json(Path(scratch) / AXES, read.axes)
        card = render_dataset_card(
            {
                "name": title,
                "kind": "spectrogram",
                "repo": repo_id,
                "people": people,
                "license": license,
                "image": _image_facts(read),
                "axes": _axes_of_card(read),
                "split": split_facts(split),
                **metadata,
                **table,
            }
        )
        write_text(Path(scratch) / CARD, card)
        return push_folder(
            Path(scratch),
            repo_id,
            private=private,
            revision=revision,
            token=token,
            commit_message=commit_message or f"Upload {title} with echoform",
            repo_type="dataset",
            what_continues=_retry_hint(
                data, repo_id, private=private, revision=revision, license=license, split_file=split_file
            ),
        )


def write_dataset(
    dataset: Dataset, split: Split, folder: Path, *, label_column: str = "user", max_shard_bytes: int = MAX_SHARD_BYTES
) -> tuple[HubMetadata, Table]:
    """Write the images as parquet files, one split of the Hub per side, and split.json.

    Args:
        dataset: Columns `file`, `image`, `recording` and any others.
        split: Sides of the images.
        folder: Where to write.
        label_column: Name of the column of users or classes; it may be missing.
        max_shard_bytes: Largest total size of the images in one parquet file, bytes.

    Returns:
        Entries about the files for the card's metadata, and the counts that the card prints.
    """
    if "split" in dataset.column_names:  # the same as the splits on the Hub
        dataset = dataset.remove_columns("split")
    rows = split.indices(dataset["file"][:])
    metadata = write_parquet(dataset, rows, folder, max_shard_bytes=max_shard_bytes)
    split.save(folder / SPLIT)
    return metadata, _count(dataset, rows, label_column)


def split_facts(split: Split) -> SplitFacts:
    """Facts of the split for the card of a data set."""
    return {"how": split.method, "gap_windows": split.gap_windows, "seed": split.seed}


def _retry_hint(data: str | Path, repo_id: str, **flags: Any) -> str:
    """End of the error message of a failed push, with the command that tries again."""
    words = ["echoform", "prepare", str(data), "--push-to-hub", repo_id]
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)] if value else []
    return f"{data} is unchanged, and `{shlex.join(words)}` tries again"


def _count(dataset: Dataset, rows: dict[str, list[int]], label_column: str) -> Table:
    """Count images per side and label, recordings, values of each condition, and kinds of files."""
    features = dataset.features
    images = {side: len(indices) for side, indices in rows.items() if indices}
    table: Table = {"images": images}
    # Not every data set of depth images has classes.
    labels: Sequence[int | None] = [None] * len(dataset)
    if label_column in features:
        labels = dataset[label_column][:]
        counts = {side: Counter(labels[index] for index in indices) for side, indices in rows.items()}
        table["classes"] = {
            name: {side: counts[side][label] for side in images}
            for label, name in enumerate(features[label_column].names)
        }

    # Conditions are the categorical columns that a source brings along; of other columns the card lists the names.
    known = ("file", "image", label_column, "recording", "start_s", "frame")
    columns = [column for column in features if column not in known]
    table["conditions"] = {
        column: {name: values[label] for label, name in enumerate(features[column].names)}
        for column in columns
        if isinstance(features[column], ClassLabel) and (values := Counter(dataset[column][:]))
    }
    table["columns"] = [column for column in columns if isinstance(features[column], Value)]

    # Recordings of two users may have the same name.
    recordings = list(zip(labels, dataset["recording"][:], strict=True))
    with_name = [recording for recording in recordings if recording[1] is not None]
    table["recordings"], table["recording_unknown"] = len(set(with_name)), len(recordings) - len(with_name)
    suffixes = Counter(PurePosixPath(file).suffix.lower().lstrip(".") for file in dataset["file"][:])
    table["formats"] = dict(sorted(suffixes.items()))
    return table


def _image_facts(read: SourceImages) -> StoredImage:
    height, width = read.pixels.native_size
    return {
        "height": height,
        "width": width,
        "colormap": read.pixels.colormap,
        "colormap_residual": read.pixels.residual,
        "reading": read.pixels.reading or None,
    }


def _axes_of_card(read: SourceImages) -> dict[str, float]:
    hop_s = _hop_s(read.dataset)
    return ({} if hop_s is None else {"hop_s": hop_s}) | (read.axes or {})


def _hop_s(dataset: Dataset) -> float | None:
    """Median time from the start of a window to that of the next in its recording, seconds; None if unknown."""
    starts: dict[tuple[int, str], set[float]] = defaultdict(set)
    columns: Sequence[Sequence[Any]] = [dataset[name][:] for name in ("user", "recording", "start_s")]
    for user, recording, start_s in zip(*columns, strict=True):
        if recording is not None and start_s is not None:
            starts[user, recording].add(start_s)
    hops = [after - before for times in starts.values() for before, after in pairwise(sorted(times))]
    return round(median(hops), 3) if hops else None
