"""Names of the code files that travel. Those files import nothing of ours: each holds copies of these functions."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path, PurePath


def plain_stem(stem: str) -> str:
    """Name of a code file, without its suffix and without the hash that `travelling_stem` gives it."""
    return re.sub(r"_[0-9a-f]{8}\Z", "", stem)


def travelling_stem(code: Path) -> str:
    """Name under which a code file travels: its own and 8 hexadecimal digits of the sha256 of its content.

    diffusers keeps one module a name, for all repositories that a process loads: under one name the version that comes
    second would take the place of the first, in pipelines that are at work and in what they save.
    """
    return f"{plain_stem(code.stem)}_{hashlib.sha256(code.read_bytes()).hexdigest()[:8]}"


def versions_of(code: PurePath) -> list[str]:
    """Patterns of the names that the versions of a code file have or had: without a hash, and with any."""
    stem = plain_stem(code.stem)
    return [code.with_name(f"{name}.py").as_posix() for name in (stem, f"{stem}_{'[0-9a-f]' * 8}")]


def copy_code(code: Path, folder: Path) -> None:
    """Copy a code file to a folder under its travelling name, in place of the versions of it that lie there."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{travelling_stem(code)}.py"
    if not (copy.exists() and copy.samefile(code)):
        shutil.copyfile(code, copy)
    for pattern in versions_of(PurePath(code.name)):
        for version in folder.glob(pattern):
            if version != copy and not version.samefile(code):
                version.unlink()
