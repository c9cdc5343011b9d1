"""A folder of images as a data set of the Hub, from which the same tensors, split and axes come back."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any, Literal

from datasets import ClassLabel, Dataset, Value

from echoform.hub import push_folder
from echoform_cards.dataset_card import render_dataset_card
from echoform_train.data.folder import SourceImages, read_source
from echoform_train.data.parquet import MAX_SHARD_BYTES, write_parquet
from echoform_train.data.spectrograms import choose_split
from echoform_train.data.split import Split
from echoform_train.engine.files import AXES, SPLIT


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
    colormap: str = "auto",
    window_s: float | None = None,
    gap_windows: int = 2,
    skip_bad_files: bool = False,
    seed: int = 0,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> str:
    """Push spectrograms to the Hub in one commit: parquet, split.json, axes.json and a card.

    Every image travels as the bytes of its file, beside `file`, `user`, `recording`, `start_s`, its conditions and
    numbers. `load_spectrograms(repo_id)` then returns what it returns for `data` with this split. The same content
    again makes no commit.

    Args:
        data: What `load_spectrograms` takes.
        repo_id: `user/name` on the Hub; made where there is none.
        split_file: Split to publish; where it is None or not there, the split that training would make.
        name: Title of the card; None takes that of the folder.
        people: Whose gait it is; where it is not known, the card warns as for recorded people.
        license: Licence identifier of the Hub, such as "cc-by-4.0"; None leaves it open, and the card says so.
        private: Who may see a new repository; None takes the account's default.
        revision: Branch to push to; None is main.
        token: Access token; None takes that of `hf auth login`.
        commit_message: Title of the commit.
        colormap: As for `load_spectrograms`, and so are window_s, gap_windows, skip_bad_files and seed.
        window_s: Length of a window, seconds.
        gap_windows: Windows left out at each cut through a recording of unknown window length.
        skip_bad_files: Leave out files that cannot be used.
        seed: Draws the recordings of each side.
        max_shard_bytes: Images in one parquet file, bytes.

    Returns:
        URL of the commit, or of the revision that already holds all this.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If the images cannot be used or do not fit the split.
        PushError: If the Hub does not take it; the message says what continues.
    """
    read = read_source(data, skip_bad_files=skip_bad_files, colormap=colormap)
    split = choose_split(read, split_file, gap_windows=gap_windows, window_s=window_s, seed=seed)
    with tempfile.TemporaryDirectory(prefix="echoform-") as scratch:
        folder = Path(scratch)
        facts = {"name": name or Path(str(data)).resolve().name, "repo": repo_id, "people": people, "license": license}
        write_dataset(read, split, folder, facts, max_shard_bytes=max_shard_bytes)
        return push_folder(
            folder,
            repo_id,
            private=private,
            revision=revision,
            token=token,
            commit_message=commit_message or f"Upload {facts['name']} with echoform",
            repo_type="dataset",
            what_continues=what_continues(
                data, repo_id, private=private, revision=revision, license=license, split_file=split_file
            ),
        )


def what_continues(data: str | Path, repo_id: str, **flags: Any) -> str:
    """End of the sentence that a failed push says."""
    words = ["echoform", "prepare", str(data), "--push-to-hub", repo_id]
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)] if value else []
    return f"{data} is as it was, and `{shlex.join(words)}` tries again"


def write_dataset(
    read: SourceImages,
    split: Split,
    folder: Path,
    facts: dict[str, Any],
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write to `folder` what `publish_dataset` pushes; `facts` are those of the card that the images do not tell."""
    dataset = read.dataset
    if "split" in dataset.column_names:  # the parts of the Hub say it
        dataset = dataset.remove_columns("split")
    rows = split.indices(dataset["file"][:])
    metadata = write_parquet(dataset, rows, folder, max_shard_bytes=max_shard_bytes)
    split.save(folder / SPLIT)
    if read.axes is not None:
        (folder / AXES).write_text(json.dumps(read.axes, indent=1) + "\n", encoding="utf-8")
    card = {
        "kind": "spectrogram",
        **metadata,
        **facts,
        **table_facts(dataset, rows, "user"),
        "image": {
            "height": read.pixels.native_size[0],
            "width": read.pixels.native_size[1],
            "colormap": read.pixels.colormap,
            "colormap_residual": read.pixels.residual,
        },
        "axes": {"hop_s": _hop_s(dataset), **(read.axes or {})},
        "split": {"how": split.method, "gap_windows": split.gap_windows, "seed": split.seed},
    }
    (folder / "README.md").write_text(render_dataset_card(card), encoding="utf-8")


def table_facts(dataset: Dataset, rows: dict[str, list[int]], label_column: str) -> dict[str, Any]:
    """What a card counts: images of each part and class, recordings, values of each condition, kinds of files."""
    features = dataset.features
    facts: dict[str, Any] = {"images": {part: len(places) for part, places in rows.items() if places}}
    if label_column in features:
        names, labels = features[label_column].names, dataset[label_column][:]
        counts = {part: Counter(labels[place] for place in places) for part, places in rows.items()}
        facts["classes"] = {
            name: {part: counts[part][label] for part in facts["images"]} for label, name in enumerate(names)
        }
    own = ("file", "image", label_column, "recording", "start_s", "frame")
    columns = [column for column in features if column not in own]
    facts["conditions"] = {
        column: {name: values[label] for label, name in enumerate(features[column].names)}
        for column in columns
        if isinstance(features[column], ClassLabel) and (values := Counter(dataset[column][:]))
    }
    facts["columns"] = [column for column in columns if isinstance(features[column], Value)]
    owners = dataset[label_column][:] if label_column in features else [None] * len(dataset)
    recordings = list(zip(owners, dataset["recording"][:], strict=True))
    known = [recording for recording in recordings if recording[1] is not None]
    facts["recordings"], facts["recording_unknown"] = len(set(known)), len(recordings) - len(known)
    facts["formats"] = dict(
        sorted(Counter(PurePosixPath(file).suffix.lower().lstrip(".") for file in dataset["file"][:]).items())
    )
    return facts


def _hop_s(dataset: Dataset) -> float | None:
    """Usual time from the start of one window to the next of its recording, seconds; None where no starts tell."""
    starts: dict[tuple[int, str], set[float]] = defaultdict(set)
    columns: Sequence[Sequence[Any]] = [dataset[name][:] for name in ("user", "recording", "start_s")]
    for user, recording, start_s in zip(*columns, strict=True):
        if recording is not None and start_s is not None:
            starts[user, recording].add(start_s)
    hops = [after - before for times in starts.values() for before, after in pairwise(sorted(times))]
    return round(median(hops), 3) if hops else None
