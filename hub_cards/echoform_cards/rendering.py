"""Facts as Markdown: the templates, and how a number, a name or a command is written in them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from huggingface_hub import CardData


def render(template: str, metadata: CardData, values: Mapping[str, Any]) -> str:
    """A README: the metadata as YAML between two lines of dashes, then the body that `template` makes of `values`."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("echoform_cards"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the output is Markdown
    )
    environment.filters.update(
        code=code, fence=fence, literal=literal, bullets=bullets, percent=percent, number=number, duration=duration
    )
    environment.filters["cell"] = _cell
    return front_matter(metadata) + "\n" + environment.get_template(template).render(values)


def front_matter(metadata: CardData, order: Sequence[str] = ()) -> str:
    """The YAML block that a README of the Hub begins with; keys in `order` stand first."""
    return f"---\n{metadata.to_yaml(original_order=list(order) or None)}\n---\n"


def percent(share: float) -> str:
    """0.1234 as 12.3 %."""
    return f"{100 * share:.1f} %"


def number(value: float) -> str:
    """Three significant digits, and never an exponent: 0.0123, 12.3, 28,100."""
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def literal(value: Any) -> str:
    """A Python literal; strings in double quotes."""
    return json.dumps(value, ensure_ascii=False)


def code(text: str) -> str:
    """A code span that no character of `text` can end."""
    ticks = "`" * (_longest_ticks(text) + 1)
    pad = " " if "`" in text else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def fence(text: str, language: str) -> str:
    """A code block that no line of `text` can end."""
    ticks = "`" * max(3, _longest_ticks(text) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def bullets(lines: Sequence[str | None]) -> str:
    """A list of those lines that there is something to say in."""
    return "\n".join(f"- {line}" for line in lines if line)


def _cell(text: Any) -> str:
    """Text inside a table, which a bar would end."""
    return str(text).replace("|", "\\|")


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
