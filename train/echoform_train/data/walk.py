"""Walk through the files below a folder: natural order, each file once, no hidden files, no loops, a bounded depth."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from echoform_train.data.layout import natural_key
from echoform_train.engine.errors import UserError
from echoform_train.engine.names import DEEPEST_PATH, check_relative_path, composed, decomposed

logger = logging.getLogger(__name__)

_HIDDEN = frozenset(
    (
        # macOS and Windows, also on shared drives.
        "__macosx", "icon\r", "network trash folder", "temporary items", "thevolumesettingsfolder",
        "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "recycler", "system volume information",
        "lost+found",
        # Network storage: thumbnails, attributes, recycle bins and snapshots.
        "@eadir", "@tmp", "@synoresource", "@sharebin", "#recycle", "#snapshot", "@recycle", "@recently-snapshot",
    )
)  # fmt: skip


def walk(folder: Path) -> list[Path]:
    """Everything below a folder that is no folder, in natural order, also in folders that are links.

    Each file comes once, under its own path where that lies below the folder, else under the first link that leads to
    it; a warning counts the links that are left out. Hidden files and folders are left out too, and those that macOS,
    Windows and network storage keep for themselves, such as `__MACOSX`, `Thumbs.db` and `@eaDir`.

    Raises:
        UserError: If a folder lies more than 32 folders deep, or is a link to a folder above it or into a loop.
    """
    found = _Walk(folder, folder.resolve())
    found.enter(folder, found.root, ())
    if found.repeated:
        link, real = next(iter(found.repeated.items()))
        logger.warning(
            "each file is read once: left out %d links to what is read already, such as %s, which leads to %s",
            len(found.repeated), link, real,
        )  # fmt: skip
    return sorted(found.files.values(), key=lambda path: [natural_key(part) for part in path.relative_to(folder).parts])


def find_files(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files that `walk` finds and that have one of the suffixes, by path inside the folder, in natural order.

    Raises:
        UserError: As `walk` and `composed_names`, and if such a file has a name with control characters, or is no
            regular file.
    """
    paths = [path for path in walk(folder) if path.suffix.lower() in suffixes]
    found: dict[str, Path] = {}
    for name, path in composed_names(folder, paths).items():
        check_relative_path(name, "file", folder)
        if not path.is_file():
            raise UserError(f"{path} must be a regular file; it is a pipe, a device or a link to nothing")
        found[name] = path
    return {name: found[name] for name in sorted(found, key=natural_key)}


def composed_names(folder: Path, paths: Sequence[Path]) -> dict[str, Path]:
    """The paths by their names inside the folder, in the composed Unicode form, so that `é` is one letter everywhere.

    Raises:
        UserError: If two files have the same name in two Unicode forms.
    """
    named: dict[str, Path] = {}
    for path in paths:
        name = composed(path.relative_to(folder).as_posix())
        if name in named:
            raise UserError(
                f"{folder} must not hold two files whose names differ only in their Unicode form, it holds {name!r} "
                f"twice: as {named[name].relative_to(folder).as_posix()!a} and as "
                f"{path.relative_to(folder).as_posix()!a}"
            )
        named[name] = path
    return named


def path_of_name(folder: Path, name: str) -> Path:
    """The path of a file by its name inside the folder, whatever the Unicode form of the file's own name."""
    paths = [folder / name, folder / composed(name), folder / decomposed(name)]
    return next((path for path in paths if path.exists()), paths[0])


def is_hidden(name: str) -> bool:
    """Whether `walk` leaves out a file or folder of this name."""
    return name.startswith((".", "__MACOSX")) or name.casefold() in _HIDDEN


@dataclass
class _Walk:
    """What was found so far; a folder is entered once, by its real path."""

    folder: Path
    root: Path
    """Its real path."""
    files: dict[Path, Path] = field(default_factory=dict)
    """Path below the folder by real path."""
    entered: set[Path] = field(default_factory=set)
    repeated: dict[Path, Path] = field(default_factory=dict)
    """Links that are left out, and the real path of what each leads to."""

    def enter(self, folder: Path, real: Path, above: tuple[Path, ...]) -> None:
        """Find the files of a folder, given the real paths of the folders that led to it."""
        if len(above) > DEEPEST_PATH:
            raise UserError(f"files must lie at most {DEEPEST_PATH} folders deep, {str(self.root)!r} has deeper ones")
        self.entered.add(real)
        above = (*above, real)
        for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
            if is_hidden(path.name):
                continue
            is_link = path.is_symlink()
            if not path.is_dir():
                self._add_file(path, real / path.name, is_link)
                continue
            below = path.resolve() if is_link else real / path.name
            if is_link and any(each.is_relative_to(below) for each in above):
                raise UserError(
                    f"a folder must not hold a link to a folder above it or into a loop of links, {str(path)!r} leads "
                    f"to {below}"
                )
            own = self._own_path(below)
            if is_link and (own is not None or below in self.entered):
                self.repeated[path] = below
            if below not in self.entered:
                self.enter(own or path, below, above)

    def _add_file(self, path: Path, real: Path, is_link: bool) -> None:
        # What is no file, such as a link to nothing, is left to those who want to read it.
        if is_link and path.is_file():
            real = path.resolve()
            if self._own_path(real) is not None or real in self.files:
                self.repeated[path] = real
                return
        self.files[real] = path

    def _own_path(self, real: Path) -> Path | None:
        """The path of a file or folder that itself lies below the folder and is not hidden; None for others."""
        if not real.is_relative_to(self.root):
            return None
        inside: PurePath = real.relative_to(self.root)
        return None if any(map(is_hidden, inside.parts)) else self.folder / inside
