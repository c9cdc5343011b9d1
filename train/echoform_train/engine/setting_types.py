"""Values of settings from Python: held against the type of their field, and turned into what the flags would give."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
from tyro.constructors import PrimitiveConstructorSpec

from echoform_train.engine.errors import UserError
from echoform_train.engine.sources import DatasetInMemory, as_source

DATA = ("data", "source")
"""Settings that may be given a data set of the package `datasets` in place of the name of one."""
LONGEST_SHOWN = 60

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    Path: "a path, as text or pathlib.Path",
    NoneType: "None",
}
_PLURALS: dict[Any, str] = {int: "whole numbers", float: "numbers", bool: "True and False", str: "texts", Path: "paths"}


def fit(name: str, value: Any, hint: Any) -> Any:
    """The value of a setting as its flag would give it: lists as tuples, text as paths, whole numbers as floats.

    Args:
        name: Name of the setting, for the message.
        value: What the caller gave.
        hint: Type of the field, with its annotations.

    Raises:
        UserError: If it is of another type; the message has the name, the rule and the value.
    """
    if name in DATA:
        value = as_source(value)
    # A single text would be a sequence too, of its letters.
    if get_origin(plain(hint)) is tuple and not _is_sequence(value):
        raise UserError(f"{name} takes several values, as a list or a tuple, got {_shown(value)}")
    try:
        return _fitted(value, hint)
    except _OfOtherTypeError:
        raise UserError(f"{name} must be {_rule(hint)}, got {_shown(value)}") from None


def plain(hint: Any) -> Any:
    """A type without annotations."""
    return plain(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def written(hint: Any) -> str:
    """A type as it is written in a signature: what a caller may give."""
    hint = plain(hint)
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " | ".join(dict.fromkeys(part for one in inside for part in written(one).split(" | ")))
    if origin is Literal:
        return f"Literal[{', '.join(map(_quoted, inside))}]"
    if origin is tuple:
        return f"Sequence[{written(inside[0])}]"
    return "str | Path" if hint is Path else "None" if hint is NoneType else hint.__name__


def _quoted(text: Any) -> str:
    return f'"{text}"' if isinstance(text, str) else repr(text)


class _OfOtherTypeError(Exception):
    """A value is not of a type."""


def _fitted(value: Any, hint: Any) -> Any:
    parser = next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, PrimitiveConstructorSpec)), None)
    if parser is not None and isinstance(value, str):
        return parser.instance_from_str([value])
    hint = plain(hint)
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _first_that_fits(value, inside)
    if origin is Literal:
        if any(value == one and isinstance(value, type(one)) for one in inside):
            return value
        raise _OfOtherTypeError
    if origin is tuple:
        if not _is_sequence(value) or (Ellipsis not in inside and len(value) != len(inside)):
            raise _OfOtherTypeError
        return tuple(_fitted(one, inside[0] if Ellipsis in inside else inside[at]) for at, one in enumerate(value))
    return _simple(value, hint)


def _simple(value: Any, hint: Any) -> Any:
    """A value of a type that holds no others."""
    if hint is bool and isinstance(value, bool | np.bool_):
        return bool(value)
    if hint in (int, float) and isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_):
        if hint is float:
            return float(value)
        if isinstance(value, numbers.Integral):
            return int(value)
    if hint is Path and isinstance(value, str | os.PathLike) and not isinstance(value, DatasetInMemory):
        return Path(value)
    if hint is str and isinstance(value, str | os.PathLike):
        return value if isinstance(value, DatasetInMemory) else os.fspath(value)
    if hint is NoneType and value is None:
        return None
    raise _OfOtherTypeError


def _first_that_fits(value: Any, options: tuple[Any, ...]) -> Any:
    for option in options:
        try:
            return _fitted(value, option)
        except _OfOtherTypeError:
            continue
    raise _OfOtherTypeError


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)


def _rule(hint: Any) -> str:
    hint = plain(hint)
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_rule(one) for one in inside)
    if origin is Literal:
        return f"one of {', '.join(map(str, inside))}"
    if origin is tuple:
        of_kind = _PLURALS.get(plain(inside[0])) or f"values, each {_rule(inside[0])}"
        return f"a list of {of_kind}" if Ellipsis in inside else f"{len(inside)} {of_kind}"
    return _WORDS.get(hint, str(hint))


def _shown(value: Any) -> str:
    """A value for a message; the content of large ones, such as data sets, tells nothing."""
    if not isinstance(value, str | bytes | numbers.Number | list | tuple | dict | os.PathLike | NoneType):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
