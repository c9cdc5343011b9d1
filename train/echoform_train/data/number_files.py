"""Spectrograms as numbers (arrays of decibels, power or amplitude, pictures of 16 bits) as 256 levels of a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from echoform_train.data.image_check import MAX_PIXELS, BadFile, BadFileError
from echoform_train.data.layout import ARRAYS
from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.array_files import read_array
from echoform_train.engine.errors import UserError

ARRAY_SUFFIXES = ARRAYS.suffixes
LEVELS = 256

_SAMPLED = 4096
_LOW_PERCENT, _HIGH_PERCENT, _MOST_DB = 1.0, 99.9, 80.0
_HIGHEST_16_BIT = 65535
_LARGEST_DB = 400.0
_LEAST_DB_SPAN = 10.0
_LINEAR_RATIO = 100.0
_MOST_ABOVE, _MOST_BELOW = 0.5, 0.99
_EDGE_EXCESS = 0.15


@dataclass(frozen=True)
class NumberScale:
    """How the numbers of a source become shares of its scale, 0..1."""

    values: Literal["db", "power", "amplitude", "scalar"]
    low: float
    high: float
    """Decibels, or plain numbers of a scalar, of share 0 and 1."""
    first_row: Literal["highest", "lowest", "zero"]
    axes: Mapping[str, float]
    """db_min and db_max; empty for a scalar of unknown unit."""
    note: str
    """What was found and is kept, as a line of text."""

    @property
    def described(self) -> str:
        """The scale as one text, which is equal for equal scales."""
        unit = f" ({self.axes['db_min']:g} to {self.axes['db_max']:g} dB)" if self.axes else ""
        return f"{self.values} {self.low!r} to {self.high!r}{unit}, first row {self.first_row}"

    def shares(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers [H, W] as shares of the scale, float32 [H, W], row 0 the highest Doppler."""
        scaled = (_in_unit(numbers, self.values) - self.low) / (self.high - self.low)
        return np.clip(_highest_first(scaled, self.first_row), 0, 1).astype(np.float32)

    def levels(self, numbers: np.ndarray, height: int, width: int) -> np.ndarray:
        """Numbers [H, W] as levels uint8 [1, height, width]: resized as numbers, then rounded to 256 levels."""
        shares = self.shares(numbers)
        if shares.shape != (height, width):
            whole = shares.shape[0] % height == 0 and shares.shape[1] % width == 0
            method = Image.Resampling.BOX if whole else Image.Resampling.BICUBIC
            shares = np.asarray(Image.fromarray(shares).resize((width, height), method))
        return np.rint((LEVELS - 1) * np.clip(shares, 0, 1)).astype(np.uint8)[None]


def read_numbers(path: Path, file: str, variable: str | None) -> np.ndarray:
    """Read the array of a file.

    Returns:
        Finite real numbers [H, W], float32 or integers.

    Raises:
        BadFileError: If the file holds no such array.
    """
    try:
        array = np.asarray(read_array(path, variable))
    except UserError as error:
        raise BadFileError(BadFile(file, str(error).replace("--mat-variable", "--variable"))) from error
    return checked_numbers(array, file)


def checked_numbers(array: np.ndarray, file: str) -> np.ndarray:
    """The numbers of one spectrogram, float32 or integers [H, W], without axes of length 1.

    Raises:
        BadFileError: If they are complex, not finite, of another shape, or too many.
    """
    shape = " x ".join(map(str, array.shape)) or "a single number"
    if np.iscomplexobj(array):
        reason = f"a spectrogram must be real, it is complex ({shape}): `echoform prepare --from-iq` reads samples"
        raise BadFileError(BadFile(file, reason))
    if array.dtype.kind not in "iuf":
        raise BadFileError(BadFile(file, f"an array must hold real numbers, its dtype is {array.dtype}"))
    if array.ndim > 2:
        array = array.squeeze()
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        reason = f"an array must be [Doppler, time], it is {shape}, a picture in colours: save it as PNG"
        raise BadFileError(BadFile(file, reason))
    if array.ndim != 2 or min(array.shape) < 2:
        raise BadFileError(BadFile(file, f"an array must be one spectrogram, [Doppler, time], it is {shape}"))
    if array.size > MAX_PIXELS:
        raise BadFileError(BadFile(file, f"an array must hold at most {MAX_PIXELS:,} numbers, it is {shape}"))
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if bad := int((~np.isfinite(array)).sum()):
        reason = f"numbers must be finite, {bad} of {array.size} are NaN or infinite (the decibels of power 0 are)"
        raise BadFileError(BadFile(file, reason))
    return array


def choose_scale(
    arrays: Sequence[np.ndarray], file: str, reading: ReadingConfig, axes: Mapping[str, float] | None, *, pictures: bool
) -> NumberScale:
    """Decide what the numbers of a source are, and which range of them models see.

    Args:
        arrays: Numbers [H, W] of a sample of its files.
        file: One of them, for messages.
        reading: The flags.
        axes: Content of axes.json.
        pictures: Whether they are pictures of 16 bits or more, not arrays.

    Raises:
        UserError: If it cannot be told and no flag says it, or a range does not fit the numbers.
    """
    sample = np.concatenate([array.ravel()[:: max(1, array.size // _SAMPLED) | 1] for array in arrays])
    whole = pictures and sample.dtype.kind in "iu"
    known_db = reading.levels_db() or _range_of(axes)
    spread = f"{sample.min():.4g} to {sample.max():.4g}, median {np.median(sample):.4g}"
    if whole and reading.values in ("auto", "db"):
        if known_db is None and reading.values == "db":
            raise UserError("--values db of 16-bit pictures needs --db-range: the decibels of 0 and of 65535")
        return _scale_of_pictures(arrays, sample, reading, known_db, spread)
    values = reading.values if reading.values != "auto" else _guess(sample, file, spread, whole)
    in_unit = _in_unit(sample[sample > 0] if values in ("power", "amplitude") else sample, values)
    if in_unit.size == 0:
        raise UserError(f"{values} must be above 0, the numbers are {spread}")
    if values == "scalar":
        if reading.db_range is not None:
            raise UserError("--db-range is for decibels, it must go without --values scalar")
        low, high, source = float(in_unit.min()), float(in_unit.max()), "the least and the largest of all numbers"
    elif known_db is not None:
        (low, high), source = known_db, "--db-range" if reading.db_range else "axes.json"
    else:
        low, high = (float(np.percentile(in_unit, percent)) for percent in (_LOW_PERCENT, _HIGH_PERCENT))
        low, source = max(low, high - _MOST_DB), f"{_LOW_PERCENT:g} and {_HIGH_PERCENT:g} % of the values"
        low, high = round(low, 2), round(high, 2)
    if not low < high:
        raise UserError(f"spectrograms must vary, all numbers of {file} and others are {spread}")
    above, below = float((in_unit > high).mean()), float((in_unit < low).mean())
    if values != "scalar" and (above > _MOST_ABOVE or below > _MOST_BELOW):
        raise UserError(
            f"{source} must hold the decibels of the files, of which {100 * above:.3g} % lie above {high:g} and "
            f"{100 * below:.3g} % below {low:g} (the numbers are {spread}): is --values {values} right? --db-range "
            "names another range"
        )
    unit = "" if values == "scalar" else " dB"
    first_row = _first_row(arrays, reading, pictures)
    note = (
        f"Numbers: {_NAMES[values]} ({spread}); levels from {low:g} to {high:g}{unit} ({source}), "
        f"{100 * (above + below):.2g} % of the values lie outside; first row: {_ROWS[first_row]}; kept as {LEVELS} "
        f"levels of {(high - low) / (LEVELS - 1):.2g}{unit}"
    )
    range_db = {} if values == "scalar" else {"db_min": low, "db_max": high}
    return NumberScale(values, low, high, first_row, range_db, note)


_NAMES = {
    "db": "decibels",
    "power": "power, taken as 10 log10",
    "amplitude": "amplitude, taken as 20 log10",
    "scalar": "a scalar of unknown unit, without decibels",
}
_ROWS = {"highest": "highest Doppler", "lowest": "lowest Doppler", "zero": "Doppler 0"}


def _scale_of_pictures(
    arrays: Sequence[np.ndarray],
    sample: np.ndarray,
    reading: ReadingConfig,
    known_db: tuple[float, float] | None,
    spread: str,
) -> NumberScale:
    """The scale of 16-bit pictures: from 0 to 65535, where decibels are known; else from the least to the largest."""
    first_row = _first_row(arrays, reading, pictures=True)
    if known_db is None:
        low, high = float(sample.min()), float(sample.max())
        kept = f"a scalar of unknown unit, kept as {LEVELS} levels; --db-range gives the decibels of 0 and 65535"
        described: dict[str, float] = {}
    else:
        low, high = 0.0, float(_HIGHEST_16_BIT)
        share = (float(sample.max()) - float(sample.min())) / high
        step = (known_db[1] - known_db[0]) / (LEVELS - 1)
        kept = f"0 is {known_db[0]:g} dB and 65535 is {known_db[1]:g} dB, kept as {LEVELS} levels of {step:.2g} dB"
        if share < 0.25:
            kept += f", of which only {max(1, round(share * LEVELS))} are used: is that the range of 0 to 65535?"
        described = {"db_min": known_db[0], "db_max": known_db[1]}
    if not low < high:
        raise UserError(f"spectrograms must vary, all numbers of the pictures are {spread}")
    note = f"Numbers: pictures of 16 bits ({spread}); {kept}; first row: {_ROWS[first_row]}"
    return NumberScale("scalar", low, high, first_row, described, note)


def _guess(sample: np.ndarray, file: str, spread: str, whole: bool) -> Literal["db", "scalar"]:
    """What numbers are, where they leave no doubt."""
    low, high, median = float(sample.min()), float(sample.max()), float(np.median(sample))
    flag = "--values db, power, amplitude or scalar says what they are"
    if sample.dtype.kind in "iu":
        raise UserError(
            f"arrays of whole numbers ({sample.dtype}) may be anything, {file} and others are {spread}; {flag}"
        )
    if low < 0:
        if high - low >= _LEAST_DB_SPAN and low >= -_LARGEST_DB and high <= _LARGEST_DB:
            return "db"
        raise UserError(f"numbers of {file} and others ({spread}) do not look like decibels, but normalised; {flag}")
    # Ten times as much is next to nothing for power, and much for decibels.
    if low >= 1 and high <= _LARGEST_DB and high <= _LEAST_DB_SPAN * low and high - low >= _LEAST_DB_SPAN:
        return "db"
    likely = "power or amplitude" if high >= _LINEAR_RATIO * max(median, 1e-30) else "decibels, amplitude or a share"
    raise UserError(f"numbers of {file} and others ({spread}) may be {likely}; {flag}")


def _range_of(axes: Mapping[str, float] | None) -> tuple[float, float] | None:
    axes = axes or {}
    return (axes["db_min"], axes["db_max"]) if axes.keys() >= {"db_min", "db_max"} else None


def _in_unit(numbers: np.ndarray, values: str) -> np.ndarray:
    """Decibels of numbers, or the numbers themselves; those that are 0 or less become very low decibels."""
    if values not in ("power", "amplitude"):
        return numbers.astype(np.float32)
    factor = 10 if values == "power" else 20
    return (factor * np.log10(np.maximum(numbers.astype(np.float64), 1e-300))).astype(np.float32)


def _highest_first(numbers: np.ndarray, first_row: str) -> np.ndarray:
    if first_row == "zero":
        numbers = np.fft.fftshift(numbers, axes=0)
    return numbers if first_row == "highest" else numbers[::-1]


def _first_row(arrays: Sequence[np.ndarray], reading: ReadingConfig, pictures: bool) -> Any:
    """Doppler of the first row; asks where it seems to be that of a Fourier transform without fftshift."""
    if reading.first_row != "auto":
        return reading.first_row
    usual = "highest" if pictures else "lowest"
    same = [array for array in arrays if array.shape == arrays[0].shape]
    rows = np.mean([array.mean(axis=1) for array in same], axis=0)
    span = float(np.ptp(rows))
    edge = max(1, len(rows) // 8)
    middle = rows[len(rows) // 2 - edge : len(rows) // 2 + edge].mean()
    if span and len(rows) >= 16 and min(rows[:edge].mean(), rows[-edge:].mean()) - middle > 0.5 * span:
        raise UserError(
            "the first and the last rows are the strongest and the middle rows the weakest, as in a Fourier transform "
            f"that was not shifted: --first-row zero shifts it, --first-row {usual} takes it as it is"
        )
    return usual
