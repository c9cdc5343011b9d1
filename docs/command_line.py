"""Writes docs/command-line.md: every command with its flags, read from the settings of the commands themselves.

    python docs/command_line.py

`make docs` runs it, and a test holds the page equal to what it would write.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from echoform_train.commands import VERBS

PAGE = Path(__file__).with_name("command-line.md")
INTRODUCTION = """\
# The command line

One program, `echoform`. This page is generated from the settings of the commands (`make docs`); `echoform VERB --help`
shows the same. A preset, where a command has some, is a set of defaults that any flag overrides; the column "default"
shows the first preset.
"""
KINDS = {int: "integer", float: "number", str: "text", Path: "path", bool: "`True`, `False`"}
_POSITIONAL = get_args(tyro.conf.Positional[int])[1]
_UNPREFIXED = get_args(tyro.conf.OmitArgPrefixes[int])[1]


@dataclass(frozen=True)
class Option:
    """One flag or positional argument of a command."""

    name: str
    """Field name, such as `max_train_images`."""
    aliases: tuple[str, ...]
    """Further flags for the same setting, such as `--dataset-name`."""
    positional: bool
    kind: Any
    """Its type without annotations, or how its text is read."""
    default: Any
    """`tyro.MISSING` where the user must give it."""
    help: str

    @property
    def flag(self) -> str:
        """How it is typed."""
        dashed = self.name.replace("_", "-")
        if self.positional:
            return f"`{self.name.upper()}`"
        flags = [f"--{dashed}", *self.aliases]
        if self.kind is bool:
            flags.append(f"--no-{dashed}")
        return ", ".join(f"`{flag}`" for flag in flags)


@dataclass(frozen=True)
class Group:
    """Options that come from one dataclass."""

    title: str
    """First paragraph of the dataclass; empty for the options of the command itself."""
    options: tuple[Option, ...]


def document() -> str:
    """The whole page."""
    summary = [f"| [`echoform {verb}`](#{_anchor(verb)}) | {what} |" for verb, (_, what) in VERBS.items()]
    sections = [_section(verb, import_module(f"echoform_train.{module}")) for verb, (module, _) in VERBS.items()]
    return "\n".join([INTRODUCTION, "| command | what it does |", "|---|---|", *summary, "", *sections])


def option_groups(config_class: type, default: Any = None) -> Iterator[Group]:
    """The options of a settings dataclass, then those of each dataclass in it, as tyro turns them into flags.

    Args:
        config_class: The dataclass.
        default: Its preset, an instance; None takes the defaults of the fields.

    Raises:
        ValueError: If a nested dataclass would give its flags a prefix, which no command does.
    """
    hints = get_type_hints(config_class, include_extras=True)
    helps = _field_helps(config_class)
    own: list[Option] = []
    nested: list[tuple[Any, Any]] = []
    for field in fields(config_class):
        kind, metadata = _unwrap(hints[field.name])
        value = _default_of(field, default)
        # tyro prefixes the flags of a nested dataclass with its field name unless it is told not to.
        if is_dataclass(kind):
            unprefixed = _UNPREFIXED in metadata or any(getattr(one, "name", None) == "" for one in metadata)
            if not unprefixed:
                raise ValueError(f"{config_class.__name__}.{field.name} must give flags without a prefix")
            nested.append((kind, None if value is tyro.MISSING else value))
            continue
        kind = next((one for one in metadata if isinstance(one, PrimitiveConstructorSpec)), kind)
        aliases = tuple(alias for one in metadata for alias in getattr(one, "aliases", None) or ())
        own.append(Option(field.name, aliases, _POSITIONAL in metadata, kind, value, helps.get(field.name, "")))
    yield Group("", tuple(sorted(own, key=lambda option: not option.positional)))
    for kind, value in nested:
        for group in option_groups(kind, value):
            yield Group(group.title or _first_paragraph(kind), group.options)


def known_flags(config_class: type) -> set[str]:
    """Every flag of a settings dataclass, `--no-...` included."""
    options = (option for group in option_groups(config_class) for option in group.options)
    return {flag.strip("`") for option in options for flag in option.flag.split(", ") if flag.startswith("`--")}


def _section(verb: str, module: Any) -> str:
    presets = getattr(module, "PRESETS", None)
    default = next(iter(presets.values())) if presets else None
    groups = list(option_groups(module.Config, default))
    positional = [option for group in groups for option in group.options if option.positional]
    usage = " ".join(["echoform", verb, *(_usage(option) for option in positional), "[flags]"])
    lines = [f"## echoform {verb}", "", inspect.cleandoc(module.Config.__doc__ or ""), "", "```", usage, "```", ""]
    for group in groups:
        if not group.options:
            continue
        if group.title:
            lines += [group.title, ""]
        lines += ["| flag | value | default | what it does |", "|---|---|---|---|", *map(_row, group.options), ""]
    if presets:
        lines += [*_preset_table(presets), ""]
    return "\n".join(lines)


def _usage(option: Option) -> str:
    name = option.name.upper()
    return name if option.default is tyro.MISSING else f"[{name}]"


def _row(option: Option) -> str:
    value = "" if option.kind is bool else _value_of(option.kind)  # --x or --no-x, which take no value
    cells = [option.flag, value, _shown_default(option.default), _escaped(" ".join(option.help.split()))]
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text in which no character ends a table cell or begins an HTML tag."""
    return text.replace("|", "\\|").replace("<", "\\<")


def _preset_table(presets: dict[str, Any]) -> list[str]:
    """What the presets set differently from one another, one row per flag."""
    settings = {name: _flat(preset) for name, preset in presets.items()}
    first = next(iter(settings.values()))
    differing = [
        name for name in first if name != "preset" and len({repr(one.get(name)) for one in settings.values()}) > 1
    ]
    lines = ["What the presets set:", "", f"| flag | {' | '.join(f'`{name}`' for name in presets)} |"]
    lines.append("|---" * (len(presets) + 1) + "|")
    for name in differing:
        values = " | ".join(_shown_default(one.get(name)) for one in settings.values())
        lines.append(f"| `--{name.replace('_', '-')}` | {values} |")
    return lines


def _flat(config: Any) -> dict[str, Any]:
    """Values by field name, those of nested dataclasses among them."""
    values: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        values |= _flat(value) if is_dataclass(value) else {field.name: value}
    return values


def _default_of(field: Any, instance: Any) -> Any:
    if instance is not None:
        return getattr(instance, field.name)
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else tyro.MISSING


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without its annotations, and those annotations."""
    metadata: tuple[Any, ...] = ()
    while get_origin(hint) is Annotated:
        hint, *found = get_args(hint)
        metadata += tuple(found)
    return hint, metadata


def _value_of(kind: Any) -> str:
    """What may be typed for a type, in words."""
    kind, _ = _unwrap(kind)
    if isinstance(kind, PrimitiveConstructorSpec):
        return kind.metavar.removeprefix("{None}|").replace("INT", "integer").replace("|", " or ")
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return f"several: {_value_of(get_args(kind)[0])}"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_value_of(one) for one in get_args(kind) if one is not NoneType)
    return KINDS[kind]


def _shown_default(value: Any) -> str:
    if value is tyro.MISSING:
        return "required"
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (tuple, list)):
        return f"`{' '.join(map(str, value))}`"
    return f"`{value}`"


def _field_helps(config_class: type) -> dict[str, str]:
    """The string below each field, those of base classes included."""
    helps: dict[str, str] = {}
    for owner in reversed(config_class.__mro__):
        if not is_dataclass(owner):
            continue
        tree = ast.parse(Path(inspect.getfile(owner)).read_text(encoding="utf-8"))
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        body = next(node.body for node in classes if node.name == owner.__name__)
        for line, below in pairwise(body):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                text = below.value if isinstance(below, ast.Expr) else None
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    helps[line.target.id] = inspect.cleandoc(text.value)
    return helps


def _first_paragraph(config_class: type) -> str:
    return inspect.cleandoc(config_class.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _anchor(verb: str) -> str:
    return f"echoform-{verb}".replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
