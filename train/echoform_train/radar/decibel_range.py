"""The decibel range of a data set's colours, measured from all of its spectrograms together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from echoform_train.engine.errors import UserError

BACKGROUND_PERCENT = 65.0
BRIGHTEST_PERCENT = 99.0
"""Percentiles of all values that become db_min and db_max; they give simulated spectrograms their fixed range."""

LOWEST_DB = -400.0
"""Levels are clipped to LOWEST_DB..-LOWEST_DB."""


class DecibelHistogram:
    """Counts decibels in hundredths, so that percentiles of a whole data set need none of it in memory."""

    def __init__(self) -> None:
        self._counts = np.zeros(round(-2 * 100 * LOWEST_DB) + 1, np.int64)

    def add(self, levels_db: NDArray[np.floating]) -> None:
        """Count levels of any shape."""
        hundredths = np.rint(100 * (np.clip(levels_db, LOWEST_DB, -LOWEST_DB) - LOWEST_DB)).astype(np.int64)
        self._counts += np.bincount(hundredths.ravel(), minlength=len(self._counts))

    def range_db(self, db_min: float | None, db_max: float | None) -> tuple[float, float]:
        """Levels of the lowest and the highest colour, decibels.

        Args:
            db_min: Level of the lowest colour; None takes BACKGROUND_PERCENT of the counted levels.
            db_max: Level of the highest colour; None takes BRIGHTEST_PERCENT of the counted levels.

        Raises:
            ValueError: If nothing was counted, or the lowest level is not below the highest.
        """
        below = np.cumsum(self._counts)
        if not below[-1]:
            raise UserError("at least one recording must be usable, none is")
        low, high = (
            round(LOWEST_DB + int(np.searchsorted(below, below[-1] * percent / 100)) / 100, 2)
            for percent in (BACKGROUND_PERCENT, BRIGHTEST_PERCENT)
        )
        db_min = low if db_min is None else db_min
        db_max = high if db_max is None else db_max
        if not db_min < db_max:
            raise UserError(f"db_min must be below db_max, they are {db_min} and {db_max}: are the recordings silent?")
        return db_min, db_max
