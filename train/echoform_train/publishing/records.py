"""Check of JSON from outside against the TypedDict that describes it."""

from __future__ import annotations

import json
from collections.abc import Collection
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from echoform_train.engine.errors import UserError

_WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", NoneType: "null"}


def check_record(value: Any, kind: Any, where: str, optional: Collection[str] = ()) -> None:
    """Check that a value that was read from JSON has a type; further entries of records are allowed.

    Args:
        value: The value.
        kind: TypedDict, or a type made of str, bool, int, float, None, list, dict, Literal and unions of them.
        where: What was read, as the start of the message.
        optional: Entries of the record that may be missing although the type requires them.

    Raises:
        UserError: If an entry is missing or of another type; the message names it.
    """
    if is_typeddict(kind):
        _check_table(value, where)
        hints = get_type_hints(kind)
        for name in sorted(kind.__required_keys__ - set(optional)):
            if name not in value:
                raise UserError(f"{where} must have {name}, it has {', '.join(map(str, value))[:80] or 'nothing'}")
        for name in hints.keys() & value.keys():
            check_record(value[name], hints[name], f"{name} in {where}", optional)
        return
    origin, inner = get_origin(kind), get_args(kind)
    if origin is dict:
        _check_table(value, where)
        for name, each in value.items():
            check_record(each, inner[1], f"{str(name)[:40]} in {where}", optional)
    elif origin is list:
        if not isinstance(value, list):
            raise UserError(f"{where} must be a list, got {_short(value)}")
        for number, each in enumerate(value):
            check_record(each, inner[0], f"entry {number} in {where}", optional)
    elif origin in (UnionType, Union):
        # If no part fits, the first one that is not None says what is wrong.
        others = [part for part in inner if part is not NoneType]
        fitting = [part for part in others if part in _WORDS and _is_a(value, part)]
        if value is not None or NoneType not in inner:
            check_record(value, [*fitting, *others][0], where, optional)
    elif origin is Literal:
        if value not in inner:
            raise UserError(f"{where} must be among {', '.join(map(str, inner))}, got {_short(value)}")
    elif kind is not Any and not _is_a(value, kind):
        raise UserError(f"{where} must be {_WORDS[kind]}, got {_short(value)}")


def _check_table(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise UserError(f"{where} must be a table, got {_short(value)}")


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
