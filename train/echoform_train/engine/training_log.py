"""OUTPUT_DIR/log.jsonl: one JSON line per entry of a training, with the images seen and the numbers measured then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from echoform_train.engine.atomic_files import write_text
from echoform_train.engine.files import LOG
from echoform_train.engine.json_files import read_json_lines


def append_to_log(output_dir: Path, seen: int, values: Mapping[str, float]) -> None:
    """Add a line with the images seen and some numbers."""
    with (output_dir / LOG).open("a") as file:
        file.write(json.dumps({"seen": seen, **values}) + "\n")


def read_log(output_dir: Path) -> list[dict[str, float]]:
    """Lines of the log of a training, in order of images seen."""
    return read_json_lines(output_dir / LOG)


def cut_log(output_dir: Path, seen: int) -> None:
    """Remove lines that a training wrote after its last checkpoint at `seen` images: a resume writes them again."""
    path = output_dir / LOG
    if path.is_file():
        lines = [line for line in path.read_text().splitlines() if json.loads(line)["seen"] <= seen]
        write_text(path, "".join(f"{line}\n" for line in lines))
