"""`echoform encode`: embed depth images into a data set with a search index, and find the nearest to an image."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from tqdm.auto import tqdm

from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train.data.image_check import BadFile, BadFileError, refuse
from echoform_train.data.layout import natural_key
from echoform_train.depth.figures import Panel, save_panels
from echoform_train.depth.image_files import decode_depth, read_depth
from echoform_train.depth.sources import DepthFile, find_depth_source

INDEX = "index.faiss"
FACTS = "embeddings.json"
COLUMN = "embedding"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Embed a folder of depth images (`echoform encode DIR --pipeline P`), or find what is like an image
    (`echoform encode --query x.png --index DIR`)."""

    source: tyro.conf.Positional[str | None] = None
    """Folder of 16-bit PNG or TIFF, or the id of a data set on the Hub."""
    pipeline: str | None = None
    """Exported depth pipeline: a folder, or user/model on the Hub. Default of a query: that of the index."""
    output: Path = Path("embeddings")
    """Folder for the data set and its index; must be new or empty."""
    folders: Literal["classes", "recordings"] = "classes"
    """What the upper folders are."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""
    batch_size: int = 32
    """Images at once."""

    query: tuple[Path, ...] = ()
    """Images to look for."""
    index: Path | None = None
    """What an earlier `echoform encode` wrote."""
    neighbours: int = 8
    """Nearest images to show of each query."""
    picture: Path = Path("nearest.png")
    """Where the picture of queries and their nearest images goes."""


def main(config: Config) -> None:
    """Embed, or look for."""
    if (config.source is None) == (not config.query):
        raise ValueError(
            "either a folder to embed or --query must be given, "
            + ("neither is" if config.source is None else "both are")
        )
    if config.source is not None:
        if config.pipeline is None:
            raise ValueError(f"--pipeline says what embeds {config.source}, it is missing")
        dataset = encode(config)
        print(
            f"{len(dataset)} embeddings of {len(dataset[0][COLUMN])} numbers in {config.output}, its index in {INDEX}"
        )
        return
    for query, rows in zip(config.query, search(config), strict=True):
        print(f"{query}:")
        for row in rows:
            print(f"  {row['distance']:10.4f}  {row['label'] or '-':12}  {row['file']}")
    print(f"picture in {config.picture}")


def encode(config: Config) -> Dataset:
    """Embed the source and write the data set with its FAISS index to `config.output`.

    Columns: `file`; `image`, the file's own bytes; `label` (ClassLabel) and `recording` where the source has them;
    `embedding`, float32. The index holds Euclidean distances of the embeddings as they are, so that `datasets` alone
    can use it:

        dataset = load_from_disk(folder)
        dataset.load_faiss_index("embedding", f"{folder}/index.faiss")
        scores, rows = dataset.get_nearest_examples("embedding", pipeline.encode("x.png")[0].numpy(), k=8)

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If a file cannot be used, or the output folder holds something already.
    """
    assert config.source is not None and config.pipeline is not None
    if config.output.exists() and (not config.output.is_dir() or any(config.output.iterdir())):
        raise ValueError(f"--output must be a new or an empty folder, {config.output} holds something already")
    if config.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {config.batch_size}")
    found = find_depth_source(config.source, folders=config.folders)
    images, bad_files = found.images, found.bad_files
    pipeline = load_pipeline(config.pipeline)
    embeddings, kept = [], []
    for start in tqdm(range(0, len(images), config.batch_size), desc="embedding", unit="batch"):
        good: list[tuple[DepthFile, np.ndarray]] = []
        for image in images[start : start + config.batch_size]:
            try:
                good.append((image, decode_depth(image.read(), image.file)))
            except BadFileError as error:
                bad_files.append(error.bad)
        if not config.skip_bad_files:
            refuse(bad_files)
        if good:
            embeddings.append(pipeline.encode([units for _, units in good], batch_size=config.batch_size).numpy())
            kept += [image for image, _ in good]
    _tell_skipped(bad_files)
    if not kept:
        raise ValueError(f"a source must hold depth images, {config.source} holds none that can be used")
    dataset = _build(kept, np.concatenate(embeddings))
    dataset.save_to_disk(config.output)
    _import_faiss()
    dataset.add_faiss_index(COLUMN)
    dataset.save_faiss_index(COLUMN, config.output / INDEX)
    facts = {"pipeline": _absolute(config.pipeline), "source": config.source, "distance": "euclidean"}
    (config.output / FACTS).write_text(json.dumps(facts, indent=1))
    return dataset


def search(config: Config) -> list[list[dict[str, Any]]]:
    """The nearest images of each query, nearest first, as rows with `distance`, `file` and `label`; drawn as a picture.

    Raises:
        FileNotFoundError: If a query or the index does not exist.
        ValueError: If a query is no depth image, the index is of another embedding, or a number is out of range.
    """
    if config.index is None:
        raise ValueError("--index says where to look for the queries, it is missing")
    if not (config.index / INDEX).is_file():
        raise FileNotFoundError(f"{config.index} holds no {INDEX}; is it the output of `echoform encode`?")
    if config.neighbours < 1:
        raise ValueError(f"--neighbours must be at least 1, got {config.neighbours}")
    facts = json.loads((config.index / FACTS).read_text())
    dataset = Dataset.load_from_disk(str(config.index))
    pipeline = load_pipeline(config.pipeline or facts["pipeline"])
    queries = [read_depth(path) for path in config.query]
    embeddings = pipeline.encode(queries, batch_size=config.batch_size).numpy()
    if embeddings.shape[1] != len(dataset[0][COLUMN]):
        raise ValueError(
            f"queries must be embedded as the index was, to {len(dataset[0][COLUMN])} numbers, "
            f"{config.pipeline} gives {embeddings.shape[1]}"
        )
    _import_faiss()
    dataset.load_faiss_index(COLUMN, config.index / INDEX)
    squared, places = dataset.search_batch(COLUMN, embeddings, k=min(config.neighbours, len(dataset)))
    results, panels = [], []
    label = dataset.features.get("label")
    for query, units, distances, rows in zip(config.query, queries, squared, places, strict=True):
        found = []
        panels.append([Panel(units, query.name)])
        for distance, place in zip(distances, rows, strict=True):
            row = dataset[int(place)]
            name = label.int2str(row["label"]) if isinstance(label, ClassLabel) else None
            found.append({"distance": math.sqrt(max(0.0, float(distance))), "file": row["file"], "label": name})
            panels[-1].append(Panel(np.array(row["image"]), f"{found[-1]['distance']:.3g}  {name or row['file']}"))
        results.append(found)
    save_panels(panels, pipeline.config["depth_range_mm"], pipeline.config["units_per_mm"], config.picture)
    return results


def load_pipeline(source: str) -> DepthAutoencoderPipeline:
    """An exported depth pipeline, quiet."""
    pipeline = DepthAutoencoderPipeline.from_pretrained(source)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _build(images: Sequence[DepthFile], embeddings: np.ndarray) -> Dataset:
    columns: dict[str, Any] = {
        "file": [image.file for image in images],
        "image": [{"bytes": image.read(), "path": image.file} for image in images],
        COLUMN: list(embeddings),
    }
    features: dict[str, Any] = {
        "file": Value("string"),
        "image": Image(),
        COLUMN: List(Value("float32"), length=embeddings.shape[1]),
    }
    labels = [image.label for image in images if image.label is not None]
    if len(labels) == len(images):
        features["label"] = ClassLabel(names=sorted(set(labels), key=natural_key))
        columns["label"] = labels
    if any(image.recording is not None for image in images):
        features["recording"] = Value("string")
        columns["recording"] = [image.recording for image in images]
    return Dataset.from_dict(columns, features=Features(features))


def _import_faiss() -> None:
    """Import faiss before `datasets` does: its bindings have types that newer Pythons warn of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"builtin type (Swig\w+|swig\w+) has no __module__", DeprecationWarning)
        import faiss  # noqa: F401


def _absolute(source: str) -> str:
    return str(Path(source).resolve()) if Path(source).exists() else source


def _tell_skipped(bad_files: Sequence[BadFile]) -> None:
    for bad in bad_files:
        print(f"skipped {bad}")
