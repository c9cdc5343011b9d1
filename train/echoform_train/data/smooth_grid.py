"""The native grid of spectrograms that were enlarged smoothly, from what a coarser grid cannot show of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import median_filter

FEWEST_CELLS = 12
"""Smallest number of rows or columns that is looked for."""
_LARGEST_SHARE = 0.8
"""Largest number of cells per pixel: less enlargement is not worth a grid of its own."""
_LONGEST_SIDE = 640
"""Longer sides are not searched: the time grows with the third power."""
_ROUNDING = 0.3
"""Mean square of what rounding to 256 levels adds, in squared levels; losses below it say nothing."""
_DIP = 0.3
"""A grid is one if its loss lies below that of the grids with two cells more or less by this natural logarithm."""
_DIP_OF_DIVISOR = 0.9
"""The same for numbers that divide the width, at which smooth images without a grid lose less as well."""
_NEIGHBOUR = 2
_CLEAR = 3.4
"""Edges of soft blocks count if the strength of their rate exceeds the median strength around it by this factor."""
_LOSS_OF_HALF = 1.8
"""A grid of half as many cells must lose more by this factor: shrunk images have regular distances as well."""
_STEP = 0.25
_AROUND = 20
_LEAK = 2.3
"""How far, in cells, a regular distance shows at other rates."""
_LONGEST_TREND = 15
_WIDEST_SOFT_BLOCK = 8
"""Pixels; wider regular distances than this come from what the images show."""
_JPEG_BLOCK = 16
"""Pixels: blocks of JPEG, twice as large where it halves the resolution of colours."""

Array = NDArray[np.float64]


def smooth_cells(level: NDArray[np.floating], *, doubtful: bool = False) -> float | None:
    """Number of native columns in the width of images that were enlarged smoothly; None if no number stands out.

    An image that was enlarged from n cells is a weighted sum of n kernels: shrinking it to n cells and enlarging it
    again loses nothing; with a few cells less or more the kernels do not fit, and something is lost. Where blocks
    were drawn and then resized, no kernel fits, but neighbouring pixels still differ at regular distances.

    Args:
        level: Images [N, H, W] of one size and one grid in 0..1, best some tens.
        doubtful: Whether only a number that stands out far is taken.
    """
    width = level.shape[-1]
    if not 2 * FEWEST_CELLS <= width <= _LONGEST_SIDE:
        return None
    moments = second_moments(level)
    numbers = np.arange(FEWEST_CELLS - _NEIGHBOUR, int(_LARGEST_SHARE * width) + _NEIGHBOUR + 1)
    divides = width % numbers[_NEIGHBOUR:-_NEIGHBOUR] == 0
    least = np.where(divides | doubtful, _DIP_OF_DIVISOR, _DIP)
    best_dip, best = 0.0, None
    for enlarge in _KERNELS:
        loss = np.log([lost(moments, enlarge(int(number), width)) + _ROUNDING for number in numbers])
        inner = loss[_NEIGHBOUR:-_NEIGHBOUR]
        dips = np.minimum(loss[: -2 * _NEIGHBOUR], loss[2 * _NEIGHBOUR :]) - inner
        dips[dips < least] = 0
        index = int(np.argmax(dips))
        if dips[index] > best_dip:
            best_dip, best = float(dips[index]), float(numbers[index + _NEIGHBOUR])
    return soft_blocks(level) if best is None and not doubtful else best


def second_moments(level: NDArray[np.floating]) -> Array:
    """Mean products of columns [W, W] of images [N, H, W] in 0..1, in squared levels of 0..255."""
    rows = 255 * np.asarray(level, np.float64).reshape(-1, level.shape[-1])
    rows -= rows.mean()
    return rows.T @ rows / len(rows)


def lost(moments: Array, enlarge: Array) -> float:
    """Mean square, in squared levels per pixel, of what no image on a coarser grid shows once it is enlarged.

    Args:
        moments: See `second_moments`, [W, W].
        enlarge: Matrix that enlarges n cells to W pixels, [W, n].
    """
    basis = np.linalg.qr(enlarge)[0]
    return max(0.0, float(np.trace(moments) - np.sum((basis.T @ moments) * basis.T)) / len(moments))


def enough_cells(level: NDArray[np.floating], unit: int) -> int:
    """Smallest multiple of `unit` columns that shows all of the images but what rounding adds; at most their width."""
    width = level.shape[-1]
    moments = second_moments(level)
    for number in range(unit, width, unit):
        if lost(moments, _resized(Image.Resampling.BICUBIC)(number, width)) < 2 * _ROUNDING:
            return number
    return width


def _resized(method: Image.Resampling) -> Callable[[int, int], Array]:
    """Matrix [W, n] by which Pillow enlarges n cells to W pixels."""

    def matrix(number: int, width: int) -> Array:
        cells = Image.fromarray(np.eye(number, dtype=np.float32))
        return np.asarray(cells.resize((width, number), method), np.float64).T

    return matrix


def _lines_between_ends(number: int, width: int) -> Array:
    """Linear interpolation whose first and last cells are the first and last pixels, as plotting programs have it."""
    place = np.linspace(0, number - 1, width)
    left = np.minimum(place.astype(int), number - 2)
    matrix, pixels = np.zeros((width, number)), np.arange(width)
    matrix[pixels, left] = 1 - (place - left)
    matrix[pixels, left + 1] = place - left
    return matrix


_KERNELS: tuple[Callable[[int, int], Array], ...] = (
    _resized(Image.Resampling.BILINEAR),
    _resized(Image.Resampling.BICUBIC),
    _resized(Image.Resampling.LANCZOS),
    _lines_between_ends,
)


def soft_blocks(level: NDArray[np.floating]) -> float | None:
    """Number of columns of images whose cells were drawn as blocks and resized smoothly afterwards."""
    number, strength = clearest_rate(level)
    if strength < _CLEAR:
        return None
    moments, enlarge, width = second_moments(level), _resized(Image.Resampling.BICUBIC), level.shape[-1]
    whole, half = (lost(moments, enlarge(round(cells), width)) for cells in (number, number / 2))
    return number if half >= _LOSS_OF_HALF * whole else None


def clearest_rate(level: NDArray[np.floating]) -> tuple[float, float]:
    """The number of columns at whose rate neighbours differ most regularly, and how far it exceeds rates around it."""
    width = level.shape[-1]
    numbers = np.arange(width / _WIDEST_SOFT_BLOCK, 0.45 * width, _STEP)
    # Distances of JPEG's own blocks, and of its halved colours, are no cells.
    unit = width / _JPEG_BLOCK
    foreign = np.abs(numbers / unit - np.round(numbers / unit)) * unit < _LEAK
    relative = []
    for order in (1, 2):
        strength = np.array(list(_strengths(level, order, numbers)))
        around = median_filter(strength, round(_AROUND / _STEP) | 1, mode="reflect")
        relative.append(np.where(foreign, 0, strength / np.maximum(around, 1e-9)))
    both = np.minimum(*relative)
    best = int(np.argmax(both))
    return float(numbers[best]), float(both[best])


def _strengths(level: NDArray[np.floating], order: int, numbers: Array) -> Iterator[float]:
    """How regularly differences of an order come along the width, for each number of cells."""
    differences = np.abs(np.diff(level, order, axis=-1)).mean(axis=(0, 1))
    trend = np.maximum(median_filter(differences, _LONGEST_TREND), 1e-4)
    relative = np.clip(differences / trend - 1, -1, 3)
    relative = (relative - relative.mean()) * np.hanning(len(relative))
    for number in numbers:
        yield float(np.abs(np.exp(-2j * np.pi * number * np.arange(len(relative)) / level.shape[-1]) @ relative))
