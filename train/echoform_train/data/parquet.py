"""Write a data set of images in the Hub's format: parquet files that hold the bytes of the image files unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from datasets import Dataset, DatasetInfo, Image, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from echoform_cards.dataset_card import HubMetadata

FOLDER = "data"
MAX_SHARD_BYTES = 400_000_000


def write_parquet(
    dataset: Dataset,
    rows_of_split: Mapping[str, Sequence[int]],
    folder: Path,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> HubMetadata:
    """Write each split as FOLDER/data/<split>-00000-of-00002.parquet and so on.

    The same table gives the same bytes, so that pushing it again changes nothing.

    Args:
        dataset: Columns `file` and `image`, and any others.
        rows_of_split: Indices of the rows of each split of the Hub, in order; a split without rows is not written.
        folder: Where to write.
        max_shard_bytes: Largest total size of the images in one file, bytes; a larger image gets its own file.

    Returns:
        Entries about the files for the metadata of the data set's card.
    """
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    stored = dataset.cast_column("image", Image(decode=False))
    info = DatasetInfo(features=dataset.features, splits=SplitDict(), download_size=0, dataset_size=0)
    assert info.splits is not None and info.download_size is not None and info.dataset_size is not None
    # One file after the other, so that only the images of one file are in memory.
    counts: dict[str, int] = {}
    for split, rows in rows_of_split.items():
        shards = list(_shards(stored, rows, max_shard_bytes))
        written = 0
        for number, shard in enumerate(shards):
            path = folder / FOLDER / f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
            written += _embedded(stored, shard).cast_column("image", Image()).to_parquet(path)
            info.download_size += path.stat().st_size
        if shards:
            counts[split] = len(shards)
            info.splits.add(SplitInfo(name=split, num_bytes=written, num_examples=len(rows)))
            info.dataset_size += written
    # The pattern contains the number of shards, so that shards that an earlier push left behind belong to no split.
    data_files = [
        {"split": split, "path": f"{FOLDER}/{split}-*-of-{count:05d}.parquet"} for split, count in counts.items()
    ]
    metadata = DatasetCardData()
    DatasetInfosDict({"default": info}).to_dataset_card_data(metadata)
    MetadataConfigs({"default": {"data_files": data_files}}).to_dataset_card_data(metadata)
    facts = metadata.to_dict()
    return {"configs": facts["configs"], "dataset_info": facts["dataset_info"]}


def _shards(stored: Dataset, rows: Sequence[int], max_shard_bytes: int) -> Iterator[list[int]]:
    images = stored.select_columns("image")
    shard: list[int] = []
    filled = 0
    for row in rows:
        image = images[row]["image"]
        size = len(image["bytes"]) if image["bytes"] is not None else Path(image["path"]).stat().st_size
        if shard and filled + size > max_shard_bytes:
            yield shard
            shard, filled = [], 0
        shard.append(row)
        filled += size
    if shard:
        yield shard


def _embedded(stored: Dataset, rows: Sequence[int]) -> Dataset:
    """The rows with the bytes of their image files, which are named as in `file` and not by a path on this machine."""
    columns = stored[list(rows)]
    columns["image"] = [
        {
            "bytes": image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes(),
            "path": PurePosixPath(file).name,
        }
        for image, file in zip(columns["image"], columns["file"], strict=True)
    ]
    return Dataset.from_dict(columns, features=stored.features)
