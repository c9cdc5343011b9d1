"""Publishing a folder of 16-bit depth images as a data set on the Hub, with every value exactly as stored."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, Image, Value

from echoform.hub import CARD, push_folder
from echoform_cards.dataset_card import render_dataset_card
from echoform_train.data.parquet import MAX_SHARD_BYTES
from echoform_train.data.publish import split_facts, write_dataset
from echoform_train.depth.dataset import DepthData
from echoform_train.depth.sources import DepthFile, find_depth_source
from echoform_train.depth.stored_files import IMAGE_SUFFIXES, encode_tiff_or_png, stored_numbers
from echoform_train.engine.atomic_files import write_text
from echoform_train.engine.sources import DatasetInMemory


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
    """Push depth images to the Hub in one commit: parquet files, split.json and a data-set card.

    The Hub stores the unchanged bytes of each PNG or TIFF, and the numbers of other files as such, with its `file`,
    `label`, `recording` and `frame`. Pushing the same content again makes no commit.

    Args:
        data: Images that `load_depth` loaded from a folder, with the split to publish.
        repo_id: `user/name` on the Hub; created if it does not exist.
        folders: As for `load_depth`.
        name: Title of the card; None: the name of the folder.
        license: Licence identifier of the Hub; None: the card states that no licence is given.
        private: Visibility of a new repository; None: the default of the account.
        revision: Branch to push to; None: main.
        token: Access token; None: the token of `hf auth login`.
        commit_message: Title of the commit.
        max_shard_bytes: Size of the images in one parquet file, bytes.

    Returns:
        URL of the commit, or of the revision that already has the same content.

    Raises:
        FileNotFoundError: If the folder that `data` came from does not exist (synthetic rooms have none).
        PushError: If the Hub refuses the push.
    """
    in_memory = isinstance(data.source, DatasetInMemory)
    title = name or (repo_id.rpartition("/")[2] if in_memory else Path(data.source).resolve().name)
    with tempfile.TemporaryDirectory(prefix="echoform-") as scratch:
        folder = Path(scratch)
        write_folder(
            data, folder, folders=folders, title=title, repo=repo_id, license=license, max_shard_bytes=max_shard_bytes
        )
        return push_folder(
            folder,
            repo_id,
            private=private,
            revision=revision,
            token=token,
            commit_message=commit_message or f"Upload {title} with echoform",
            repo_type="dataset",
            what_continues=f"{data.source} is unchanged, and the same command tries again",
        )


def write_folder(
    data: DepthData,
    folder: Path,
    *,
    folders: str,
    title: str,
    repo: str | None,
    license: str | None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write what `publish_depth` pushes to an empty folder: parquet files, split.json and the data-set card."""
    # The original files are published, because the loaded images are resized.
    images = find_depth_source(data.source, folders=folders, image_column=data.image_column).images
    dataset = _table(images, list(data.id2label.values()), data.mat_variable)
    metadata, table = write_dataset(dataset, data.split, folder, label_column="label", max_shard_bytes=max_shard_bytes)
    low, high = data.depth_range
    card = render_dataset_card(
        {
            "name": title,
            "kind": "depth",
            "repo": repo,
            "license": license,
            "image": {"depth_min_units": low, "depth_max_units": high, "units_per_mm": data.units_per_mm},
            "split": split_facts(data.split),
            **metadata,
            **table,
        }
    )
    write_text(folder / CARD, card)


def _as_image(image: DepthFile, path: Path, mat_variable: str | None) -> bytes:
    """The stored numbers of an array file as PNG or TIFF, which every reader of a data set knows."""
    return encode_tiff_or_png(stored_numbers(image.read(), image.file, path=path, mat_variable=mat_variable))


def _table(images: list[DepthFile], classes: list[str], mat_variable: str | None) -> Dataset:
    columns: dict[str, list[Any]] = {
        "file": [image.file for image in images],
        "image": [
            {"bytes": image.data, "path": None}
            if isinstance(image.data, bytes)
            else {"bytes": None, "path": str(image.data)}
            if image.data.suffix.lower() in IMAGE_SUFFIXES
            else {"bytes": _as_image(image, image.data, mat_variable), "path": None}
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
