"""sha256 hashes of files and JSON values, by which a changed input is noticed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def sha256_of(path: Path) -> str:
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
