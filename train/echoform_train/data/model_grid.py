"""The size at which enlarged spectrograms are modelled: their native grid, in multiples that networks can halve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoform_train.data.native_grid import native_grid
from echoform_train.data.smooth_grid import FEWEST_CELLS, enough_cells, smooth_cells
from echoform_train.engine.resolution import resolution_of, shown_size

_SMALLEST_SIDE = 96
"""Pixels. Smaller images are modelled as they are: their networks are small."""
_SMALLEST_MODEL = 32
_FEWEST_IMAGES = 8
"""What few images show is no property of the grid."""
_LARGEST_SHARE = 0.8
_MOST_BLOCKS = 0.75
"""The same for blocks: where few pixels are twice, the rate of these may be taken for a multiple of it."""
_ROUNDED = 0.6
"""Cells by which a model may have less than were measured: numbers of cells are found to about half a cell."""


@dataclass(frozen=True)
class ModelGrid:
    """The native grid of enlarged images, and the size at which models see it whole."""

    size: tuple[int, int]
    """Height and width in pixels."""
    note: str
    """What was found and is done, as a line of text."""


def find_model_grid(level: NDArray[np.floating], unit: int) -> ModelGrid | None:
    """Find the size at which enlarged images lose nothing; None if they were not enlarged.

    Args:
        level: Images [N, H, W] of one size and one grid in 0..1, best some tens.
        unit: What must divide height and width of a model's images.
    """
    height, width = level.shape[1:]
    if min(height, width) < _SMALLEST_SIDE or len(level) < _FEWEST_IMAGES:
        return None
    blocks = native_grid(level)
    turned = np.swapaxes(level, 1, 2)
    rows = _cells(blocks.rows, turned)
    columns = _cells(blocks.columns, level)
    if rows is None and columns is None:
        return None
    # An axis without a grid of its own keeps what it shows.
    size = (_side(rows, turned, unit), _side(columns, level, unit))
    if size[0] * size[1] > _LARGEST_SHARE * height * width or size[0] > height or size[1] > width:
        return None
    return ModelGrid(size, _note((rows, columns), (height, width), size))


def _cells(blocks: float | None, level: NDArray[np.floating]) -> float | None:
    """Number of native columns, given the number of blocks that was found, if any."""
    # Blocks of one pixel and some of two are hardly enlarged, but smooth enlargement looks like them now and then.
    certain = blocks is not None and blocks <= _MOST_BLOCKS * level.shape[-1]
    found = blocks if certain else smooth_cells(level, doubtful=blocks is not None)
    return found if found is not None and FEWEST_CELLS <= found <= _LARGEST_SHARE * level.shape[-1] else None


def _side(cells: float | None, level: NDArray[np.floating], unit: int) -> int:
    """Pixels along the width of a model that shows so many native columns whole."""
    if cells is None:
        return max(enough_cells(level, unit), unit * -(-_SMALLEST_MODEL // unit))
    number = unit * int(np.ceil(max(1.0, cells - _ROUNDED) / unit))
    return max(number, unit * -(-_SMALLEST_MODEL // unit))


def _note(cells: tuple[float | None, float | None], drawn: tuple[int, int], size: tuple[int, int]) -> str:
    known = [None if number is None else round(number) for number in cells]
    factors = [None if number is None else pixels / number for number, pixels in zip(known, drawn, strict=True)]
    if known[0] is None or known[1] is None:
        axis, number, factor = ("columns", known[1], factors[1]) if known[0] is None else ("rows", known[0], factors[0])
        other = "rows" if axis == "columns" else "columns"
        found = f"about {number} {axis}, enlarged {factor:.3g} times, and {other} without a grid"
    else:
        scales = " and ".join(dict.fromkeys(f"{factor:.3g}" for factor in factors))
        found = f"about {shown_size(known[0], known[1])} cells, enlarged {scales} times"
    return (
        f"Grid: drawn from {found}: --resolution {resolution_of(*size)} models it whole, and is the default; "
        f"--resolution {resolution_of(*drawn)} models every pixel"
    )
