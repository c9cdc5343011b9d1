"""Output folders: a new one is complete or absent, and one that is continued keeps the settings of its results."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from echoform_train.engine.atomic_files import share_weights, sync
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import SETTINGS
from echoform_train.engine.hashes import json_hash
from echoform_train.engine.json_files import read_json_object, write_json

LONGEST_VALUE = 80
"""Characters of JSON above which a setting is recorded by its hash."""
MOST_SHOWN = 5
"""Largest number of differences that a message names."""

_PARTIAL = ".partial"


def record_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as one flat JSON object, to be stored beside results.

    Names of nested settings are joined by dots. A value that is longer than 80 characters is replaced by its sha256.
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            nested = record_of({str(inner): each for inner, each in value.items()})
            flat |= {f"{name}.{inner}": each for inner, each in nested.items()}
        else:
            text = json.dumps(value, allow_nan=False)
            flat[name] = json.loads(text) if len(text) <= LONGEST_VALUE else f"sha256 {json_hash(value)}"
    return flat


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The settings that differ between two records, each with both values; "" if they are equal."""
    known_to_both = earlier.keys() & now.keys()
    names = [name for name in {**now, **earlier} if name not in known_to_both or now[name] != earlier[name]]
    phrases = [_phrase(name, earlier, now) for name in names[:MOST_SHOWN]]
    more = len(names) - MOST_SHOWN
    return "; ".join([*phrases, f"{more} more"] if more > 0 else phrases)


def continue_folder(folder: Path, settings: Mapping[str, Any], flag: str) -> None:
    """Begin an output folder by writing settings.json to it, or continue one that was begun with equal settings.

    Args:
        folder: The output folder.
        settings: Everything that can change the results, JSON-able; models and data by a hash of their content.
        flag: Name of the flag of the folder, for messages.

    Raises:
        UserError: If the folder was begun with other settings, or holds files of somebody else.
    """
    now = record_of(settings)
    if (folder / SETTINGS).exists():
        if changed := differences(read_json_object(folder / SETTINGS), now):
            raise UserError(f"{flag} {folder} holds results of other settings: {changed}; choose another {flag}")
        return
    require_empty(folder, flag)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SETTINGS, now)


def require_empty(folder: Path, flag: str, but: Collection[str] = ()) -> None:
    """Refuse an output folder that is a file, or holds anything but files and folders of some names.

    Raises:
        UserError: If it does.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{flag} must be a folder, {folder} is a file")
    found = [path.name for path in folder.iterdir() if path.name not in (_PARTIAL, *but)] if folder.is_dir() else []
    if found:
        raise UserError(f"{flag} must be a new or an empty folder, {folder} holds {min(found)}")


@contextmanager
def new_folder(folder: Path, flag: str, but: Collection[str] = ()) -> Iterator[Path]:
    """Give an empty temporary folder, to be filled inside the block; at the end its content becomes `folder`.

    If the block fails, `folder` stays as it was. Only a machine that stops while the files get their final names can
    leave an incomplete folder, and only if an empty one had existed before.

    Args:
        folder: The output folder, which must be missing or empty.
        flag: Name of the flag of the folder, for messages.
        but: Names of files and folders that may be there, and stay.

    Raises:
        UserError: If the folder is not empty.
    """
    require_empty(folder, flag, but)
    folder = folder.resolve()
    # An existing folder may be a mount or a current directory, which cannot be replaced; it is filled from inside.
    existed = folder.is_dir()
    partial = folder / _PARTIAL if existed else folder.with_name(f".{folder.name}{_PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)  # of an attempt that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        share_weights(partial)
        if existed:
            for path in sorted(partial.iterdir(), key=Path.is_file):
                path.rename(folder / path.name)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync(folder.parent)


def final_folder(folder: Path) -> Path:
    """The folder that a folder of `new_folder` becomes, for messages; any other folder is returned as it is."""
    if folder.name == _PARTIAL:
        return folder.parent
    if folder.name.startswith(".") and folder.name.endswith(_PARTIAL):
        return folder.with_name(folder.name[1 : -len(_PARTIAL)])
    return folder


def _phrase(name: str, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    values = [_shown(settings, name) for settings in (earlier, now)]
    # The digits of a hash tell a reader nothing.
    if all(re.fullmatch(r"(sha256 )?[0-9a-f]{64}", value) for value in values):
        return f"{name} changed"
    return f"{name} was {values[0]}, is now {values[1]}"


def _shown(settings: Mapping[str, Any], name: str) -> str:
    if name not in settings:
        return "not recorded"
    value = settings[name]
    return value if isinstance(value, str) and value else json.dumps(value)
