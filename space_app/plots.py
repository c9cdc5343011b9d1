"""Pictures with axes, title and colour bar, in the look of `echoform_train.data.figure`.

That function cannot be used here, because a Space installs neither echoform nor matplotlib; this file draws all
pictures of the app.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SHOWN_PX = 768
"""Approximate longer side of an image in its frame: its pixels stay sharp where the frame fills a screen."""
MOST_PX = 1152
"""Of an image with a longer side, every n-th pixel is kept."""
NUMBER_PX, LABEL_PX = 36, 40
"""Heights of text; pages show frames at a third of their size and at their size."""
_EDGE, _LEFT, _BOTTOM, _SECOND, _BAR, _TITLE = 26, 194, 106, 136, 238, 50
_STRIP_PX, _GAP, _TICK = 28, 30, 9
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
    label: str
    """What it shows, with its unit, such as "time, s"."""
    has_numbers: bool = True
    """Whether low and high are known."""


@dataclass(frozen=True)
class Bar:
    """A colour scale: `colors` uint8 [256, 3] from the low to the high end of the axis."""

    axis: Axis
    colors: np.ndarray


def depth_bar(low_mm: float, high_mm: float) -> Bar:
    """Colour scale of depths in millimetres: near is dark, far is light."""
    return Bar(Axis(low_mm, high_mm, "depth, mm"), _table(_DEPTH))


def signed_bar(reach: float, label: str) -> Bar:
    """Colour scale from -reach (blue) over 0 (white) to reach (red)."""
    return Bar(Axis(-reach, reach, label), _table(_SIGNED))


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
    *,
    title: str = "",
) -> Image.Image:
    """Put an image on a white page, enlarged without smoothing, with axes (y upwards) and colour bar.

    Args:
        image: RGB.
        x: Horizontal axis.
        y: Vertical axis, at the left.
        bar: Colour scale.
        right: The y axis in another unit, at the right of the image.
        title: Text above the image.
    """
    shown = enlarged(image)
    left, top = image_at(has_y=y is not None, has_title=bool(title))
    beside = left + shown.width + (_SECOND if right else 0)
    width = beside + (_BAR if bar else _EDGE)
    page = Image.new("RGB", (width, top + shown.height + (_BOTTOM if x else _EDGE)), "white")
    page.paste(shown, (left, top))
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((left, 8), title, fill=_INK, font=_font(LABEL_PX, title, width - left - 8), anchor="la")
    if x is not None:
        _draw_x(draw, x, left, top + shown.height, shown.width)
    if y is not None:
        _draw_y(page, y, left - 1, top, shown.height, outwards=-1, label_at=LABEL_PX // 2 + 8)
    if right is not None:
        _draw_y(page, right, left + shown.width, top, shown.height, outwards=1, label_at=beside - LABEL_PX // 2 - 4)
    if bar is not None:
        at = beside + _GAP
        strip = Image.fromarray(bar.colors[::-1, None].repeat(_STRIP_PX, axis=1))
        page.paste(strip.resize((_STRIP_PX, shown.height), Image.Resampling.NEAREST), (at, top))
        label_at = width - LABEL_PX // 2 - 8
        _draw_y(page, bar.axis, at + _STRIP_PX, top, shown.height, outwards=1, label_at=label_at)
    return page


def image_at(*, has_y: bool, has_title: bool = False) -> tuple[int, int]:
    """Left and top of the image inside its frame, pixels."""
    return (_LEFT if has_y else _EDGE, _EDGE + (_TITLE if has_title else 0))


def enlarged(image: Image.Image) -> Image.Image:
    """An image whose longer side is near SHOWN_PX, enlarged by a whole number without smoothing."""
    factor = max(1, round(SHOWN_PX / max(image.size)))
    stride = math.ceil(max(image.size) / MOST_PX)
    shown = Image.fromarray(np.asarray(image)[::stride, ::stride])
    return shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.NEAREST)


def ticks(low: float, high: float, at_most: int = 5) -> list[float]:
    """Round numbers between two values, about `at_most` of them."""
    power = 10.0 ** math.floor(math.log10((high - low) / at_most))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= at_most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _draw_x(draw: ImageDraw.ImageDraw, axis: Axis, left: int, bottom: int, length: int) -> None:
    for value in _marks(axis, length, 100):
        at = left + round((value - axis.low) / (axis.high - axis.low) * (length - 1))
        draw.line([(at, bottom), (at, bottom + _TICK)], fill=_INK, width=2)
        draw.text((at, bottom + _TICK + 3), f"{value:g}", fill=_INK, font=_font(NUMBER_PX), anchor="ma")
    below = bottom + (NUMBER_PX + 16 if axis.has_numbers else 6)
    font = _font(LABEL_PX, axis.label, length)
    draw.text((left + length // 2, below), axis.label, fill=_INK, font=font, anchor="ma")


def _draw_y(page: Image.Image, axis: Axis, at: int, top: int, length: int, *, outwards: int, label_at: int) -> None:
    draw, anchor = ImageDraw.Draw(page), "lm" if outwards > 0 else "rm"
    for value in _marks(axis, length, 60):
        row = top + round((axis.high - value) / (axis.high - axis.low) * (length - 1))
        draw.line([(at, row), (at + _TICK * outwards, row)], fill=_INK, width=2)
        place = (at + (_TICK + 6) * outwards, row)
        draw.text(place, f"{value:g}", fill=_INK, font=_font(NUMBER_PX), anchor=anchor)
    # Written on a strip of its own, which is then turned upwards.
    font = _font(LABEL_PX, axis.label, page.height)
    strip = Image.new("L", (math.ceil(font.getlength(axis.label)), LABEL_PX + 8), 0)
    ImageDraw.Draw(strip).text((0, strip.height // 2), axis.label, fill=255, font=font, anchor="lm")
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    above = min(max(0, top + (length - turned.height) // 2), page.height - turned.height)
    page.paste(_INK, (label_at - turned.width // 2, above), turned)


def _marks(axis: Axis, length: int, least_px: int) -> list[float]:
    """Values at which an axis of a length in pixels has a number, so far apart that they do not touch."""
    return ticks(axis.low, axis.high, min(5, max(1, length // least_px))) if axis.has_numbers else []


def _font(size: int, text: str = "", longest_px: int = 0) -> ImageFont.FreeTypeFont:
    """The font of a height, or of a smaller one in which a text fits into a length."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow without FreeType has no sizes
    if text and font.getlength(text) > longest_px:
        return _font(max(8, int(size * longest_px / font.getlength(text))))
    return font


def _table(stops: tuple[str, ...]) -> np.ndarray:
    colors = np.array([list(bytes.fromhex(stop)) for stop in stops], float)
    positions = np.linspace(0, len(stops) - 1, 256)
    return (
        np.stack([np.interp(positions, range(len(stops)), channel) for channel in colors.T], 1).round().astype(np.uint8)
    )
