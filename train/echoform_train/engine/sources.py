"""Sources of data and models, as --data and --pipeline name them: folders, Hub repositories, data sets in memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.names import LONGEST_PATH

SOURCES = (
    "data", "source", "pipeline", "first_stage", "initial_pipeline", "initial_model", "folder", "generated_dir",
    "simulated", "index", "doppler", "depth", "classifier", "repo", "model", "image", "query",
)  # fmt: skip
"""Settings of commands that name what is read: a folder, or as text also a repository on the Hub."""
FILES = ("image", "query")
"""Those that may be, or are, files."""
MADE = ("rooms", "none", "vq-vae")
"""Words that are neither: data that are made, and kinds of first stages."""
_HUB_ID = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")


class HubId(NamedTuple):
    """A repository on the Hub."""

    repo: str
    """user/name."""
    revision: str | None
    """Branch, tag or commit; None is main."""


class DatasetInMemory(str):
    """The name of a data set that was given in Python, with the data set itself: `datasets.Dataset` or `DatasetDict`.

    Settings hold it where they otherwise hold the text that names a folder. What `str` makes of it, and what copies,
    records and other processes get, is the name alone, which is no source.
    """

    __slots__ = ("dataset",)
    dataset: Any

    def __new__(cls, dataset: Any) -> DatasetInMemory:
        """Name a data set by its fingerprint, which `datasets` computes from its rows and what was done to them."""
        parts = dataset.values() if isinstance(dataset, dict) else [dataset]
        named = super().__new__(cls, f"in memory (fingerprint {'-'.join(part._fingerprint for part in parts)})")
        named.dataset = dataset
        return named

    def __reduce__(self) -> tuple[Callable[..., str], tuple[str]]:
        return str, (str(self),)


def as_source(value: Any) -> Any:
    """A value for a setting that names data: a data set of the package `datasets` becomes its name, others stay.

    Raises:
        UserError: If it is a data set that can only be read once, from its beginning.
    """
    datasets = sys.modules.get("datasets")  # whoever has a data set has imported it
    if datasets is not None and isinstance(value, datasets.Dataset | datasets.DatasetDict):
        return DatasetInMemory(value)
    if datasets is not None and isinstance(value, datasets.IterableDataset | datasets.IterableDatasetDict):
        raise UserError(
            f"data must be a data set whose rows are at hand, got a stream ({type(value).__name__}); load it without "
            "streaming=True, or collect its rows in a datasets.Dataset"
        )
    return value


def resolve_source(source: str | Path) -> Path | HubId:
    """Find out whether a source is a local folder or a repository on the Hub; nothing is downloaded.

    Args:
        source: Folder, `user/name` or `user/name@revision`. A folder that exists is preferred to a Hub id.

    Raises:
        FileNotFoundError: If there is no such folder and the source does not read like a Hub id.
        ValueError: If the source is a file, a data set in memory, or has more than 1000 characters.
    """
    if isinstance(source, DatasetInMemory):
        raise UserError(f"a folder or a repository on the Hub must be given here, not a data set {source}")
    if len(str(source)) > LONGEST_PATH:
        raise UserError(f"a source must have at most {LONGEST_PATH} characters, it has {len(str(source))}")
    path = Path(source)
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"a source must be a folder or a repository on the Hub, {source} is a file")
    if not is_hub_id(str(source)):
        raise MissingFileError(f"there is no folder {source}")
    return parse_hub_id(str(source))


def is_hub_id(source: str) -> bool:
    """Whether a source reads like `user/name` or `user/name@revision`."""
    return _HUB_ID.fullmatch(source) is not None


def parse_hub_id(source: str) -> HubId:
    """Repository and revision of `user/name` or `user/name@revision`.

    Raises:
        ValueError: If the source does not read like a Hub id.
    """
    match = _HUB_ID.fullmatch(source)
    if match is None:
        raise UserError(f"an id of the Hub must read user/name or user/name@revision, got {source}")
    return HubId(match["repo"], match["revision"])


def check_sources(config: Any) -> None:
    """Look for the sources that settings name, also those in groups, before anything slow begins.

    Raises:
        FileNotFoundError: If one is neither there nor reads like a repository on the Hub.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            check_sources(value)
        elif field.name in SOURCES:
            for source in value if isinstance(value, tuple) else (value,):
                _check_is_there(source, "file" if field.name in FILES else "folder")


def _check_is_there(source: Any, kind: str) -> None:
    if isinstance(source, DatasetInMemory):
        return
    if not isinstance(source, str | Path) or len(str(source)) > LONGEST_PATH or Path(source).exists():
        return
    if isinstance(source, Path) or not (source in MADE or is_hub_id(source)):
        raise MissingFileError(f"there is no {kind} {source}")
