"""Settings of a command from Python: its presets by name, and a preset with some settings changed."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, NamedTuple, TypeVar, get_type_hints

import tyro

from echoform_train.engine.config import RunConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.setting_types import fit, plain

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
        UserError: If there is no such preset or setting, a setting without a default is missing, or a value is of
            another type or out of its limits.
    """
    known = presets(config_class)
    if preset is not None and (not isinstance(preset, str) or preset not in known):
        raise UserError(f"preset must be one of {', '.join(known) or 'none, this command has none'}, got {preset}")
    base = known[preset] if preset is not None else next(iter(known.values()), None)
    given = dict(settings)
    values, missing = _choose_values(config_class, base, given)
    # Checked before the class is built, so that each error lists all wrong settings at once.
    if given:
        raise UserError("; ".join(_unknown(name, setting_names(config_class)) for name in given))
    if missing:
        raise UserError(f"these settings have no default and must be given: {', '.join(missing)}")
    return _build(config_class, values)


def _unknown(name: str, known: Iterable[str]) -> str:
    """The sentence about a setting that is none, with the one that looks most like it."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"there is no setting {name[:80]}" + (f", did you mean {near[0]}?" if near else "")


def with_keywords(sentence: str, config_class: type) -> str:
    """An error's sentence with the names of a command's settings in place of its flags, as `hop_s` for `--hop-s`."""
    names = setting_names(config_class)
    sentence = sentence.replace("--resume-from-checkpoint latest", 'resume_from_checkpoint="latest"')

    def keyword(flag: re.Match[str]) -> str:
        name = flag[1].replace("-", "_")
        turned_off = name.removeprefix("no_")
        return name if name in names else f"{turned_off}=False" if turned_off in names else flag[0]

    return re.sub(r"(?<![\w-])--([a-z][a-z0-9-]*)", keyword, sentence)


def with_flags(sentence: str, config_class: type) -> str:
    """An error's sentence with the flags of a command in place of its settings' names, as `--hop-s` for `hop_s`.

    The names are replaced where the sentence, or what follows a colon, says of a setting what it must be; elsewhere
    such a word may be that of a file or a column.
    """
    flags = {name: "--" + name.replace("_", "-") for name in setting_names(config_class)}
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


def setting_names(config_class: type) -> set[str]:
    """Names of all settings of a command, also those in groups."""
    return {setting.field.name for setting in settings_of(config_class)}


class Setting(NamedTuple):
    """One setting of a command."""

    field: Field[Any]
    hint: Any
    """Type of the field, with its annotations."""
    home: type
    """The dataclass that has the field: that of the command, or of a group."""
    default: Any
    """Its value in the preset, or else its default; `tyro.MISSING` where the user must give it."""


def settings_of(config_class: type, base: object = None) -> list[Setting]:
    """All settings of a command, its own and then those in groups.

    Args:
        config_class: Settings of the command.
        base: A preset, for the defaults; None: those of the fields.
    """
    own, grouped = [], []
    for field, hint in fields_of(config_class):
        value = getattr(base, field.name, tyro.MISSING)
        if is_dataclass(plain(hint)):
            grouped += settings_of(plain(hint), None if value is tyro.MISSING else value)
            continue
        if value is tyro.MISSING and field.default_factory is not MISSING:
            value = field.default_factory()
        elif value is tyro.MISSING and field.default is not MISSING:
            value = field.default
        own.append(Setting(field, hint, config_class, value))
    return own + grouped


def _choose_values(config_class: type, base: object, given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Take the value of each field from `given`, from which it is removed, or else from `base`.

    Returns:
        values: By name, those of a group as a dictionary; fields with a default may be absent.
        missing: Names of the fields without a value or a default.
    """
    values: dict[str, Any] = {}
    missing: list[str] = []
    for field, hint in fields_of(config_class):
        inherited = getattr(base, field.name, tyro.MISSING)
        if is_dataclass(plain(hint)):
            values[field.name], missing_in_group = _choose_values(plain(hint), inherited, given)
            missing += missing_in_group
        elif field.name in given:
            values[field.name] = fit(field.name, given.pop(field.name), hint)
        elif inherited is not tyro.MISSING:
            values[field.name] = inherited
        elif field.default_factory is MISSING and field.default in (MISSING, tyro.MISSING):
            missing.append(field.name)
    return values, missing


def _build(config_class: type[T], values: dict[str, Any]) -> T:
    """Build a dataclass from its values, those of a group as a dictionary."""
    groups = {field.name: plain(hint) for field, hint in fields_of(config_class) if is_dataclass(plain(hint))}
    return config_class(**values | {name: _build(group, values[name]) for name, group in groups.items()})


def fields_of(config_class: type) -> list[tuple[Field[Any], Any]]:
    """The fields of a dataclass with their types, which keep their annotations."""
    hints = get_type_hints(config_class, include_extras=True)
    return [(field, hints[field.name]) for field in fields(config_class)]
