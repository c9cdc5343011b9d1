"""What the readings of a source look like in metres, and hints that their unit, encoding or markers are other ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from echoform_train.depth.sensors import SENSORS, Reading

NUM_VALUES = 65536
_QUANTILES = (0.01, 0.5, 0.99)
_SPIKE = 0.01
"""Share of the readings that one value at the end may hold before it is taken for a marker."""
_FEW_VALUES = 256
_MOSTLY = 0.99
_LOCK = threading.Lock()  # of a sum that takes microseconds


@dataclass(frozen=True)
class DepthStatistics:
    """Counts of the units in all files of a source, before resizing; several threads can share it."""

    counts: Tensor = field(default_factory=lambda: torch.zeros(NUM_VALUES, dtype=torch.int64))
    """Number of pixels of each unit, int64 [65536]; 0 is no reading."""

    def add(self, units: np.ndarray) -> None:
        """Count the units of one image, uint16 of any shape."""
        counts = torch.from_numpy(np.bincount(units.ravel(), minlength=NUM_VALUES))
        with _LOCK:
            self.counts.add_(counts)

    @property
    def readings(self) -> int:
        """Number of pixels with a reading."""
        return int(self.counts[1:].sum())

    def share(self, low: int = 1, high: int = NUM_VALUES - 1) -> float:
        """Share of the pixels with a reading of `low` to `high` units, 0..1."""
        return float(self.counts[low : high + 1].sum() / max(1, self.counts.sum()))

    def near_median_far(self) -> tuple[float, ...]:
        """Units below which 1 %, 50 % and 99 % of the readings lie."""
        below = np.cumsum(self.counts[1:].numpy())
        return tuple(float(1 + np.searchsorted(below, quantile * below[-1])) for quantile in _QUANTILES)

    def describe(self, reading: Reading) -> Iterator[str]:
        """Lines of text: near, median and far in metres, then hints."""
        if not self.readings:
            return
        near, median, far = (f"{one / reading.units_per_mm / 1000:.3g} m" for one in self.near_median_far())
        yield f"Depth in the files: near {near}, median {median}, far {far} (1 %, 50 % and 99 % of the readings)"
        yield from (f"Hint: {hint}" for hint in self._hints(reading))

    def _hints(self, reading: Reading) -> Iterator[str]:
        counts = self.counts.numpy()
        values = np.flatnonzero(counts[1:]) + 1
        shares = counts[values] / self.readings
        # Shifted or rotated bits leave the lowest ones empty.
        for bits in (5, 4, 3, 2, 1) if reading.encoding == "linear" and len(values) > 2 else ():
            step = 2**bits
            if shares[values % step == 0].sum() >= _MOSTLY:
                finer = reading.units_per_mm * step
                yield (
                    f"readings are multiples of {step}: are their bits shifted (--units-per-mm {finer:g}) or rotated "
                    f"(--sensor sunrgbd)?"
                )
                break
        # One value that many pixels share stands for no reading, or for all that is farther.
        for index in (-1, 0):
            if len(values) > 2 and shares[index] > _SPIKE and shares[index] > 5 * shares[1 if index == 0 else -2]:
                value = int(values[index])
                end = "largest" if index else "smallest"
                what = f"{value}, the {end} value, holds {shares[index]:.1%} of the readings"
                raw = " (raw disparity of a Kinect: --sensor kinect-raw)" if value == 2047 else ""
                yield f"{what}: if it means no reading, say --invalid-values {value}{raw}"
        if len(values) < _FEW_VALUES:
            yield f"readings have only {len(values)} values: were they 8 bits, or metres in whole numbers?"


def sensor_line(reading: Reading) -> str:
    """One line of text: how stored numbers are read and resized."""
    unit = f"{reading.units_per_mm:g} {'unit' if reading.units_per_mm == 1 else 'units'} per millimetre"
    known = {name: sensor for name, sensor in SENSORS.items() if sensor.encoding == reading.encoding != "linear"}
    encoding = "".join(f", {sensor.about}" for sensor in known.values())
    floats = "" if reading.float_unit is None else f", floating point in {reading.float_unit}"
    return f"{unit}{encoding}{floats}"
