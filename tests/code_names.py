"""The names under which code files of ours travel: their own and the start of their sha256."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from types import ModuleType


def travelling_stem(module: ModuleType) -> str:
    code = Path(str(module.__file__))
    return f"{code.stem}_{sha256(code.read_bytes()).hexdigest()[:8]}"


def travelling_name(module: ModuleType) -> str:
    return f"{travelling_stem(module)}.py"
