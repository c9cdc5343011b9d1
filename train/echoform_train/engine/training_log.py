"""OUTPUT_DIR/log.jsonl: one JSON line per entry of a training, with the images seen and the numbers measured then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from echoform_train.engine.atomic_files import sync, write_text
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import LOG
from echoform_train.engine.json_files import parse_json, read_json_lines


def append_to_log(output_dir: Path, seen: int, values: Mapping[str, float]) -> None:
    """Add a line with the images seen and some numbers."""
    with (output_dir / LOG).open("a") as file:
        file.write(json.dumps({"seen": seen, **values}) + "\n")


def read_log(output_dir: Path) -> list[dict[str, float]]:
    """Lines of the log of a training, in order of images seen."""
    return read_json_lines(output_dir / LOG)


def cut_log(output_dir: Path, seen: int) -> None:
    """Remove lines that a training wrote after its last checkpoint at `seen` images: a resume writes them again.

    A line that a stopped machine left half written is removed too.
    """
    path = output_dir / LOG
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        write_text(path, "".join(f"{line}\n" for line in lines if 0 <= _images(line) <= seen))


def sync_log(output_dir: Path) -> None:
    """Wait until the disk holds the log, if there is one."""
    if (output_dir / LOG).is_file():
        sync(output_dir / LOG)


def _images(line: str) -> int:
    """Images seen of a line; -1 if it is no whole line."""
    try:
        row = parse_json(line, LOG)
    except UserError:
        return -1
    seen = row.get("seen") if isinstance(row, dict) else None
    return seen if isinstance(seen, int) else -1
