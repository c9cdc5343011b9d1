"""Fill the templates of the cards, and write numbers, names and commands as Markdown."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from huggingface_hub import CardData


def render(template: str, metadata: CardData, values: Mapping[str, Any]) -> str:
    """Write a README: the metadata as a YAML block, then the filled template.

    Args:
        template: Name of a file in templates/.
        metadata: Front matter of the README.
        values: Values that the template prints; it raises an error if it needs one that is not there.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("echoform_cards"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the output is Markdown
    )
    environment.filters.update(
        code=code,
        fence=fence,
        literal=literal,
        text=text,
        bullets=bullets,
        percent=percent,
        number=number,
        duration=duration,
    )
    environment.filters["cell"] = _cell
    return front_matter(metadata) + "\n" + environment.get_template(template).render(values)


def front_matter(metadata: CardData, order: Sequence[str] = ()) -> str:
    """The YAML block at the start of a README; keys in `order` come first."""
    return f"---\n{metadata.to_yaml(original_order=list(order) or None)}\n---\n"


def percent(share: float) -> str:
    """A share in percent: 0.1234 becomes 12.3 %."""
    return f"{100 * share:.1f} %"


def number(value: float) -> str:
    """A number with three significant digits and no exponent: 0.0123, 12.3, 28,100."""
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours, depending on its length."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def literal(value: Any) -> str:
    """A value as a Python literal, strings in double quotes."""
    return json.dumps(value, ensure_ascii=False)


def text(value: Any) -> str:
    """A name as text of one line, in which nothing is markup: no HTML, link, emphasis or code."""
    # At the start of a line, more characters are markup: headings, quotations, rules and lists.
    return re.sub(r"([\\`*\[\]]|<(?=[A-Za-z/!?])|^[#>~=]|^[-+](?=[- ]|$))", r"\\\1", _in_one_line(value).strip())


def code(value: Any) -> str:
    """Text as a code span of one line, with enough backticks around it that none inside ends the span."""
    line = _in_one_line(value)
    ticks = "`" * (_longest_ticks(line) + 1)
    pad = " " if "`" in line else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def fence(content: str, language: str) -> str:
    """Text as a code block, with enough backticks around it that none inside ends the block."""
    ticks = "`" * max(3, _longest_ticks(content) + 1)
    return f"{ticks}{language}\n{content}\n{ticks}"


def bullets(lines: Sequence[str | None]) -> str:
    """A list of the lines that are not empty."""
    return "\n".join(f"- {line}" for line in lines if line)


def _cell(value: Any) -> str:
    """Text in the cell of a table; bars are escaped, because they would end the cell."""
    return text(value).replace("|", "\\|")


def _in_one_line(value: Any) -> str:
    """Text without line breaks and other characters that cannot be seen, each of which would become a space."""
    return "".join(one if unicodedata.category(one)[0] not in "CZ" else " " for one in str(value))


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
