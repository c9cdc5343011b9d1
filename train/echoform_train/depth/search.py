"""Search by embedding: a data set of depth images with embeddings and a FAISS index, and search for nearest images."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from pyarrow import ArrowException
from tqdm.auto import tqdm

from echoform.depth_units import resized_units, units_in_range
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train.data.image_check import BadFile, BadFileError, refuse
from echoform_train.data.layout import natural_key
from echoform_train.data.loading import read_files
from echoform_train.depth.figures import Panel, save_panels
from echoform_train.depth.image_files import decode_depth, read_depth, without_invalid
from echoform_train.depth.rooms.config import ROOMS, RoomsConfig
from echoform_train.depth.rooms.rendering import render_rooms
from echoform_train.depth.sensors import FloatUnit, Reading
from echoform_train.depth.sources import DepthFile, DepthSource, find_depth_source
from echoform_train.depth.statistics import DepthStatistics
from echoform_train.depth.stored_files import IMAGE_SUFFIXES, encode_tiff_or_png
from echoform_train.engine.errors import MissingFileError, UserError, refused_by
from echoform_train.engine.extras import needs_extra
from echoform_train.engine.json_files import read_json_object, write_json

INDEX = "index.faiss"
INDEX_FACTS = "embeddings.json"
COLUMN = "embedding"

# What datasets, pyarrow and PIL raise on a folder that was changed or truncated.
_DATASET_ERRORS = (ArrowException, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


class IndexFacts(TypedDict):
    """Content of embeddings.json."""

    pipeline: str
    """Folder or Hub id of the pipeline that embedded the images."""
    model: str
    """Identity of that pipeline, see `model_identity`."""
    source: str
    distance: str
    """"euclidean"."""


@dataclass(frozen=True)
class Neighbour:
    """An image that is near to a query."""

    distance: float
    """Euclidean distance of the embeddings."""
    file: str
    label: str | None
    """Name of its class; None if the source has no classes."""
    units: np.ndarray
    """uint16 [H, W], sensor units."""


def embed_source(
    source: str,
    pipeline: DepthAutoencoderPipeline,
    *,
    folders: str = "classes",
    batch_size: int = 32,
    skip_bad_files: bool = False,
    files: FileFlags | None = None,
    rooms: RoomsConfig | None = None,
    seed: int = 0,
) -> tuple[Dataset, list[BadFile]]:
    """Embed all images of a source, decoding one batch of images at a time.

    Args:
        source: Folder or data set on the Hub, see `find_depth_source`; or "rooms" for synthetic rooms.
        pipeline: Embeds the images.
        folders: Whether the upper folders are "classes" or "recordings".
        batch_size: Images per forward pass.
        skip_bad_files: Skip files that cannot be used instead of stopping.
        files: Which numbers of the files to read; None: as the pipeline was trained.
        rooms: Settings of the synthetic rooms; None: the defaults, at the size of the pipeline.
        seed: Seed of the synthetic rooms.

    Returns:
        The data set and the skipped files. Columns of the data set: `file`; `image`, the unchanged bytes of a PNG or
        TIFF of whole units, else a 16-bit PNG of the units;
        `label` (ClassLabel) and `recording`, if the source has them; `embedding`, float32.

    Raises:
        FileNotFoundError: If there is no such source.
        MissingPackageError: If faiss is not installed, which `save_index` needs.
        ValueError: If no file can be used, or if one cannot and `skip_bad_files` is false.
    """
    _import_faiss()  # raises at once if the package is missing
    files = files or FileFlags()
    reader = UsableReader(pipeline, files)
    found = (
        DepthSource(_render_rooms(pipeline, reader.reading, rooms, seed), [])
        if source == ROOMS
        else find_depth_source(source, folders=folders, image_column=files.image_column)
    )
    embeddings: list[np.ndarray] = []
    used: list[DepthFile] = []
    images: list[bytes] = []
    bad_files = list(found.bad_files)
    for start in tqdm(range(0, len(found.images), batch_size), desc="embedding", unit="batch"):
        batch = found.images[start : start + batch_size]
        read, contents, bad_in_batch = read_files(batch, reader.read)
        bad_files += bad_in_batch
        if not skip_bad_files:
            refuse(bad_files)
        if read:
            embeddings.append(embed_units([units for units, _ in contents], pipeline, batch_size))
            images += [image for _, image in contents]
            used += read
    if not used:
        raise UserError(f"a source must hold depth images, {source} holds none that can be used")
    for line in reader.statistics.describe(reader.reading):
        print(line)
    return _build_dataset(used, images, np.concatenate(embeddings)), bad_files


def _render_rooms(
    pipeline: DepthAutoencoderPipeline, reading: Reading, rooms: RoomsConfig | None, seed: int
) -> list[DepthFile]:
    """Synthetic rooms for a pipeline, which must see millimetres."""
    if reading.units_per_mm != 1 or reading.encoding != "linear":
        raise UserError(
            f"rooms are made in millimetres, the pipeline was trained on {reading.units_per_mm:g} units per millimetre"
            + ("" if reading.encoding == "linear" else f", encoded as {reading.encoding}")
        )
    return render_rooms(rooms or RoomsConfig(resolution=pipeline.autoencoder.config["sample_size"]), seed)


@dataclass(frozen=True)
class FileFlags:
    """Flags of which numbers of a source are depth."""

    float_unit: FloatUnit | None = None
    """Unit of floating-point files; None: that of the pipeline."""
    mat_variable: str | None = None
    image_column: str | None = None


class UsableReader:
    """Reads depth files as units, and refuses those of which a pipeline would see nothing."""

    def __init__(self, pipeline: DepthAutoencoderPipeline, files: FileFlags) -> None:
        reading = Reading.of(pipeline.config)
        self.reading = replace(reading, float_unit=files.float_unit or reading.float_unit)
        self.statistics = DepthStatistics()
        self._facts = {**pipeline.config, **self.reading.facts()}
        self._mat_variable = files.mat_variable
        self._size = (pipeline.autoencoder.config["sample_size"],) * 2

    def read(self, file: DepthFile) -> tuple[np.ndarray, bytes]:
        """Units uint16 [H, W], and the content of a PNG or TIFF that holds them.

        Raises:
            BadFileError: If the file is no depth image, or has no reading that the pipeline would see.
        """
        path = file.data if isinstance(file.data, Path) else None
        content = file.read()
        units = decode_depth(content, file.file, self.reading, path=path, mat_variable=self._mat_variable)
        known = without_invalid(units, self.reading)
        self.statistics.add(known)
        self._check(known, file.file)
        plain = self.reading.encoding == "linear" and self.reading.float_unit is None
        kept = plain and (path is None or path.suffix.lower() in IMAGE_SUFFIXES)
        return known, content if kept else encode_tiff_or_png(known)

    def read_path(self, path: Path) -> np.ndarray:
        """Units uint16 [H, W] of a file; errors as `read`, and FileNotFoundError if there is none."""
        units = without_invalid(read_depth(path, self.reading, self._mat_variable), self.reading)
        self._check(units, str(path))
        return units

    def _check(self, units: np.ndarray, file: str) -> None:
        try:
            resized_units(units_in_range(units, self._facts), self._size, self._facts)
        except ValueError as error:
            raise BadFileError(BadFile(file, str(error))) from error
        if not units.any():
            raise BadFileError(BadFile(file, "a depth image must have a reading, every value means none"))


def embed_units(units: Sequence[np.ndarray], pipeline: DepthAutoencoderPipeline, batch_size: int) -> np.ndarray:
    """Embeddings of images in units, float32 [N, D], by a pipeline whose files may hold other numbers."""
    encoding = pipeline.config["encoding"]
    pipeline.register_to_config(encoding="linear")
    try:
        return pipeline.encode(list(units), batch_size=batch_size).numpy()
    finally:
        pipeline.register_to_config(encoding=encoding)


def save_index(dataset: Dataset, facts: IndexFacts, folder: Path) -> None:
    """Write a data set of `embed_source` with a FAISS index, so that `datasets` alone can search it.

        dataset = load_from_disk(folder)
        dataset.load_faiss_index("embedding", f"{folder}/index.faiss")
        scores, rows = dataset.get_nearest_examples("embedding", pipeline.encode("x.png")[0].numpy(), k=8)

    The index holds the embeddings without normalisation; its scores are squared Euclidean distances.
    """
    dataset.save_to_disk(folder)
    _import_faiss()
    dataset.add_faiss_index(COLUMN)
    dataset.save_faiss_index(COLUMN, folder / INDEX)
    write_json(folder / INDEX_FACTS, facts)


def load_index_facts(folder: Path) -> IndexFacts:
    """Read which pipeline and source an index was made from.

    Raises:
        FileNotFoundError: If the folder holds no index.
        ValueError: If its facts are incomplete.
    """
    if not (folder / INDEX).is_file():
        raise MissingFileError(f"{folder} holds no {INDEX}; is it the output of `echoform encode`?")
    facts = read_json_object(folder / INDEX_FACTS)
    if wrong := [name for name in IndexFacts.__annotations__ if not isinstance(facts.get(name), str)]:
        raise UserError(f"{folder / INDEX_FACTS} must hold {', '.join(wrong)} as text; embed the images again")
    return cast(IndexFacts, facts)


def find_nearest(
    queries: Sequence[np.ndarray], pipeline: DepthAutoencoderPipeline, folder: Path, *, count: int, batch_size: int = 32
) -> list[list[Neighbour]]:
    """Find the images of an index that are nearest to each query, nearest first.

    Args:
        queries: Depth images uint16 [H, W], sensor units.
        pipeline: The pipeline that embedded the images of the index.
        folder: Written by `save_index`.
        count: Neighbours per query.
        batch_size: Images per forward pass.

    Raises:
        ValueError: If the index is damaged, or holds embeddings of another length.
    """
    dataset = _load_dataset(folder)
    embeddings = embed_units(queries, pipeline, batch_size)
    if embeddings.shape[1] != len(dataset[0][COLUMN]):
        raise UserError(
            f"queries must have embeddings of {len(dataset[0][COLUMN])} numbers, as in the index {folder}, "
            f"the pipeline gives {embeddings.shape[1]}"
        )
    _check_index_file(folder / INDEX, len(dataset), embeddings.shape[1])
    # FAISS returns squared distances.
    _import_faiss()
    dataset.load_faiss_index(COLUMN, folder / INDEX)
    squared, rows = dataset.search_batch(COLUMN, embeddings, k=min(count, len(dataset)))
    return [
        [_neighbour(dataset, int(row), float(square)) for square, row in zip(*of_query, strict=True)]
        for of_query in zip(squared, rows, strict=True)
    ]


def _load_dataset(folder: Path) -> Dataset:
    """The data set of an index, with the columns that a search reads."""
    if irregular := [path for path in folder.iterdir() if not (path.is_file() or path.is_dir())]:
        raise UserError(f"an index must hold regular files alone, {irregular[0]} is none")
    with refused_by(f"{folder} must hold a data set with its embeddings", _DATASET_ERRORS):
        dataset = Dataset.load_from_disk(str(folder))
        features = dataset.features
    wanted = {"file": Value, "image": Image, COLUMN: List}
    if wrong := [name for name, kind in wanted.items() if not isinstance(features.get(name), kind)]:
        raise UserError(f"the data set in {folder} must have the columns {', '.join(wanted)}, {wrong[0]} is wrong")
    if not len(dataset):
        raise UserError(f"the data set in {folder} must have images, it has none")
    return dataset


def _check_index_file(path: Path, rows: int, length: int) -> None:
    """Hold a flat FAISS index against its size: faiss allocates what the file promises."""
    header = struct.Struct("<4siqqq?i")
    with path.open("rb") as file:
        start = file.read(header.size + 8)
    expected = header.size + 8 + 4 * rows * length
    if len(start) < header.size + 8 or path.stat().st_size != expected:
        raise UserError(f"{path} must have {expected} bytes for its {rows} images, it has {path.stat().st_size}")
    kind, dimensions, total = header.unpack(start[: header.size])[:3]
    (numbers,) = struct.unpack("<Q", start[header.size :])
    if kind not in (b"IxF2", b"IxFl") or (dimensions, total) != (length, rows) or numbers != rows * length:
        raise UserError(f"{path} must be a flat index of {rows} embeddings of {length} numbers, it is another one")


def save_neighbours(
    names: Sequence[str],
    queries: Sequence[np.ndarray],
    neighbours: Sequence[Sequence[Neighbour]],
    pipeline: DepthAutoencoderPipeline,
    path: Path,
) -> None:
    """Draw each query, with its name as title, and its nearest images in one row of a PNG file."""
    rows = [
        [
            Panel(units, f"query\n{name}"),
            *(Panel(found.units, f"distance {found.distance:.3g}\n{found.label or found.file}") for found in of_query),
        ]
        for name, units, of_query in zip(names, queries, neighbours, strict=True)
    ]
    save_panels(rows, pipeline.config["depth_range_mm"], pipeline.config["units_per_mm"], path)


def _build_dataset(files: Sequence[DepthFile], images: Sequence[bytes], embeddings: np.ndarray) -> Dataset:
    columns: dict[str, Any] = {
        "file": [file.file for file in files],
        "image": [{"bytes": image, "path": file.file} for file, image in zip(files, images, strict=True)],
        COLUMN: list(embeddings),
    }
    features: dict[str, Any] = {
        "file": Value("string"),
        "image": Image(),
        COLUMN: List(Value("float32"), length=embeddings.shape[1]),
    }
    labels = [file.label for file in files if file.label is not None]
    if len(labels) == len(files):
        features["label"] = ClassLabel(names=sorted(set(labels), key=natural_key))
        columns["label"] = labels
    if any(file.recording is not None for file in files):
        features["recording"] = Value("string")
        columns["recording"] = [file.recording for file in files]
    return Dataset.from_dict(columns, features=Features(features))


def _neighbour(dataset: Dataset, row: int, squared_distance: float) -> Neighbour:
    with refused_by(f"image {row} of the index must be a PNG or TIFF file", _DATASET_ERRORS):
        image = dataset[row]
    label = dataset.features.get("label")
    return Neighbour(
        distance=math.sqrt(max(0.0, squared_distance)),  # rounding can make it negative
        file=image["file"],
        label=label.names[image["label"]] if isinstance(label, ClassLabel) else None,
        units=np.array(image["image"]),
    )


def _import_faiss() -> None:
    """Import faiss before `datasets` does, without the warnings that its bindings cause in newer Pythons."""
    with warnings.catch_warnings(), needs_extra("depth", "a search index"):
        warnings.filterwarnings("ignore", r"builtin type (Swig\w+|swig\w+) has no __module__", DeprecationWarning)
        import faiss  # noqa: F401
