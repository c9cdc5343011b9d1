"""`echoform encode`: embed depth images into a data set with a search index, or find the images nearest to others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from echoform_train.depth.sensors import FloatUnit
from echoform_train.engine.errors import UserError
from echoform_train.engine.output_folders import new_folder, require_empty

if TYPE_CHECKING:
    from datasets import Dataset

    from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
    from echoform_train.depth.search import FileFlags, IndexFacts, Neighbour


@dataclass(frozen=True, kw_only=True)
class Config:
    """Embed a folder of depth images (`echoform encode DIR --pipeline P`), or find the images most similar to others
    (`echoform encode --query x.png --index DIR`)."""

    source: tyro.conf.Positional[str | None] = None
    """Folder of depth images to embed, the id of a data set on the Hub, or "rooms" for synthetic rooms."""
    pipeline: str | None = None
    """Exported depth pipeline: a folder, or user/model on the Hub. Default for a query: the pipeline of the index."""
    output_dir: Path = Path("embeddings")
    """Folder for the data set and its index; must be new or empty."""
    folders: Literal["classes", "recordings"] = "classes"
    """Whether the upper folders are classes or recordings."""
    float_unit: FloatUnit | None = None
    """Unit of floating-point files. Default: that of the pipeline's training; without any they are refused."""
    mat_variable: str | None = None
    """Variable of .mat files that holds the depth image. Default: the only array."""
    image_column: str | None = None
    """Column of a data set that holds the depth images. Default: its only image column."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""
    batch_size: int = 32
    """Images per forward pass."""
    rooms: int | None = None
    """Number of synthetic rooms to embed, with the data "rooms"."""
    cameras_per_room: int | None = None
    """Camera paths through each synthetic room."""
    images_per_camera: int | None = None
    """Images along each camera path."""
    seed: int = 0
    """Seed of the synthetic rooms; those of a training have its seed."""

    query: tuple[Path, ...] = ()
    """Images to search for: the most similar images of the index are found."""
    index: Path | None = None
    """Output folder of an earlier `echoform encode DIR`, to search in."""
    neighbours: int = 8
    """Number of nearest images to show for each query."""
    picture: Path = Path("nearest.png")
    """PNG file to write, which shows the queries and their nearest images."""


def main(config: Config) -> Dataset | list[list[Neighbour]]:
    """Embed a source and return its data set, or search an index and return the nearest images of each query.

    Raises:
        FileNotFoundError: If the source, a query, the index or the pipeline does not exist.
        ValueError: If flags are missing or out of range, or a file cannot be used.
    """
    if (config.source is None) == (not config.query):
        raise UserError(
            "either a folder to embed or --query must be given, "
            + ("neither is" if config.source is None else "both are")
        )
    if config.batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, got {config.batch_size}")
    return search(config) if config.source is None else encode(config.source, config)


def encode(source: str, config: Config) -> Dataset:
    """Embed a source, and write the data set with its index to `config.output_dir`."""
    from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
    from echoform_train.depth.config import rooms_of
    from echoform_train.depth.search import COLUMN, INDEX, embed_source, save_index
    from echoform_train.publishing.exported import find_pipeline
    from echoform_train.publishing.identity import model_identity

    if config.pipeline is None:
        raise UserError(f"--pipeline is required to embed {source}")
    require_empty(config.output_dir, "--output-dir")
    rooms_of(config, source, 1)  # refuses flags of rooms with other data before a model is loaded
    folder = find_pipeline(config.pipeline, DepthAutoencoderPipeline)
    pipeline = _load_pipeline(folder)
    dataset, bad_files = embed_source(
        source,
        pipeline,
        folders=config.folders,
        batch_size=config.batch_size,
        skip_bad_files=config.skip_bad_files,
        files=_file_flags(config),
        rooms=rooms_of(config, source, pipeline.autoencoder.config["sample_size"]),
        seed=config.seed,
    )
    for bad in bad_files:
        print(f"skipped {bad}")
    place = str(Path(config.pipeline).resolve()) if Path(config.pipeline).exists() else config.pipeline
    facts: IndexFacts = {
        "pipeline": place,
        "model": model_identity(folder),
        "source": source,
        "distance": "euclidean",
    }
    with new_folder(config.output_dir, "--output-dir") as partial:
        save_index(dataset, facts, partial)
    print(
        f"{len(dataset)} embeddings of {len(dataset[0][COLUMN])} numbers in {config.output_dir}, their index in {INDEX}"
    )
    return dataset


def search(config: Config) -> list[list[Neighbour]]:
    """Find, print and draw the nearest images of each query, nearest first."""
    from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
    from echoform_train.depth.search import UsableReader, find_nearest, load_index_facts, save_neighbours
    from echoform_train.publishing.exported import find_pipeline
    from echoform_train.publishing.identity import model_identity

    if config.index is None:
        raise UserError("--query needs --index, the folder to search")
    if config.neighbours < 1:
        raise UserError(f"--neighbours must be at least 1, got {config.neighbours}")
    facts = load_index_facts(config.index)
    source = config.pipeline or facts["pipeline"]
    folder = find_pipeline(source, DepthAutoencoderPipeline)
    # Embeddings of two models have nothing in common, even if they are of equal length.
    if model_identity(folder) != facts["model"]:
        raise UserError(
            f"--query needs the pipeline that made the index {config.index}, {source} now holds another model; embed "
            "the images again, or name the right one with --pipeline"
        )
    pipeline = _load_pipeline(folder)
    reader = UsableReader(pipeline, _file_flags(config))
    queries = [reader.read_path(path) for path in config.query]
    results = find_nearest(queries, pipeline, config.index, count=config.neighbours, batch_size=config.batch_size)
    for path, neighbours in zip(config.query, results, strict=True):
        print(f"{path}:")
        for found in neighbours:
            print(f"  {found.distance:10.4f}  {found.label or '-':12}  {found.file}")
    save_neighbours([path.name for path in config.query], queries, results, pipeline, config.picture)
    print(f"nearest images drawn in {config.picture}")
    return results


def _file_flags(config: Config) -> FileFlags:
    from echoform_train.depth.search import FileFlags

    return FileFlags(config.float_unit, config.mat_variable, config.image_column)


def _load_pipeline(source: Path) -> DepthAutoencoderPipeline:
    from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
    from echoform_train.publishing.exported import load_pipeline

    pipeline = load_pipeline(source, DepthAutoencoderPipeline)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
