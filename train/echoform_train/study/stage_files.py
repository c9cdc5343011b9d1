"""The files that a stage has written: whether they are unchanged, and how they are removed without any other file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from echoform_train.engine.hashes import sha256_of

ASIDE = "set-aside"
"""End of the name of the folder beside a stage's, to which files are moved that are not as the stage wrote them."""


def hash_files(folder: Path, except_for: Collection[str] = ()) -> dict[str, str]:
    """sha256 of each file in a folder by its path, without hidden files and those of the given names."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in except_for and not path.name.startswith(".")
    }


def is_unchanged(folder: Path, hashes: Mapping[str, str], changing: Collection[str] = ()) -> bool:
    """Whether all these files exist and have the content that they had; other files do not matter.

    Args:
        folder: The folder.
        hashes: Result of `hash_files`.
        changing: Names of files that may be missing or have another content.
    """
    fixed = {folder / name: found for name, found in hashes.items() if Path(name).name not in changing}
    return all(path.is_file() and sha256_of(path) == found for path, found in fixed.items())


def clear_folder(folder: Path, hashes: Mapping[str, str], ours: Collection[str] = ()) -> Path | None:
    """Remove the files with these hashes and the temporary ones, and move all others aside.

    Args:
        folder: The folder, which is empty afterwards but for files named in `ours`.
        hashes: Result of `hash_files` when the files were written.
        ours: Names of files that stay.

    Returns:
        The folder beside it that now holds the other files; None if there were none.
    """
    if not folder.is_dir():
        return None
    aside = _free_name(folder)
    for path in [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]:
        name = path.relative_to(folder).as_posix()
        if path.name in ours:
            continue
        if _is_temporary(name) or (not path.is_symlink() and path.is_file() and hashes.get(name) == sha256_of(path)):
            path.unlink()
        else:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside / name)
    for empty in sorted((path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()), reverse=True):
        if not any(empty.iterdir()):
            empty.rmdir()
    return aside if aside.is_dir() else None


def _is_temporary(name: str) -> bool:
    """Whether an interrupted atomic write left this file."""
    return any(part.startswith(".") and part.endswith(".partial") for part in name.split("/"))


def _free_name(folder: Path) -> Path:
    candidates: Iterator[Path] = (
        folder.with_name(f"{folder.name}-{ASIDE}" + (f"-{number}" if number > 1 else "")) for number in range(1, 10_000)
    )
    return next(path for path in candidates if not path.exists())
