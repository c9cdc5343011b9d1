"""How results look where Python prints them: as a short table, also in notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any


class ShownAsTable:
    """A dataclass that prints as a table of names and values; give the decorator `repr=False`."""

    def shown(self) -> Iterator[tuple[str, str]]:
        """Rows of the table: plain values of the fields, and how many there are of others."""
        for field in fields(self):  # pyright: ignore[reportArgumentType]
            yield from _rows(field.name, getattr(self, field.name))

    def __repr__(self) -> str:
        """The name of the class, and its rows below."""
        rows = list(self.shown())
        width = max((len(name) for name, _ in rows), default=0)
        return "\n".join([type(self).__name__, *(f"  {name:<{width}}  {value}".rstrip() for name, value in rows)])

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self.shown())
        return f"<table><caption>{type(self).__name__}</caption>{cells}</table>"


class ShownAsText(dict[str, Any]):
    """A dictionary of scores that prints as lines of text."""

    def __init__(self, content: Mapping[str, Any], lines: Iterable[str]) -> None:
        super().__init__(content)
        self._lines = list(lines)

    def __repr__(self) -> str:
        """The lines."""
        return "\n".join(self._lines)


def _rows(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, float):
        yield name, f"{value:.4g}"
    elif isinstance(value, str | int | Path | type(None)):
        yield name, str(value)
    elif isinstance(value, list | tuple):
        of_paths = bool(value) and isinstance(value[0], Path)
        yield name, ", ".join(map(str, value)) if of_paths and len(value) < 4 else f"{len(value)} entries"
    elif isinstance(value, dict) and all(isinstance(one, float) for one in value.values()):
        for inner, one in value.items():
            yield inner, f"{one:.4g}"
