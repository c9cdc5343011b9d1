"""Drawing of arrays for the page: values in colours, with a colour bar and axes with units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SHOWN_PX = 288
"""Approximate longer side of a small image on the page; it is enlarged by a whole number."""
IMAGE_AT = (56, 24)
"""Left and top of the image inside its frame, in pixels."""
_RIGHT, _BOTTOM, _BAR, _SECOND = 14, 30, 84, 44
_INK, _NOTHING = (40, 40, 48), (150, 150, 150)
# Stops of viridis by Smith and van der Walt (public domain), and of a blue-white-red map.
_DEPTH = (
    *("440154", "482173", "433e85", "38598c", "2d708e", "25858e"),
    *("1e9b8a", "2ab07f", "50c46a", "86d549", "c2df23", "fde725"),
)
_SIGNED = ("2166ac", "67a9cf", "f7f7f7", "ef8a62", "b2182b")


@dataclass(frozen=True)
class Axis:
    """Values at the two ends of an axis."""

    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class Bar:
    """A colour scale: `colors` uint8 [256, 3] from the low to the high end of the axis."""

    axis: Axis
    colors: np.ndarray


def depth_bar(low_mm: float, high_mm: float) -> Bar:
    """Colour scale of depths in millimetres: near is dark, far is light."""
    return Bar(Axis(low_mm, high_mm, "mm"), _table(_DEPTH))


def signed_bar(reach: float, unit: str) -> Bar:
    """Colour scale from -reach (blue) over 0 (white) to reach (red)."""
    return Bar(Axis(-reach, reach, unit), _table(_SIGNED))


def paint(values: np.ndarray, bar: Bar, known: np.ndarray | None = None) -> Image.Image:
    """Paint values [H, W]. Values beyond the ends of the bar get its end colours, unknown pixels are grey."""
    share = (values - bar.axis.low) / (bar.axis.high - bar.axis.low)
    colors = bar.colors[(255 * np.clip(share, 0, 1)).round().astype(int)]
    if known is not None:
        colors = np.where(known[..., None], colors, np.array(_NOTHING, np.uint8))
    return Image.fromarray(colors.astype(np.uint8))


def frame(
    image: Image.Image,
    x: Axis | None = None,
    y: Axis | None = None,
    bar: Bar | None = None,
    right: Axis | None = None,
) -> Image.Image:
    """Put an image on a white page at IMAGE_AT, enlarged without smoothing, with axes (y upwards) and colour bar.

    `right` is the y axis in another unit, at the right of the image.
    """
    factor = max(1, round(SHOWN_PX / max(image.size)))
    stride = math.ceil(max(image.size) / (2 * SHOWN_PX))  # keeps every n-th pixel of a large image
    shown = Image.fromarray(np.asarray(image)[::stride, ::stride])
    shown = shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.NEAREST)
    left, top = IMAGE_AT
    beside = _SECOND if right else 0
    width = left + shown.width + beside + (_BAR if bar else _RIGHT)
    page = Image.new("RGB", (width, top + shown.height + _BOTTOM), "white")
    page.paste(shown, IMAGE_AT)
    draw = ImageDraw.Draw(page)
    if x is not None:
        _draw_x(draw, x, left, top + shown.height, shown.width)
    if y is not None:
        _draw_y(draw, y, left - 1, top, shown.height, outwards=-1)
    if right is not None:
        _draw_y(draw, right, left + shown.width, top, shown.height, outwards=1)
    if bar is not None:
        at = left + shown.width + beside + 10
        strip = Image.fromarray(bar.colors[::-1, None].repeat(12, axis=1))
        page.paste(strip.resize((12, shown.height), Image.Resampling.NEAREST), (at, top))
        _draw_y(draw, bar.axis, at + 12, top, shown.height, outwards=1)
    return page


def ticks(low: float, high: float, at_most: int = 5) -> list[float]:
    """Round numbers between two values, about `at_most` of them."""
    power = 10.0 ** math.floor(math.log10((high - low) / at_most))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= at_most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _draw_x(draw: ImageDraw.ImageDraw, axis: Axis, left: int, bottom: int, length: int) -> None:
    for value in ticks(axis.low, axis.high):
        at = left + round((value - axis.low) / (axis.high - axis.low) * (length - 1))
        draw.line([(at, bottom), (at, bottom + 4)], fill=_INK)
        unit = f" {axis.unit}" if value == ticks(axis.low, axis.high)[-1] else ""
        draw.text((at, bottom + 6), f"{value:g}{unit}", fill=_INK, font=_font(), anchor="ma")


def _draw_y(draw: ImageDraw.ImageDraw, axis: Axis, at: int, top: int, length: int, outwards: int) -> None:
    for value in ticks(axis.low, axis.high):
        row = top + round((axis.high - value) / (axis.high - axis.low) * (length - 1))
        draw.line([(at, row), (at + 4 * outwards, row)], fill=_INK)
        draw.text(
            (at + 7 * outwards, row), f"{value:g}", fill=_INK, font=_font(), anchor="lm" if outwards > 0 else "rm"
        )
    # A long unit on the left begins at the edge of the page, above the image.
    place = (at + 7, 3) if outwards > 0 else (4, 3)
    draw.text(place, axis.unit, fill=_INK, font=_font(), anchor="la")


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(13)


def _table(stops: tuple[str, ...]) -> np.ndarray:
    colors = np.array([list(bytes.fromhex(stop)) for stop in stops], float)
    positions = np.linspace(0, len(stops) - 1, 256)
    return (
        np.stack([np.interp(positions, range(len(stops)), channel) for channel in colors.T], 1).round().astype(np.uint8)
    )
