"""Fonts of figures: names of people may hold characters that the font of matplotlib lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from matplotlib import rc_context, rcParams
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font


@contextmanager
def fonts_for(*texts: str) -> Iterator[Callable[[str], str]]:
    """Let matplotlib take the characters that its font lacks from other installed fonts, inside the block.

    Gives a function that writes the characters which no installed font has by their number, such as `\\u5f20`: a name
    of empty boxes would look like any other.

    Args:
        texts: All that is written in the figure.
    """
    default = _characters(findfont(FontProperties()))
    missing = {letter for text in texts for letter in text if not letter.isspace() and ord(letter) not in default}
    families = list(rcParams["font.family"])
    # Upright fonts of normal weight, those without serifs first; "Last Resort" has a box for each character there is.
    upright = [
        font
        for font in fontManager.ttflist
        if font.style == "normal" and font.weight in (400, "normal") and not font.name.startswith("Last Resort")
    ]
    for font in sorted(upright, key=lambda font: ("sans" not in font.name.lower(), font.name)):
        if not missing:
            break
        if found := {letter for letter in missing if ord(letter) in _characters(font.fname)}:
            families.append(font.name)
            missing -= found
    numbers = {ord(letter): letter.encode("unicode_escape").decode() for letter in missing}
    with rc_context({"font.family": families}):
        yield lambda text: text.translate(numbers)


@cache
def _characters(file: str) -> frozenset[int]:
    """Code points of a font; none if it has bitmaps of one size alone, as fonts of emoji do, which cannot be drawn."""
    try:
        font = FT2Font(file)
        font.set_size(12.0, 72.0)
    except RuntimeError:
        return frozenset()
    return frozenset(font.get_charmap())
