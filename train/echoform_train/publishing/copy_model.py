"""Copies of exported models that hold what a push uploads, and nothing else that would be taken for a part of them."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from echoform.code_files import versions_of
from echoform.hub import files_to_upload


def copy_model(source: Path, folder: Path, *, keep: Collection[str] = ()) -> None:
    """Copy the files of an exported model that a push uploads; other versions of its code in `folder` are removed.

    Args:
        source: Exported pipeline or model.
        folder: Created if it does not exist.
        keep: Files that stay as they are if `folder` holds them, such as a card.

    Raises:
        PushError: If the source must not be pushed: see `files_to_upload`.
    """
    files = files_to_upload(source)
    for path in files:
        if path.as_posix() not in keep or not (folder / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, folder / path)
    # Code of an earlier version has another hash in its name, and would be taken for a part of the model. Code files of
    # a person have other names, stay, and are not pushed.
    versions = {pattern for path in files if path.suffix == ".py" for pattern in versions_of(path)}
    for code in {found for pattern in versions for found in folder.glob(pattern)}:
        if code.relative_to(folder) not in files:
            code.unlink()
