"""Settings of a command from Python: its presets by name, and a preset with some settings changed."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import tyro

from echoform_train.engine.config import RunConfig
from echoform_train.engine.errors import UserError

T = TypeVar("T")


def make_preset(
    config_class: Callable[..., T],
    name: str,
    run_settings: dict[str, Any],
    data_class: Callable[..., Any],
    **settings: Any,
) -> T:
    """Build one preset of a trainer; only the data and the output folder are left to the flags.

    Args:
        config_class: Settings of the trainer, with fields `preset`, `data` and `run`.
        name: Name of the preset.
        run_settings: Fields of `RunConfig` in which the preset differs from its defaults.
        data_class: Settings of the data.
        settings: Fields of `config_class` in which the preset differs from its defaults.
    """
    return config_class(
        preset=name,
        data=data_class(data=tyro.MISSING),
        run=RunConfig(output_dir=tyro.MISSING, **run_settings),
        **settings,
    )


def presets(config_class: type[T]) -> dict[str, T]:
    """Presets of a command by name, the default one first; empty if the command has none.

    Settings that every user has to choose, such as the data and the output folder, are `tyro.MISSING` in them.
    """
    return getattr(sys.modules[config_class.__module__], "PRESETS", {})


def configure(config_class: type[T], preset: str | None = None, **settings: Any) -> T:
    """Build the settings of a command as its flags do, with an underscore for each dash.

    Args:
        config_class: Settings of the command.
        preset: Name of the preset to start from. Default: the first, if the command has presets.
        settings: By name; also those in a group, for example `max_train_images`, which is `run.max_train_images`. A
            folder may be given as text or as a path, several values as a list or a tuple.

    Raises:
        ValueError: If there is no such preset or setting, a setting without a default is missing, or one that takes
            several values gets a single one.
    """
    known = presets(config_class)
    if preset is not None and preset not in known:
        raise UserError(f"preset must be one of {', '.join(known) or 'none, this command has none'}, got {preset}")
    base = known[preset] if preset is not None else next(iter(known.values()), None)
    given = dict(settings)
    values, missing = _choose_values(config_class, base, given)
    # Checked before the class is built, so that each error lists all wrong settings at once.
    if given:
        raise UserError(f"there is no setting {', '.join(given)}; `echoform ... --help` lists the flags of a command")
    if missing:
        raise UserError(f"these settings have no default and must be given: {', '.join(missing)}")
    return _build(config_class, values)


def with_flags(sentence: str, config_class: type) -> str:
    """An error's sentence with the flags of a command in place of its settings' names, as `--hop-s` for `hop_s`.

    The names are replaced where the sentence, or what follows a colon, says of a setting what it must be; elsewhere
    such a word may be that of a file or a column.
    """
    flags = {name: "--" + name.replace("_", "-") for name in _setting_names(config_class)}
    # The images of other sources than spectrograms are no windows.
    flags.setdefault("gap_windows", flags.get("gap_images", "gap_windows"))
    about = re.search(
        r"(?:^|(?<=: ))(?:0 <= )?([a-z][a-z0-9_]*)(?= (?:must|needs|takes|is for|<=|and \w+_\w+ must)\b)", sentence
    )
    if about is None or about[1] not in flags:
        return sentence
    start, stop = about.span(1)
    rest = re.sub(r"(?<![\w./-])[a-z]\w*_\w+(?![\w./])", lambda word: flags.get(word[0], word[0]), sentence[stop:])
    return sentence[:start] + flags[about[1]] + rest


def _setting_names(config_class: type) -> set[str]:
    """Names of all settings of a command, also those in groups."""
    names: set[str] = set()
    for field, hint in _fields(config_class):
        names |= _setting_names(cast(type, hint)) if is_dataclass(hint) else {field.name}
    return names


def _choose_values(config_class: type, base: object, given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Take the value of each field from `given`, from which it is removed, or else from `base`.

    Returns:
        values: By name, those of a group as a dictionary; fields with a default may be absent.
        missing: Names of the fields without a value or a default.
    """
    values: dict[str, Any] = {}
    missing: list[str] = []
    for field, hint in _fields(config_class):
        inherited = getattr(base, field.name, tyro.MISSING)
        if is_dataclass(hint):
            values[field.name], missing_in_group = _choose_values(cast(type, hint), inherited, given)
            missing += missing_in_group
        elif field.name in given:
            value = given.pop(field.name)
            # A single text would be a sequence too, of its letters.
            if get_origin(hint) is tuple and not isinstance(value, list | tuple):
                raise UserError(f"{field.name} takes several values, as a list or a tuple, got {value!r}")
            values[field.name] = _convert(value, hint)
        elif inherited is not tyro.MISSING:
            values[field.name] = inherited
        elif field.default_factory is MISSING and field.default in (MISSING, tyro.MISSING):
            missing.append(field.name)
    return values, missing


def _convert(value: Any, hint: Any) -> Any:
    """Turn lists into tuples; text and paths become paths if `hint` is a path, else text."""
    if isinstance(value, list | tuple):
        return tuple(_convert(element, hint) for element in value)
    if isinstance(value, str | Path):
        return Path(value) if _holds_paths(hint) else str(value)
    return value


def _holds_paths(hint: Any) -> bool:
    return hint is Path or any(map(_holds_paths, get_args(hint)))


def _build(config_class: type[T], values: dict[str, Any]) -> T:
    """Build a dataclass from its values, those of a group as a dictionary."""
    groups = {field.name: hint for field, hint in _fields(config_class) if is_dataclass(hint)}
    return config_class(**values | {name: _build(cast(type, hint), values[name]) for name, hint in groups.items()})


def _fields(config_class: type) -> list[tuple[Field[Any], Any]]:
    """The fields of a dataclass with their types."""
    hints = get_type_hints(config_class)
    return [(field, hints[field.name]) for field in fields(config_class)]
