"""Commands as Python functions: settings by keyword, with the names, defaults and limits of the flags."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, get_args

import tyro

from echoform_train.engine.callbacks import Callbacks
from echoform_train.engine.errors import UserError
from echoform_train.engine.jobs import check_can_share
from echoform_train.engine.presets import Setting, configure, presets, settings_of, with_keywords
from echoform_train.engine.setting_types import DATA, written
from echoform_train.engine.sources import SOURCES, check_sources
from echoform_train.engine.stopping import stopped_by_signals

_POSITIONAL = get_args(tyro.conf.Positional[int])[1]
_DATA_SETS = "Dataset | DatasetDict"
_WIDTH = 116


class Command(NamedTuple):
    """A command of the program, and where its parts lie."""

    name: str
    """Name of its function."""
    verb: str
    """How it is typed behind `echoform`."""
    module: str
    """Module with `main`."""
    settings: str
    """Module with `Config` and perhaps `PRESETS`."""
    callbacks: tuple[str, ...] = ()
    """Which callbacks it takes."""

    @property
    def config_class(self) -> type:
        """The settings."""
        return import_module(self.settings).Config

    @property
    def returns(self) -> str:
        """Name of the type of its result."""
        if self.callbacks:
            return "TrainingResult"
        return str(import_module(self.module).main.__annotations__["return"])


def python_call(command: Command) -> Callable[..., Any]:
    """The function of a command.

    Its settings are checked, its sources looked for, and its signals answered as on the command line. Errors that the
    caller can mend are a UserError, which is a ValueError, and name settings as keywords.
    """
    config_class = command.config_class

    def call(*args: Any, **settings: Any) -> Any:
        try:
            given = _by_name(command, args, settings)
            callbacks = {name: given.pop(name) for name in command.callbacks if name in given}
            extra = (Callbacks(**callbacks),) if command.callbacks else ()
            config = configure(config_class, given.pop("preset", None), **given)
            check_sources(config)
            check_can_share(command.verb)
            with stopped_by_signals():
                return import_module(command.module).main(config, *extra)
        except UserError as error:
            error.args = (with_keywords(str(error), config_class),)
            raise

    call.__name__ = call.__qualname__ = command.name
    call.__module__ = __name__.partition(".")[0]
    call.__doc__ = docstring(command)
    call.__signature__ = inspect.Signature(parameters(command))  # pyright: ignore[reportFunctionMemberAccess]
    return call


def parameters(command: Command) -> list[inspect.Parameter]:
    """The parameters of the function of a command, those without a default first."""
    found = []
    for setting in command_settings(command):
        default = setting.default
        found.append(
            inspect.Parameter(
                setting.field.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD if _is_positional(setting) else inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty
                if default is tyro.MISSING
                else str(default)
                if isinstance(default, Path)
                else default,
                annotation=Written(_annotation(command, setting)),
            )
        )
    found.sort(key=lambda one: (one.kind, one.default is not inspect.Parameter.empty))
    for field in fields(Callbacks):
        if field.name in command.callbacks:
            annotation = Written(str(field.type))
            found.append(
                inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            )
    return found


class Written(str):
    """A type as text, which help() shows without quotes."""

    def __repr__(self) -> str:
        """The text itself."""
        return str(self)


def docstring(command: Command) -> str:
    """What the function of a command does, and the help of each setting."""
    config_class, known = command.config_class, list(presets(command.config_class))
    lines = [*inspect.cleandoc(config_class.__doc__ or "").splitlines(), ""]
    lines += [f"The same as `echoform {command.verb}`; wrong settings, files and data raise a UserError (ValueError)."]
    if known:
        lines += textwrap.wrap(
            f"Defaults are those of the preset {known[0]}; others: {', '.join(known[1:])}.", _WIDTH - 4
        )
    lines += ["", "Args:"]
    homes = {setting.field.name: setting.home for setting in command_settings(command)}
    wrapper = textwrap.TextWrapper(
        _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8, break_on_hyphens=False, break_long_words=False
    )
    for parameter in parameters(command):
        text = field_helps(homes.get(parameter.name, Callbacks)).get(parameter.name, "")
        text = with_keywords(" ".join(text.split()), config_class)
        if _DATA_SETS in parameter.annotation:
            text += " Or a datasets.Dataset or DatasetDict in memory."
        lines += wrapper.wrap(f"{parameter.name}: {text}")
    return "\n".join(lines)


def command_settings(command: Command) -> list[Setting]:
    """The settings of a command, with the defaults of its first preset."""
    config_class = command.config_class
    return settings_of(config_class, next(iter(presets(config_class).values()), None))


@lru_cache(maxsize=128)
def field_helps(config_class: type) -> dict[str, str]:
    """The text below each field of a dataclass and of its bases."""
    helps: dict[str, str] = {}
    for one in reversed(config_class.__mro__[:-1]):
        if "__annotations__" in vars(one):
            helps |= dict(_own_helps(one))
    return helps


def _own_helps(config_class: type) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(config_class))).body
    assert isinstance(definition, ast.ClassDef)
    for statement, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            yield statement.target.id, inspect.cleandoc(str(text.value)) if isinstance(text, ast.Constant) else ""


def _annotation(command: Command, setting: Setting) -> str:
    name, text = setting.field.name, written(setting.hint)
    if name in (*SOURCES, *DATA) and "str" in text.split(" | ") and "Path" not in text:
        text = text.replace("str", "str | Path")
        # The source of an encoder is a model.
        if name in DATA and command.name != "extract_encoder":
            text = text.replace("Path", f"Path | {_DATA_SETS}")
    return text


def _is_positional(setting: Setting) -> bool:
    return _POSITIONAL in getattr(setting.hint, "__metadata__", ())


def _by_name(command: Command, args: tuple[Any, ...], settings: dict[str, Any]) -> dict[str, Any]:
    """All settings by name, also those that were given by their position."""
    if not args:
        return dict(settings)
    names = [setting.field.name for setting in command_settings(command) if _is_positional(setting)]
    if len(args) > len(names):
        rule = f"at most {', '.join(names)} without their names" if names else "its settings by name"
        raise UserError(f"{command.name} takes {rule}, such as {command.name}({_example(command)}=...)")
    if twice := [name for name in names[: len(args)] if name in settings]:
        raise UserError(f"{twice[0]} must be given once, it is given by position and by name")
    return {**dict(zip(names, args, strict=False)), **settings}


def _example(command: Command) -> str:
    return next((one.name for one in parameters(command) if one.default is inspect.Parameter.empty), "preset")
