"""Makes every block marked `# Copied from echoform.module.name` equal to its source: `python tests/fix_copies.py`.

Files that are saved beside a model import no other file of ours, so what two of them share is copied. A mark stands
right above the copied function, method or class and names its source.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / "pipelines" / "echoform"
MARK = re.compile(r"^ *# Copied from echoform\.(?P<module>\w+)\.(?P<name>[\w.]+)$")


@dataclass(frozen=True)
class Block:
    """Lines of a function, method or class, with its decorators."""

    start: int
    """Index of the first line."""
    stop: int
    """Index behind the last line."""


def definitions(source: str) -> dict[str, Block]:
    """Functions, methods and classes of a Python source by dotted name, such as "Class.method"."""
    found: dict[str, Block] = {}

    def collect(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                assert child.end_lineno is not None  # ast.parse sets it
                found[prefix + child.name] = Block(first - 1, child.end_lineno)
                collect(child, f"{prefix}{child.name}.")

    collect(ast.parse(source), "")
    return found


def copied_text(home: Path, module: str, name: str) -> list[str]:
    """Lines of the block that a mark names.

    Raises:
        ValueError: If there is no such block.
    """
    path = home / f"{module}.py"
    source = path.read_text(encoding="utf-8") if path.is_file() else ""
    if (block := definitions(source).get(name)) is None:
        raise ValueError(f"a mark must name a function, method or class of ours, got echoform.{module}.{name}")
    return source.splitlines()[block.start : block.stop]


def with_equal_copies(source: str, home: Path) -> str:
    """A Python source in which every marked block has the text of its source.

    Args:
        source: Content of a file.
        home: Folder of the modules that marks name.

    Raises:
        ValueError: If a mark stands above no block, or names none.
    """
    lines = source.splitlines()
    starting_at = {block.start: block for block in definitions(source).values()}
    # From the end, so that a copy of another length does not move the blocks before it.
    for index in reversed(range(len(lines))):
        if mark := MARK.match(lines[index]):
            if (block := starting_at.get(index + 1)) is None:
                raise ValueError(f"a mark must stand right above what is copied, got {lines[index].strip()!r}")
            lines[block.start : block.stop] = copied_text(home, mark["module"], mark["name"])
        elif "# Copied from" in lines[index]:
            raise ValueError(f"a mark must read '# Copied from echoform.module.name', got {lines[index].strip()!r}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite the files whose copies differ, and print their names."""
    for path in sorted(HOME.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        if (equal := with_equal_copies(source, HOME)) != source:
            path.write_text(equal, encoding="utf-8")
            print(f"{path.name}: copies made equal to their sources")


if __name__ == "__main__":
    main()
