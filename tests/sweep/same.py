"""Whether two output folders hold the same, apart from what tells of time and place."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

VOLATILE = {"command", "seconds", "launch", "sha256", "wall_s", "cost", "provenance", "created", "train_seconds"}
VOLATILE |= {"commit", "sources", "cpu_seconds"}
"""Names in JSON whose values depend on how long a run took, how it was started, and on edits of the checkout."""
SKIPPED = {".md", ".html"}
"""Cards and pages show the duration; their numbers stand in JSON too."""


def differences(whole: Path, killed: Path) -> list[str]:
    """Files that are missing, superfluous or different, with a reason; temporary files are superfluous."""
    ours, theirs = files_of(whole), files_of(killed)
    found = [f"{name} is missing" for name in sorted(ours.keys() - theirs.keys())]
    found += [f"{name} is superfluous" for name in sorted(theirs.keys() - ours.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        if content(ours[name], whole) != content(theirs[name], killed):
            found.append(f"{name} differs")
    return found


def files_of(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def content(path: Path, root: Path) -> Any:
    """What is compared of a file."""
    if path.suffix in SKIPPED:
        return None
    if path.suffix == ".json":
        text = path.read_text(encoding="utf-8").replace(str(root), "OUT")
        return without_volatile(json.loads(text))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_volatile(each) for name, each in value.items() if name not in VOLATILE}
    return [without_volatile(each) for each in value] if isinstance(value, list) else value
