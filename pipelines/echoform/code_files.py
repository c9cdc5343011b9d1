"""Names and contents of the code files that are saved beside models.

A saved code file has a hash of its content in its name, because diffusers keeps one module per name in a process: a
second version under the same name would replace the first, even in pipelines that are in use.

diffusers downloads one code file per model, and where echoform is not installed that file cannot import another one of
ours. The files here may: a comment above such an import says that the saved file holds the text of the imported one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePath

_MARK = "# Where this file is saved, it holds the text of the file named here instead of the import (code_files.py).\n"
_IMPORT = re.compile(re.escape(_MARK) + r"from echoform\.(\w+) import (?:\([^)]*\)|.*)\n")
_START = "from __future__ import annotations\n"


def plain_stem(stem: str) -> str:
    """Name of a code file, without its suffix and without the hash that `copy_code` adds."""
    return re.sub(r"_[0-9a-f]{8}\Z", "", stem)


def content_in_one(code: Path) -> bytes:
    """Content of a code file with the text of other files of ours in place of the marked imports.

    A file without such imports, as every saved one, is returned byte for byte.
    """

    def text_of(found: re.Match[str]) -> str:
        # A second docstring and a second `from __future__` are left out.
        text = Path(__file__).with_name(f"{found[1]}.py").read_text(encoding="utf-8").partition(_START)[2]
        return f"# Text of {found[1]}.py of echoform:\n{text}\n# Text of {plain_stem(code.stem)}.py of echoform:\n"

    content = code.read_text(encoding="utf-8")
    return _IMPORT.sub(text_of, content).encode() if _MARK in content else code.read_bytes()


def copy_code(code: Path, folder: Path, content: bytes | None = None) -> str:
    """Copy a code file to a folder in place of its other versions; returns its new name, which ends in a hash."""
    folder.mkdir(parents=True, exist_ok=True)
    content, plain = content or code.read_bytes(), re.sub(r"_[0-9a-f]{8}\Z", "", code.stem)
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
