"""Write files atomically: after a crash, also of the machine, a file is either complete or unchanged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder, to be written inside the block and then renamed to `path`.

    After a crash, also of the machine, `path` is either complete or what it was before.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the disk holds a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def share_weights(folder: Path) -> None:
    """Let whoever may read and write a folder do so with the weights in it, at any depth: safetensors makes new files
    private."""
    for path in folder.rglob("*.safetensors"):
        if path.is_file() and not path.is_symlink():
            _share(path)


def _share(file: Path) -> None:
    file.chmod(file.stat().st_mode & 0o777 | file.parent.stat().st_mode & 0o666)


def replace_folder(folder: Path, partial: Path) -> None:
    """Put a finished temporary folder in the place of `folder`, which may exist already.

    Both lie in the same folder. After a crash, also of the machine, `folder` holds everything of the new one, is what
    it was before, or, between two renames, is missing; it never holds files of both.
    """
    share_weights(partial)
    for path in [*partial.rglob("*"), partial]:
        sync(path)
    earlier = folder.with_name(f".{folder.name}.earlier")
    shutil.rmtree(earlier, ignore_errors=True)
    if folder.exists():
        folder.rename(earlier)
    partial.rename(folder)
    sync(folder.parent)
    shutil.rmtree(earlier, ignore_errors=True)


def partial_folder(folder: Path) -> Path:
    """An empty temporary folder beside `folder`, for `replace_folder`; what an interrupted process left is removed."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def copy_to_partial(folder: Path) -> Path:
    """A temporary copy of `folder` beside it, for `replace_folder`: notes and cards of a person stay.

    Weights and code are not copied, because a model is then saved into the copy with its own. If there is no such
    folder, the copy is empty.
    """
    partial = partial_folder(folder)
    if folder.is_dir():
        shutil.copytree(
            folder, partial, ignore=shutil.ignore_patterns("*.safetensors", "*.py", "__pycache__"), dirs_exist_ok=True
        )
    return partial


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    from safetensors.torch import save_file  # imports torch, which takes seconds

    with atomic_write(path) as partial:
        # clone() separates tensors that share memory, which safetensors refuses to save.
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, partial)
        _share(partial)
