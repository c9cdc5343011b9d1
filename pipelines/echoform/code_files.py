"""Names and copies of the code files that are saved beside models.

A saved code file has a hash of its content in its name, because diffusers keeps one module per name in a process: a
second version under the same name would replace the first, even in pipelines that are in use.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePath


def plain_stem(stem: str) -> str:
    """Name of a code file, without its suffix and without the hash that `copy_code` adds."""
    return re.sub(r"_[0-9a-f]{8}\Z", "", stem)


def copy_code(code: Path, folder: Path) -> str:
    """Copy a code file to a folder in place of its other versions; returns its new name, which ends in a hash."""
    folder.mkdir(parents=True, exist_ok=True)
    content, plain = code.read_bytes(), re.sub(r"_[0-9a-f]{8}\Z", "", code.stem)
    for other in folder.glob(f"{plain}*.py"):
        if re.fullmatch(f"{plain}(_[0-9a-f]{{8}})?", other.stem) and not other.samefile(code):
            other.unlink()
    name = f"{plain}_{hashlib.sha256(content).hexdigest()[:8]}"
    (folder / f"{name}.py").write_bytes(content)
    return name


def versions_of(code: PurePath) -> list[str]:
    """Glob patterns for the names that versions of a code file have or had: without a hash, and with any hash."""
    plain = plain_stem(code.stem)
    return [code.with_name(name).as_posix() for name in (f"{plain}.py", f"{plain}_{'[0-9a-f]' * 8}.py")]
