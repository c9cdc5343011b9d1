"""A folder of 16-bit depth images as a data set of the Hub, every value as the sensor wrote it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, Image, Value

from echoform.hub import push_folder
from echoform_cards.dataset_card import render_dataset_card
from echoform_train.data.parquet import MAX_SHARD_BYTES, write_parquet
from echoform_train.data.publish import table_facts
from echoform_train.depth.dataset import DepthData
from echoform_train.depth.sources import DepthFile, find_depth_images
from echoform_train.engine.files import SPLIT


def publish_depth(
    data: DepthData,
    repo_id: str,
    *,
    folders: str = "classes",
    name: str | None = None,
    license: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> str:
    """Push depth images to the Hub in one commit: parquet, split.json and a card.

    Every image travels as the bytes of its file, beside `file`, `label`, `recording` and `frame`. The same content
    again makes no commit.

    Args:
        data: What `load_depth` made of a folder; its split is published.
        repo_id: `user/name` on the Hub; made where there is none.
        folders: As `load_depth` was told.
        name: Title of the card; None takes that of the folder.
        license: Licence identifier of the Hub; None leaves it open, and the card says so.
        private: Who may see a new repository; None takes the account's default.
        revision: Branch to push to; None is main.
        token: Access token; None takes that of `hf auth login`.
        commit_message: Title of the commit.
        max_shard_bytes: Images in one parquet file, bytes.

    Returns:
        URL of the commit, or of the revision that already holds all this.

    Raises:
        FileNotFoundError: If the images are not where `data` came from (synthetic rooms are nowhere).
        PushError: If the Hub does not take it.
    """
    images, _ = find_depth_images(data.source, folders=folders)
    title = name or Path(data.source).resolve().name
    with tempfile.TemporaryDirectory(prefix="echoform-") as scratch:
        folder = Path(scratch)
        write_depth(images, data, folder, {"name": title, "repo": repo_id, "license": license}, max_shard_bytes)
        return push_folder(
            folder,
            repo_id,
            private=private,
            revision=revision,
            token=token,
            commit_message=commit_message or f"Upload {title} with echoform",
            repo_type="dataset",
            what_continues=f"{data.source} is as it was, and the same command tries again",
        )


def write_depth(
    images: list[DepthFile],
    data: DepthData,
    folder: Path,
    facts: dict[str, Any],
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write to `folder` what `publish_depth` pushes; `facts` are those of the card that the images do not tell."""
    dataset = _table(images, list(data.id2label.values()))
    rows = data.split.indices(dataset["file"][:])
    metadata = write_parquet(dataset, rows, folder, max_shard_bytes=max_shard_bytes)
    data.split.save(folder / SPLIT)
    low, high = data.depth_range
    card = {
        "kind": "depth",
        **metadata,
        **facts,
        **table_facts(dataset, rows, "label"),
        "image": {"depth_min_units": low, "depth_max_units": high, "units_per_mm": data.units_per_mm},
        "split": {"how": data.split.method, "gap_windows": data.split.gap_windows, "seed": data.split.seed},
    }
    (folder / "README.md").write_text(render_dataset_card(card), encoding="utf-8")


def _table(images: list[DepthFile], classes: list[str]) -> Dataset:
    columns: dict[str, list[Any]] = {
        "file": [image.file for image in images],
        "image": [
            {"bytes": image.data, "path": None}
            if isinstance(image.data, bytes)
            else {"bytes": None, "path": str(image.data)}
            for image in images
        ],
        "recording": [image.recording for image in images],
        "frame": [image.frame for image in images],
    }
    features: dict[str, Any] = {
        "file": Value("string"),
        "image": Image(),
        "recording": Value("string"),
        "frame": Value("float64"),
    }
    if classes:
        columns["label"] = [image.label for image in images]
        features["label"] = ClassLabel(names=classes)
    return Dataset.from_dict(columns, features=Features(features))
