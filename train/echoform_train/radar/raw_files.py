"""Files of 16-bit numbers without a header: `adc_data.bin` of TI's DCA1000 capture card, and I Q I Q.

The orders of the DCA1000 are those of TI's application report SWRA581. With two lanes the samples of one receiver
follow those of another and come as I I Q Q; with four lanes each lane belongs to one receiver, and every sample comes
as four I, then four Q, whether or not all receivers are on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoform_train.engine.errors import UserError
from echoform_train.radar.chirp_config import Lanes
from echoform_train.radar.stored_samples import MAX_CUBE_SAMPLES

_WORD = np.dtype("<i2")
_LANES = 4


@dataclass(frozen=True, kw_only=True)
class CaptureLayout:
    """What a DCA1000 file holds."""

    receivers: int
    transmitters: int
    samples: int
    """Samples of one chirp and receiver."""
    lanes: Lanes
    chirps: int | None = None
    """Chirps of one transmitter in a frame; None: the file is one row of chirps."""
    is_complex: bool = True

    def __post_init__(self) -> None:
        if self.lanes == 4 and self.receivers > _LANES:
            raise UserError(f"--rx must be in 1..4 with four lanes, got {self.receivers}")
        if self.lanes == 2 and self.is_complex and self.samples % 2:
            raise UserError(f"--samples must be even with two lanes, which store I I Q Q, got {self.samples}")

    @property
    def channels(self) -> int:
        """Pairs of transmitter and receiver."""
        return self.transmitters * self.receivers

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of what `read_capture` returns."""
        return (
            *(("frames",) if self.chirps else ()),
            "chirps",
            *(("receivers",) if self.channels > 1 else ()),
            "samples",
            *(("iq",) if self.is_complex else ()),
        )


def read_capture(path: Path, layout: CaptureLayout, channel: int | None = None) -> NDArray[np.int16]:
    """Read a DCA1000 file.

    Args:
        path: The file.
        layout: What it holds.
        channel: Pair of transmitter and receiver to read, 1 is the first receiver of the first transmitter, then come
            the other receivers; None reads all.

    Returns:
        int16 with the axes of `layout`; of one channel, without the axis receivers.

    Raises:
        UserError: If the size of the file is no multiple of a frame (or of a chirp of all transmitters).
    """
    parts = 2 if layout.is_complex else 1
    stored = layout.receivers if layout.lanes == 2 else _LANES
    factors = {
        **({"chirps": layout.chirps} if layout.chirps else {}),
        "transmitters": layout.transmitters,
        "receivers" if layout.lanes == 2 else "lanes": stored,
        "samples": layout.samples,
        "bytes": 2 * parts,
    }
    rows = _rows(path, factors, "frame" if layout.chirps else "chirp of every transmitter")
    lead = (rows, layout.chirps) if layout.chirps else (rows,)
    if channel is not None and not 1 <= channel <= layout.channels:
        raise UserError(f"receiver must be in 1..{layout.channels} (transmitters x receivers), got {channel}")
    words = np.memmap(path, _WORD, mode="r")
    if layout.lanes == 2:
        shape = (layout.samples // 2, 2, 2) if layout.is_complex else (layout.samples,)
        array = words.reshape(*lead, layout.channels, *shape)
        if channel is not None:
            array = array.take([channel - 1], axis=len(lead))
        _check_count(array.size // parts, layout)
        if layout.is_complex:  # [..., pair, I or Q, first or second] becomes [..., sample, I or Q]
            array = array.swapaxes(-1, -2).reshape(*array.shape[: len(lead) + 1], layout.samples, 2)
    else:
        array = words.reshape(*lead, layout.transmitters, layout.samples, parts, _LANES)
        if channel is not None:
            transmitter, receiver = divmod(channel - 1, layout.receivers)
            array = array[..., transmitter : transmitter + 1, :, :, receiver : receiver + 1]
        else:
            array = array[..., : layout.receivers]
        _check_count(array.size // parts, layout)
        array = np.moveaxis(array, -1, len(lead) + 1)  # [..., transmitter, receiver, sample, I or Q]
        array = array.reshape(*lead, -1, layout.samples, parts)
        array = array if layout.is_complex else array[..., 0]
    array = np.ascontiguousarray(array)
    return array[(slice(None),) * len(lead) + (0,)] if array.shape[len(lead)] == 1 else array


def read_pairs(path: Path, axes: Sequence[str], lengths: Mapping[str, int]) -> NDArray[np.int16]:
    """Read a file of I Q I Q.

    Args:
        path: The file.
        axes: Names of its axes, the first of which changes slowest.
        lengths: Length of every axis but the first.

    Returns:
        int16 [*axes, 2], memory-mapped.

    Raises:
        UserError: If a length is missing, or the size of the file is no multiple of them all.
    """
    missing = [name for name in axes[1:] if name not in lengths]
    if missing:
        flag = {"samples": "--samples", "receivers": "--rx", "chirps": "--chirps"}.get(missing[0])
        if flag is None:
            raise UserError(f"the axis {missing[0]} of an int16 file must come first in --axes, got {' '.join(axes)}")
        raise UserError(f"an int16 file with the axes {' '.join(axes)} needs {flag}, the length of {missing[0]}")
    factors = {name: lengths[name] for name in axes[1:]} | {"bytes": 4}
    rows = _rows(path, factors, axes[0].removesuffix("s") if len(axes) > 1 else "sample")
    return np.memmap(path, _WORD, mode="r").reshape(rows, *(lengths[name] for name in axes[1:]), 2)


def _rows(path: Path, factors: Mapping[str, int], unit: str) -> int:
    """Number of units in a file, from its size alone.

    Raises:
        UserError: If it holds none, or a part of one.
    """
    if not path.is_file():
        raise UserError("it must be a regular file; it is a folder, a pipe, a device or a link to nothing")
    size, unit_bytes = path.stat().st_size, math.prod(factors.values())
    rows, rest = divmod(size, unit_bytes)
    if rest or not rows:
        product = " x ".join(f"{count} {name}" for name, count in factors.items())
        hint = "; parts of one capture must be joined first" if re.search(r"_[1-9]\d*$|_Raw_0$", path.stem) else ""
        raise UserError(
            f"its size must be a multiple of one {unit}, {product} = {unit_bytes:,} bytes; its {size:,} bytes are "
            f"{rows:,} of them and {rest:,} bytes{hint}"
        )
    return rows


def _check_count(samples: int, layout: CaptureLayout) -> None:
    if samples > MAX_CUBE_SAMPLES:
        channels = f"; --receiver 1 reads one of its {layout.channels} channels" if layout.channels > 1 else ""
        raise UserError(
            f"a capture must hold at most {MAX_CUBE_SAMPLES:,} samples, this one holds {samples:,}{channels}; long "
            "recordings can be cut"
        )
