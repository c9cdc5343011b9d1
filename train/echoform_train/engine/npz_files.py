"""Arrays of numbers in `.npz` files, whose shapes are read before their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

_MOST_MEMBERS = 10_000


def find_arrays(path: Path) -> tuple[dict[str, tuple[tuple[int, ...], np.dtype[Any]]], dict[str, str]]:
    """Shape and dtype of each array of an archive by name, and the kind of every other member.

    Raises:
        ValueError, OSError, zipfile.BadZipFile ...: If the archive or the head of a member is broken.
    """
    arrays, others = {}, {}
    with ZipFile(path) as archive:
        if len(archive.infolist()) > _MOST_MEMBERS:
            raise ValueError(f"an archive must have at most {_MOST_MEMBERS} members")
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name == entry.filename:
                others[name] = "no array"
                continue
            with archive.open(entry) as member:
                version = npy_format.read_magic(member)
                read_head = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
                shape, _, dtype = read_head(member)
            if dtype.hasobject:
                others[name] = "objects"
            else:
                arrays[name] = (tuple(shape), dtype)
    return arrays, others


def read_array(path: Path, name: str) -> NDArray[Any]:
    """Read one array of an archive."""
    with np.load(path, allow_pickle=False) as held:
        return np.asarray(held[name])
