"""The pages of the documentation, their code blocks, and the scripts that write some of them."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
FOLDERS = ("pipelines", "train", "hub_cards", "space_app", "tests", "benchmarks", "docs")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of one language in a Markdown page."""
    return [body for name, body in _BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def prose(page: Path) -> str:
    """A Markdown page without its code blocks."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def load_script(name: str, folder: str = "docs") -> ModuleType:
    """A script of docs/ or of another folder as a module."""
    spec = spec_from_file_location(name, ROOT / folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)  # dataclasses look their module up by its name
    spec.loader.exec_module(module)
    return module
