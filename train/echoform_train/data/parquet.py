"""A table of images as a folder in the Hub's format: parquet shards that hold the very bytes of the image files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from datasets import Dataset, DatasetInfo, Image, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

FOLDER = "data"
MAX_SHARD_BYTES = 400_000_000


def write_parquet(
    dataset: Dataset, parts: Mapping[str, Sequence[int]], folder: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> dict[str, Any]:
    """Write each part as FOLDER/data/<part>-00000-of-00002.parquet and so on.

    The same table gives the same bytes, so that pushing it again changes nothing.

    Args:
        dataset: Columns `file` and `image`, and any others.
        parts: Rows of each split of the Hub, in their order; one without rows is not written.
        folder: Where to write.
        max_shard_bytes: Images of one file, bytes; a larger one stands in a file of its own.

    Returns:
        `configs` and `dataset_info`, as the metadata of a data set's card hold them.
    """
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    stored = dataset.cast_column("image", Image(decode=False))
    info = DatasetInfo(features=dataset.features, splits=SplitDict(), download_size=0, dataset_size=0)
    assert info.splits is not None and info.download_size is not None and info.dataset_size is not None
    counts: dict[str, int] = {}
    for part, rows in parts.items():
        shards = list(_shards(stored, rows, max_shard_bytes))
        written = 0
        for number, shard in enumerate(shards):
            path = folder / FOLDER / f"{part}-{number:05d}-of-{len(shards):05d}.parquet"
            written += _embedded(stored, shard).cast_column("image", Image()).to_parquet(path)
            info.download_size += path.stat().st_size
        if shards:
            counts[part] = len(shards)
            info.splits.add(SplitInfo(name=part, num_bytes=written, num_examples=len(rows)))
            info.dataset_size += written
    # The count is in the pattern, so that a shard that an earlier push left behind is in no split.
    data_files = [
        {"split": part, "path": f"{FOLDER}/{part}-*-of-{count:05d}.parquet"} for part, count in counts.items()
    ]
    metadata = DatasetCardData()
    DatasetInfosDict({"default": info}).to_dataset_card_data(metadata)
    MetadataConfigs({"default": {"data_files": data_files}}).to_dataset_card_data(metadata)
    return metadata.to_dict()


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
    """The rows with the bytes of their files in them, which are named as in `file` and not as on this machine."""
    columns = stored[list(rows)]
    columns["image"] = [
        {
            "bytes": image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes(),
            "path": PurePosixPath(file).name,
        }
        for image, file in zip(columns["image"], columns["file"], strict=True)
    ]
    return Dataset.from_dict(columns, features=stored.features)
