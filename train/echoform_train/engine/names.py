"""Names that come from outside, checked where they enter: users, conditions, recordings and files."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from echoform_train.engine.errors import UserError
from echoform_train.engine.files import AXES, METADATA, METADATA_CSV

LONGEST_NAME = 100
"""Most characters of a name."""
LONGEST_PATH = 1000
"""Most characters of a relative path; each part of it is at most 255, as file systems have it."""
DEEPEST_PATH = 32
"""Most folders that a relative path goes down."""

_LONGEST_PART = 255
_REORDERING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_OWN_FILES = (METADATA, METADATA_CSV, AXES)


def composed(text: str) -> str:
    """The text in the composed Unicode form (NFC), in which equal names are equal: `é` is one character, not `e` and an
    accent, which is how macOS writes the names of files."""
    return unicodedata.normalize("NFC", text)


def decomposed(text: str) -> str:
    """The text in the decomposed Unicode form (NFD), in which macOS writes the names of files."""
    return unicodedata.normalize("NFD", text)


def composed_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its names and its texts in the composed Unicode form."""
    return {composed(name): composed(value) if isinstance(value, str) else value for name, value in row.items()}


def check_name(value: object, kind: str, source: object) -> str:
    r"""Check a name that may become the name of a folder: of a user, a condition or a class.

    Args:
        value: What was read.
        kind: What it names, as "user".
        source: Where it was read: a file, a line of it, a data set.

    Returns:
        `value` in the composed Unicode form, else unchanged.

    Raises:
        UserError: If it is no text, is empty or blank, has more than 100 characters, starts with a dot, holds `/`, `\`
            or a character that cannot be seen (control, escape, line break, change of direction), or is the name of a
            file that echoform writes beside such folders.
    """
    text = _check_text(value, kind, source, LONGEST_NAME)
    if "/" in text or "\\" in text:
        raise UserError(f"{kind} {text!r} of {source} must not hold / or \\: it becomes the name of a folder")
    if text.startswith("."):
        raise UserError(f"{kind} {text!r} of {source} must not start with a dot: it becomes the name of a folder")
    if text.lower() in _OWN_FILES:
        raise UserError(f"{kind} {text!r} of {source} must not be called as a file that echoform writes there")
    return composed(text)


def check_model_name(value: object, kind: str, source: object) -> str:
    """`check_name`, for a name that a pipeline of spectrograms will hold, whose own rule is narrower.

    Raises:
        UserError: As `check_name`, and if the name has more than 100 bytes in UTF-8, or a character without a shape,
            such as a space of no width or one that does not break.
    """
    name = check_name(value, kind, source)
    if len(name.encode()) > LONGEST_NAME:
        raise UserError(
            f"{kind} {name[:40]!r}... of {source} must have at most {LONGEST_NAME} bytes in UTF-8 to be in a pipeline, "
            f"it has {len(name.encode())}"
        )
    if not name.isprintable():
        unseen = next(character for character in name if not character.isprintable())
        raise UserError(
            f"{kind} {name!r} of {source} must hold printable characters alone to be in a pipeline, it holds "
            f"U+{ord(unseen):04X}"
        )
    return name


def check_names(values: Sequence[object], kind: str, source: object) -> list[str]:
    """Check each of several names, which must differ: `check_name`.

    Raises:
        UserError: As `check_name`, and if a name comes twice, also in two Unicode forms.
    """
    names = [check_name(value, kind, source) for value in values]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{kind} {name!r} of {source} must come once, it comes {names.count(name)} times")
        seen.add(name)
    return names


def check_label(value: object, kind: str, source: object) -> str:
    """Check a name that is printed but never becomes a path, such as that of a recording; `/` is allowed.

    Returns:
        `value` in the composed Unicode form, else unchanged.

    Raises:
        UserError: If it is no text, is empty or blank, has more than 1000 characters, or holds a character that cannot
            be seen.
    """
    return composed(_check_text(value, kind, source, LONGEST_PATH))


def check_relative_path(value: object, kind: str, source: object) -> str:
    r"""Check the path of a file below a known folder.

    Returns:
        The path with `/` between its parts and without `.` parts, in its own Unicode form: that of the file's name.

    Raises:
        UserError: If it is no text, is empty or blank, has more than 1000 characters or 32 folders, is absolute, has a
            part `..` or one of more than 255 characters, or holds `\` or a character that cannot be seen.
    """
    text = _check_text(value, kind, source, LONGEST_PATH)
    path = PurePosixPath(text)
    if path.is_absolute() or "\\" in text or ".." in path.parts or not path.parts or text[1:2] == ":":
        raise UserError(f"{kind} {text!r} of {source} must be a relative path with / and without ..")
    if len(path.parts) - 1 > DEEPEST_PATH:
        raise UserError(f"{kind} of {source} must lie at most {DEEPEST_PATH} folders deep, not {len(path.parts) - 1}")
    if max(map(len, path.parts)) > _LONGEST_PART:
        raise UserError(f"{kind} {text[:40]!r}... of {source} must have parts of at most {_LONGEST_PART} characters")
    return path.as_posix()


def _check_text(value: object, kind: str, source: object, longest: int) -> str:
    if not isinstance(value, str):
        raise UserError(f"{kind} of {source} must be a text, got {repr(value)[:40]} ({type(value).__name__})")
    if all(character.isspace() or unicodedata.category(character) == "Cf" for character in value):
        raise UserError(f"{kind} of {source} must not be empty or blank, got {value[:40]!r}")
    if len(value) > longest:
        raise UserError(
            f"{kind} {value[:40]!r}... of {source} must have at most {longest} characters, it has {len(value)}"
        )
    unseen = next((character for character in value if _is_unseen(character)), None)
    if unseen is not None:
        raise UserError(
            f"{kind} {value!r} of {source} must hold no control characters or line breaks, it holds U+{ord(unseen):04X}"
        )
    return value


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _REORDERING
