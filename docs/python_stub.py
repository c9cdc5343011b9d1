"""Writes train/echoform_train/__init__.pyi: every call with its settings, for editors and type checkers.

    python docs/python_stub.py

The calls are made from the settings of the commands when they are first used, where no editor sees them. `make docs`
runs this, and a test holds the file equal to what it would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from inspect import Parameter, isclass
from pathlib import Path

import echoform_train
from echoform_train.commands import CALLS, command_of
from echoform_train.engine.python_calls import Command, parameters

STUB = Path(echoform_train.__file__).with_suffix(".pyi")
HEAD = '''\
"""The calls of echoform_train with their settings; made by docs/python_stub.py, and explained by `help(CALL)`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from datasets import Dataset, DatasetDict

'''
_BUILT_IN = ("list", "str", "None", "Path", "Dataset", "TrainingResult")


def document() -> str:
    """The whole file."""
    commands = [command_of(name) for name in CALLS]
    others = [
        f"from echoform_train.{module} import {name} as {name}"
        for name, module in vars(echoform_train)["_OTHERS"].items()
    ]
    names = sorted({*others, *(line for command in commands for line in _imports(command))})
    exported = "\n".join(f'    "{name}",' for name in echoform_train.__all__)
    calls = "\n".join("\n".join(_definition(command)) for command in commands)
    return f"{HEAD}" + "\n".join(names) + f"\n\n__all__ = [\n{exported}\n]\n\n{calls}\n"


def _imports(command: Command) -> Iterator[str]:
    """Imports of the names in the type of a result, from the modules that define them."""
    module = import_module(command.module)
    for name in re.findall(r"\w+", command.returns):
        if name in _BUILT_IN:
            continue
        home = getattr(module, name, None)
        place = home.__module__ if isclass(home) else _home_of(name, Path(str(module.__file__)))
        yield f"from {place} import {name}"


def _home_of(name: str, file: Path) -> str:
    """The module from which a file imports a name for type checkers only."""
    found = re.search(rf"^ +from (\S+) import [^\n]*\b{name}\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, f"{file} must import {name}"
    return found[1]


def _definition(command: Command) -> Iterator[str]:
    yield f"def {command.name}("
    named = False
    for one in parameters(command):
        if one.kind is Parameter.KEYWORD_ONLY and not named:
            yield "    *,"
            named = True
        default = "" if one.default is Parameter.empty else f" = {_literal(one.default)}"
        yield f"    {one.name}: {one.annotation}{default},"
    summary = str(command.config_class.__doc__).strip().splitlines()[0]
    yield f'''\
) -> {command.returns}:
    """{summary}"""
'''


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    STUB.write_text(document(), encoding="utf-8")
