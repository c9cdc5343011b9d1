"""Walk through the files below a folder: natural order, no hidden files, no loops, a bounded depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from echoform_train.data.layout import natural_key
from echoform_train.engine.errors import UserError
from echoform_train.engine.names import DEEPEST_PATH, check_relative_path


def walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is no folder, in natural order, also in folders that are links.

    Left out are hidden files and folders, those of macOS archives, and `Thumbs.db`.

    Raises:
        UserError: If a folder lies more than 32 folders deep, or is a link to a folder above it.
    """
    yield from _walk(folder, (folder.resolve(),))


def find_files(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files that `walk` finds and that have one of the suffixes, by path inside the folder, in natural order.

    Raises:
        UserError: As `walk`, and if such a file has a name with control characters, or is no regular file.
    """
    found: dict[str, Path] = {}
    for path in walk(folder):
        if path.suffix.lower() in suffixes:
            name = check_relative_path(path.relative_to(folder).as_posix(), "file", folder)
            if not path.is_file():
                raise UserError(f"{path} must be a regular file; it is a pipe, a device or a link to nothing")
            found[name] = path
    return {name: found[name] for name in sorted(found, key=natural_key)}


def is_hidden(name: str) -> bool:
    """Whether `walk` leaves out a file or folder of this name."""
    return name.startswith((".", "__MACOSX")) or name == "Thumbs.db"


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        if is_hidden(path.name):
            continue
        if not path.is_dir():
            yield path
            continue
        real = path.resolve()
        if real in above:
            raise UserError(f"a folder must not hold a link to a folder above it, {str(path)!r} leads to {real}")
        if len(above) > DEEPEST_PATH:
            raise UserError(f"files must lie at most {DEEPEST_PATH} folders deep, {str(above[0])!r} has deeper ones")
        yield from _walk(path, (*above, real))
