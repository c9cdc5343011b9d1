"""sha256 hashes of files, folders and JSON values, by which a changed input is noticed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def file_hash(path: Path) -> str:
    """sha256 of the bytes of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def json_hash(value: Any) -> str:
    """sha256 of a JSON-able value, in hexadecimal; the order of names does not matter.

    Raises:
        ValueError: If it holds a number that is not finite.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def folder_hash(folder: Path) -> str:
    """sha256, in hexadecimal, of the names and bytes of the files in a folder, without hidden files and Markdown."""
    files = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and path.suffix != ".md" and not any(part.startswith(".") for part in name.parts):
            files[name.as_posix()] = file_hash(path)
    return json_hash(files)
