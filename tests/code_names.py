"""What code files of ours travel as: their content, and a name of their own and the start of its sha256."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from types import ModuleType

from echoform.code_files import content_in_one


def travelling_content(module: ModuleType) -> bytes:
    return content_in_one(Path(str(module.__file__)))


def travelling_stem(module: ModuleType) -> str:
    return f"{Path(str(module.__file__)).stem}_{sha256(travelling_content(module)).hexdigest()[:8]}"


def travelling_name(module: ModuleType) -> str:
    return f"{travelling_stem(module)}.py"
