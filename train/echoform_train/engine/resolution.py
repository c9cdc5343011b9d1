"""Height and width of spectrograms: how they are written and read, and which sizes the levels of models can halve."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from echoform_train.engine.errors import UserError

RULE = "one number for a square, or HEIGHTxWIDTH (Doppler x time) such as 64x128"


def parse_resolution(text: str) -> int | str:
    """The canonical form of a size as a user writes it: 64 for "64" and "64x64", "64x128" for another rectangle.

    Raises:
        UserError: If it is neither one whole number nor two.
    """
    # A number below 1 is refused where its limits are known.
    found = re.fullmatch(r"(-?[0-9]{1,12})(?:[xX×]([0-9]{1,12}))?", text.strip())
    if found is None:
        raise UserError(f"--resolution must be {RULE}, got {text[:40]!r}")
    return resolution_of(int(found[1]), int(found[2] or found[1]))


def resolution_of(height: int, width: int) -> int | str:
    """The canonical form of a size in pixels, which records and facts hold: one number for a square, else a text."""
    return height if height == width else f"{height}x{width}"


def sides_of(resolution: int | str) -> tuple[int, int]:
    """Height and width, in pixels.

    Args:
        resolution: Pixels per side of a square, or a text such as "64x128".

    Raises:
        UserError: If it is something else.
    """
    if isinstance(resolution, bool) or not isinstance(resolution, int | str):
        raise UserError(f"--resolution must be {RULE}, got {str(resolution)[:40]}")
    if isinstance(resolution, str):
        resolution = parse_resolution(resolution)
    if isinstance(resolution, int):
        return resolution, resolution
    height, _, width = resolution.partition("x")
    return int(height), int(width)


def shown_size(height: int, width: int) -> str:
    """A size for messages, such as "64x64", or "64x128 (height x width)" where the two could be confused."""
    return f"{height}x{width}" if height == width else f"{height}x{width} (height x width)"


@dataclass(frozen=True)
class Halving:
    """How often the levels of models halve height and width of images, so that both must be multiples of a number."""

    divisor: int
    """What must divide both sides: 2 to the number of halvings."""
    models: str
    """What halves the images, for the message."""
    proposed_divisor: int
    """What divides the sides that the message proposes: also all that later models halve."""

    def check(self, height: int, width: int) -> None:
        """Check that images of a size can be halved so often.

        Raises:
            UserError: If a side is not a multiple; the message proposes sizes that are.
        """
        if height % self.divisor == 0 and width % self.divisor == 0:
            return
        unit = self.proposed_divisor
        nearest = resolution_of(*(max(1, round(side / unit)) * unit for side in (height, width)))
        above = resolution_of(*(-(-side // unit) * unit for side in (height, width)))
        proposed = f"{nearest}" if nearest == above else f"{nearest} (nearest) or {above} (none smaller)"
        raise UserError(
            f"height and width of the images must be multiples of {self.divisor}, because {self.models} halve them, "
            f"got {shown_size(height, width)}; --resolution {proposed} resizes them"
        )


PRESET_HALVING = Halving(16, "the levels of the models", 16)
"""Of the smallest presets: the first stage halves twice, the denoiser twice more."""


def _parser(optional: bool) -> PrimitiveConstructorSpec[int | str | None]:
    """How the command line reads a size, or, if it is optional, also the word None.

    A text that is no size stays as it is, because the commands refuse it in one sentence, which tyro cannot.
    """

    def parse(words: list[str]) -> int | str | None:
        if optional and words[0] == "None":
            return None
        try:
            return parse_resolution(words[0])
        except UserError:
            return words[0]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT|HxW",
        instance_from_str=parse,
        is_instance=lambda value: isinstance(value, int | str) or (optional and value is None),
        str_from_instance=lambda value: [str(value)],
    )


Resolution = Annotated[int | str, _parser(optional=False)]
"""Type of a setting: pixels per side of a square, or a text such as "64x128", height x width."""
OptionalResolution = Annotated[int | str | None, _parser(optional=True)]
"""The same, or None."""
