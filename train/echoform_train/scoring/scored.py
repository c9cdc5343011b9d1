"""What was scored: hashes of model, data and generated images that are written into scores.json beside the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from echoform_train.data.split import Split
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import SETTINGS
from echoform_train.engine.hashes import json_hash, sha256_of
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.output_folders import differences

SEED = "--seed"
"""The setting in which folders of generated images may differ that are scored together."""


class ScoredData(Protocol):
    """Data with their split."""

    @property
    def source(self) -> str:
        """Folder or Hub id."""
        ...

    @property
    def split(self) -> Split:
        """The split."""
        ...

    @property
    def images_sha256(self) -> str:
        """Hash of the images."""
        ...


def data_record(data: ScoredData) -> dict[str, str]:
    """Source and hashes of the real images that scores were measured on."""
    return {"source": data.source, "split_sha256": data.split.sha256, "images_sha256": data.images_sha256}


def generated_record(folders: Sequence[Path], images: Sequence[Path]) -> dict[str, Any]:
    """Settings and a hash of generated images that are scored together.

    Args:
        folders: Folders that `echoform generate` wrote.
        images: All images in them.

    Raises:
        UserError: If a folder is given twice, or the folders differ in more than the seed: their scores would be those
            of no pipeline.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError(f"--generated-dir must name each folder once, got {', '.join(map(str, folders))}")
    settings = [_settings(folder) for folder in folders]
    for folder, other in zip(folders[1:], settings[1:], strict=True):
        if changed := differences(settings[0], other):
            raise UserError(f"--generated-dir must be folders of equal settings, {folder} has others: {changed}")
    return {"settings": settings[0], "images_sha256": json_hash([sha256_of(path) for path in images])}


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    found = read_json_object(path) if path.exists() else {}
    return {name: value for name, value in found.items() if name != SEED}
