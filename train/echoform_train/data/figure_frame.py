"""The box of the data inside pictures of whole figures: margins, axes, labels, colour bars and thin rims around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from echoform_train.data.colormap import detect, far_pixels, lookup_table, paint, to_index
from echoform_train.engine.errors import UserError

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, pixels; right and bottom are the first column and row outside."""

CROP_RULE = "auto, none, or LEFT,TOP,RIGHT,BOTTOM in pixels"

_LEAST_PICTURES = 3
"""Fewest pictures among which "the same in all" means something."""
_MOST_PIXELS = 2**24
_SAME = 48
"""Largest difference, RGB units, that JPEG makes of one colour beside others that change."""
_WHITE, _GREYNESS = 225, 16
"""Least value of each channel of paper, and largest difference between its channels."""
_WHITE_FLOOR = 0.2
_LEAST_PANEL = 0.02
_LEAST_VARYING = 0.05
_RIM_FAR = 0.9
_VOTERS = 16
_STROKE, _LEAST_STROKES = 120, 20
"""Difference between neighbours in a row that are the same in all pictures, and fewest of them that show text or axes:
a line along time, such as that of standing objects, has none."""
_SPINE = 3
_BRIGHT, _WHOLE_LINE = 200, 0.98


@dataclass(frozen=True)
class Frame:
    """What surrounds the data in all pictures of a source."""

    box: Box
    """The data."""
    found: str
    """What was found, for messages."""
    pictures: int
    """Number of pictures that were looked at."""


def parse_crop(text: str) -> Box | None:
    """The box that `--crop` names; None for auto and none.

    Raises:
        UserError: If it is something else.
    """
    if text in ("auto", "none"):
        return None
    parts = text.replace(" ", "").split(",")
    if len(parts) != 4 or not all(part.isdecimal() and len(part) < 8 for part in parts):
        raise UserError(f"--crop must be {CROP_RULE}, got {text[:40]!r}")
    left, top, right, bottom = map(int, parts)
    if left >= right or top >= bottom:
        raise UserError(f"--crop must be LEFT,TOP,RIGHT,BOTTOM with LEFT < RIGHT and TOP < BOTTOM, got {text[:40]}")
    return left, top, right, bottom


def crop_text(box: Box) -> str:
    """The box as `--crop` takes it."""
    return ",".join(map(str, box))


def cropped(picture: np.ndarray, box: Box) -> np.ndarray:
    """The part [bottom - top, right - left, ...] of a picture [H, W, ...].

    Raises:
        UserError: If the box reaches beyond the picture.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = box
    if right > width or bottom > height:
        raise UserError(f"--crop {crop_text(box)} reaches beyond the picture of {width} columns and {height} rows")
    return picture[top:bottom, left:right]


def find_frame(pictures: Sequence[np.ndarray], colormap: str | None) -> Frame | None:
    """Find what surrounds the data in all pictures of one size.

    A pixel is outside of the data if it is far from the colour map in most pictures, or if it is white in all of them
    where the data themselves are not white. The data are the largest field of other pixels that changes from picture
    to picture: a colour bar does not.

    Args:
        pictures: uint8 [H, W] or [H, W, 3], all of one shape.
        colormap: Map of most pictures; None if none is known.

    Returns:
        The frame; None if the data fill the pictures.

    Raises:
        UserError: If there are several fields of data.
    """
    if not pictures:
        return None
    step = max(1, -(-len(pictures) * pictures[0].shape[0] * pictures[0].shape[1] // _MOST_PIXELS))
    pictures = [picture if picture.ndim == 3 else picture[..., None] for picture in pictures[::step]]
    low, high = np.minimum.reduce(pictures), np.maximum.reduce(pictures)
    spread = (high.astype(np.int16) - low).max(axis=-1)  # [H, W]
    varying = spread > _SAME
    far = _mostly_far(pictures, colormap)
    several = len(pictures) >= _LEAST_PICTURES
    outside = far
    if several and varying.any():
        grey = (high.astype(np.int16).max(axis=-1) - high.min(axis=-1)) <= _GREYNESS
        paper = ~varying & (low.min(axis=-1) >= _WHITE) & grey
        # JPEG tints the edge of the paper, and the whole of a thin rim.
        paper |= scipy.ndimage.binary_dilation(paper) & (low.max(axis=-1) >= _WHITE)
        paper |= _bright_edges(low)
        # White may be the floor of the data, as in grey maps that go from white to black.
        whitish = np.mean([(picture[varying].min(axis=-1) >= _WHITE).mean() for picture in pictures])
        outside = far | paper if whitish < _WHITE_FLOOR else far
    whole = (0, 0, outside.shape[1], outside.shape[0])
    box, bars = (whole, 0) if outside.all() or not outside.any() else _data_box(~outside, varying, several)
    changes = several and varying.mean() >= _LEAST_VARYING and not _in_its_colours(pictures, colormap)
    told_by = colormap
    if box == whole and changes and _strokes(low, varying) >= _LEAST_STROKES:
        # Paper of a colour that the map has too: a white figure of a map that begins with white, or a dark one.
        paper = np.median([low[0, 0], low[0, -1], low[-1, 0], low[-1, -1]], axis=0)
        outside = ~varying & (np.abs(low - paper).max(axis=-1) <= _GREYNESS)
        box, bars = _data_box(scipy.ndimage.binary_fill_holes(~outside), varying, several)
        box, told_by = _without_spines(box, low, varying, paper), None
    if box == whole:
        return None
    frame = Frame(box, _described(box, outside.shape, told_by, bars), len(pictures))
    if colormap is None and pictures[0].shape[-1] == 3:
        # The map of the data tells their box to the pixel.
        name = _usual_map([cropped(picture, box) for picture in pictures[:_VOTERS]])
        return frame if name is None else find_frame(pictures, name) or frame
    return frame


def rim(picture: np.ndarray, colormap: str) -> str | None:
    """Which outermost row or column of a picture uint8 [H, W, 3] is far from its colour map; None if none is."""
    lines = {
        "first row": picture[0],
        "last row": picture[-1],
        "first column": picture[:, 0],
        "last column": picture[:, -1],
    }
    return next((name for name, line in lines.items() if far_pixels(line, colormap).mean() >= _RIM_FAR), None)


def _usual_map(pictures: Sequence[np.ndarray]) -> str | None:
    """Colour map of most pictures; None if none is known."""
    name, votes = Counter(detect(picture).name for picture in pictures).most_common(1)[0]
    return name if 2 * votes > len(pictures) else None


def _bright_edges(low: np.ndarray) -> np.ndarray:
    """The outermost rows and columns that are bright in all pictures from end to end, bool [H, W]."""
    bright = low.mean(axis=-1) >= _BRIGHT
    edges = np.zeros_like(bright)
    for lines, marked in (
        (bright, edges),
        (bright[::-1], edges[::-1]),
        (bright.T, edges.T),
        (bright.T[::-1], edges.T[::-1]),
    ):
        marked[: np.argmin([*(line.mean() >= _WHOLE_LINE for line in lines[:_SPINE]), False])] = True
    return edges


def _mostly_far(pictures: Sequence[np.ndarray], colormap: str | None) -> np.ndarray:
    """Pixels that are far from the colour map in at least half of the pictures, bool [H, W]."""
    if colormap is None or pictures[0].shape[-1] == 1:
        return np.zeros(pictures[0].shape[:2], dtype=bool)
    counts = np.zeros(pictures[0].shape[:2], dtype=np.int32)
    for picture in pictures:
        counts += far_pixels(picture, colormap)
    return 2 * counts >= len(pictures)


def _in_its_colours(pictures: Sequence[np.ndarray], colormap: str | None) -> bool:
    """Whether every pixel has exactly a colour of the map, which text on paper never has; False for grey maps."""
    if colormap is None or pictures[0].shape[-1] == 1 or np.ptp(lookup_table(colormap), axis=-1).max() == 0:
        return False
    return all((paint(to_index(picture, colormap), colormap) == picture).all() for picture in pictures)


def _strokes(low: np.ndarray, varying: np.ndarray) -> int:
    """Number of neighbours in a row that never change and differ much: text, ticks and axes."""
    contrast = np.abs(np.diff(low.astype(np.int16), axis=1)).max(axis=-1) >= _STROKE
    return int((contrast & ~varying[:, 1:] & ~varying[:, :-1]).sum())


def _without_spines(box: Box, low: np.ndarray, varying: np.ndarray, paper: np.ndarray) -> Box:
    """The box without the outermost lines that never change and are not in the colour of the paper."""
    left, top, right, bottom = box
    drawn = ~varying & (np.abs(low - paper).max(axis=-1) > _SAME)
    for _ in range(_SPINE):
        left += drawn[top:bottom, left].mean() > _RIM_FAR
        right -= drawn[top:bottom, right - 1].mean() > _RIM_FAR
        top += drawn[top, left:right].mean() > _RIM_FAR
        bottom -= drawn[bottom - 1, left:right].mean() > _RIM_FAR
    return int(left), int(top), int(right), int(bottom)


def _data_box(inside: np.ndarray, varying: np.ndarray, several: bool) -> tuple[Box, int]:
    """Box of the data, else of the whole picture; and the number of other large fields, which are colour bars."""
    # Thin lines across the data do not part them; the padding keeps the edges of the picture.
    closed = scipy.ndimage.binary_closing(np.pad(inside, 8), np.ones((7, 7), dtype=bool))[8:-8, 8:-8]
    fields = _labelled(closed)
    sizes = scipy.ndimage.sum_labels(closed, fields, np.arange(1, fields.max() + 1))
    panels = {index + 1: size for index, size in enumerate(sizes) if size >= _LEAST_PANEL * closed.size}
    if not panels:
        return (0, 0, inside.shape[1], inside.shape[0]), 0
    ordered = sorted(panels, key=lambda index: -panels[index])
    changing = [
        index
        for index in ordered
        if not several or (varying & (fields == index)).sum() >= _LEAST_VARYING * panels[index]
    ]
    boxes = [_box_of(fields == index) for index in changing or ordered]
    if several and len(changing) > 1 and 4 * panels[changing[1]] > panels[changing[0]]:
        listed = " or ".join(f"--crop {crop_text(box)}" for box in boxes[:3])
        raise UserError(f"each picture must hold one spectrogram, these hold {len(changing)}: choose one by {listed}")
    return boxes[0], len(panels) - len(changing)


def _labelled(mask: np.ndarray) -> np.ndarray:
    """Number of the connected field of each pixel, int32; 0 outside of all."""
    fields = np.zeros(mask.shape, dtype=np.int32)
    scipy.ndimage.label(mask, output=fields)
    return fields


def _box_of(field: np.ndarray) -> Box:
    """Rows and columns of which a field covers at least half."""
    rows, columns = np.flatnonzero(field.any(axis=1)), np.flatnonzero(field.any(axis=0))
    part = field[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    full_rows, full_columns = (
        (rows[0] + np.flatnonzero(2 * part.mean(axis=1) >= 1)),
        (columns[0] + np.flatnonzero(2 * part.mean(axis=0) >= 1)),
    )
    if not len(full_rows) or not len(full_columns):
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return int(full_columns[0]), int(full_rows[0]), int(full_columns[-1]) + 1, int(full_rows[-1]) + 1


def _described(box: Box, shape: tuple[int, ...], colormap: str | None, bars: int) -> str:
    left, top, right, bottom = box
    sides = {"left": left, "top": top, "right": shape[1] - right, "bottom": shape[0] - bottom}
    listed = ", ".join(f"{side} {pixels}" for side, pixels in sides.items() if pixels)
    what = "axes, labels or margins" if max(sides.values()) > 4 else "a rim"
    what += " and a colour bar" if bars else ""
    colours = "do not change from picture to picture" if colormap is None else f"are not in the colours of {colormap}"
    return f"{what} around the data (pixels: {listed}), which {colours}"
