"""Reading flags from the settings of a command, and the words that stand for values in its help: DATA, OUT, REPO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass, replace
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, StructConstructorSpec, StructTypeInfo

VALUES = {
    "data": "DATA",
    "source": "DATA",
    "like": "DATA",
    "output_dir": "OUT",
    "output": "OUT",
    "pipeline": "PIPELINE",
    "initial_pipeline": "PIPELINE",
    "folder": "FOLDER",
    "first_stage": "FOLDER",
    "generated_dir": "FOLDER",
    "simulated": "FOLDER",
    "index": "FOLDER",
    "repo": "REPO",
    "repo_id": "REPO",
    "push_to_hub": "REPO",
    "doppler": "REPO",
    "depth": "REPO",
    "push": "REPO",
    "revision": "REVISION",
    "token": "TOKEN",
    "users": "USER",
    "resume_from_checkpoint": "CHECKPOINT",
}
"""What stands for the value of a setting; others show their type, such as INT."""
TYPES = {str: "TEXT", Path: "FILE", int: "INT", float: "FLOAT"}


def parse_flags(config_class: type, args: list[str], prog: str, default: Any = None) -> Any:
    """Parse the flags of a command.

    Args:
        config_class: The settings, a dataclass.
        args: The flags.
        prog: Name of the command for help and errors.
        default: Settings that the flags override. Default: those of the class.

    Returns:
        An instance of the class.
    """
    registry = ConstructorRegistry()
    inside: list[type] = []

    @registry.struct_rule
    def explained(info: StructTypeInfo) -> StructConstructorSpec | None:
        """The usual fields of a dataclass, with words for their values."""
        if not is_dataclass(info.type) or info.type in inside:
            return None
        inside.append(info.type)
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            inside.remove(info.type)
        if not isinstance(spec, StructConstructorSpec):
            return None
        return replace(
            spec,
            fields=tuple(
                replace(field, type=_explain(field.name, field.type), helptext=partial(_flowing, field.helptext))
                for field in spec.fields
            ),
        )

    with registry:
        kept = {} if default is None else {"default": default}
        return tyro.cli(config_class, args=args, prog=prog, **kept)


def _flowing(help_text: str | Callable[[], str | None] | None) -> str | None:
    """The help of a setting without the line breaks of its source; it is read when it is shown."""
    text = help_text() if callable(help_text) else help_text
    return None if text is None else "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _explain(name: str, kind: Any) -> Any:
    """The type of a setting, annotated with the word for its value and with the default that its help shows."""
    shown = tyro.conf.arg(metavar=_word(name, kind), help_behavior_hint=_default)
    return kind if is_dataclass(_plain(kind)) else Annotated[kind, shown]


def _default(label: str) -> str:
    # None and no values say nothing that the help of the setting does not say better.
    return "" if label in ("None", "") else f"(default: {label})"


def _plain(kind: Any) -> Any:
    """A type without annotations."""
    return _plain(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def _word(name: str, kind: Any) -> str | None:
    """The word for the value of a setting; None leaves it to tyro."""
    if any(isinstance(one, PrimitiveConstructorSpec) for one in getattr(kind, "__metadata__", ())):
        return None
    plain = _plain(kind)
    if get_origin(plain) in (Union, UnionType):
        options = [_plain(option) for option in get_args(plain) if option is not NoneType]
        words = [_word(name, option) for option in options]
        if len(options) > 1:
            return None if None in words else "|".join(map(str, words))
        plain = options[0]
    if get_origin(plain) is Literal:
        return "{" + ",".join(map(str, get_args(plain))) + "}"
    if get_origin(plain) is tuple:
        return f"[{_word(name, get_args(plain)[0])} ...]"
    if plain is bool:
        return "{True,False}" if plain is not _plain(kind) else None
    return VALUES.get(name, TYPES[plain]) if plain in (str, Path) else TYPES.get(plain)
