"""Arrays of numbers in `.mat` files of MATLAB's versions 5 to 7, with every length checked against the file.

scipy's reader believes what such a file says, and a damaged one ends the process. The format is that of "MAT-File
Format" of The MathWorks: a header of 128 bytes, then elements of a type, a length and data, some of them in matrices.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER_BYTES = 128
_HEAD_BYTES = 2**12  # flags, shape and name of a matrix lie in the first bytes of its element
_MATRIX, _COMPRESSED = 14, 15
_MOST_AXES = 32

_CLASSES = {
    6: "double", 7: "single", 8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32", 13: "uint32",
    14: "int64", 15: "uint64",
}  # fmt: skip
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_COMPLEX, _LOGICAL = 0x0800, 0x0200


@dataclass(frozen=True, kw_only=True)
class Mat5Array:
    """An array of numbers in a file, not read yet."""

    shape: tuple[int, ...]
    kind: str
    """Class of its numbers in MATLAB, which is also the name of a numpy dtype."""
    is_complex: bool
    order: str
    """Order of bytes, "<" or ">"."""
    start: int
    """Place of its element's data in the file, bytes."""
    length: int
    is_compressed: bool
    head: int
    """Bytes before its numbers, in the data."""

    @property
    def numbers_bytes(self) -> int:
        """Size of its numbers, real and imaginary."""
        return math.prod(self.shape) * np.dtype(self.kind).itemsize * (2 if self.is_complex else 1)


def find_arrays(path: Path) -> dict[str, Mat5Array]:
    """Arrays of numbers at the top of a file, by name; other variables (text, cells, structures ...) are left out.

    Raises:
        ValueError, struct.error, zlib.error: If an element reaches beyond the file, or a matrix is malformed.
    """
    found: dict[str, Mat5Array] = {}
    size = path.stat().st_size
    with path.open("rb") as file:
        order = "<" if file.read(_HEADER_BYTES)[-2:] == b"IM" else ">"
        place = _HEADER_BYTES
        while place + 8 <= size:
            file.seek(place)
            kind, length = struct.unpack(f"{order}II", file.read(8))
            start, place = place + 8, place + 8 + length
            if place > size:
                raise ValueError("an element reaches beyond the end of the file")
            if kind not in (_MATRIX, _COMPRESSED):
                continue
            head = file.read(min(length, _HEAD_BYTES))
            # A compressed element unfolds to one matrix, with its type and length.
            if kind == _COMPRESSED:
                head = zlib.decompressobj().decompress(head, _HEAD_BYTES)
                if struct.unpack_from(f"{order}I", head)[0] != _MATRIX:
                    continue
            named = _parse_head(head, order, start, length, is_compressed=kind == _COMPRESSED)
            if named is not None:
                found[named[0]] = named[1]
    return found


def read_array(path: Path, array: Mat5Array) -> NDArray[Any]:
    """Read the numbers of an array, with its axes in the order of MATLAB's `size()`.

    Raises:
        ValueError, struct.error, zlib.error: If it holds more or fewer numbers than its shape says, or is malformed.
    """
    with path.open("rb") as file:
        file.seek(array.start)
        data = file.read(array.length)
    # Not more is unfolded than the shape says: type, length and padding take 16 bytes at most, for each part.
    most = array.head + array.numbers_bytes + 32
    data = zlib.decompressobj().decompress(data, most) if array.is_compressed else data[:most]
    real, place = _part(data, array.head, array)
    if not array.is_complex:
        return real
    numbers = np.empty(array.shape, np.complex64 if np.dtype(array.kind).itemsize <= 4 else np.complex128, order="F")
    numbers.real, numbers.imag = real, _part(data, place, array)[0]
    return numbers


def _parse_head(
    head: bytes, order: str, start: int, length: int, *, is_compressed: bool
) -> tuple[str, Mat5Array] | None:
    """Name and array of a matrix; None if it holds no numbers."""
    flags, place = _element(head, 8 if is_compressed else 0, order)[1:]
    word = struct.unpack_from(f"{order}I", flags)[0]
    if word & 0xFF not in _CLASSES or word & _LOGICAL:
        return None
    lengths, place = _element(head, place, order)[1:]
    shape = struct.unpack(f"{order}{len(lengths) // 4}i", lengths)
    if not 2 <= len(shape) <= _MOST_AXES or min(shape) < 0:
        raise ValueError(f"a shape must have 2 to {_MOST_AXES} lengths of 0 or more, one is {list(shape)[:8]}")
    name, place = _element(head, place, order)[1:]
    array = Mat5Array(
        shape=shape,
        kind=_CLASSES[word & 0xFF],
        is_complex=bool(word & _COMPLEX),
        order=order,
        start=start,
        length=length,
        is_compressed=is_compressed,
        head=place,
    )
    return name.decode("latin-1"), array


def _part(data: bytes, place: int, array: Mat5Array) -> tuple[NDArray[Any], int]:
    """Real or imaginary numbers of an array, and the place behind them."""
    kind, stored, place = _element(data, place, array.order)
    if kind not in _STORED:
        raise ValueError(f"its numbers are of the unknown type {kind}")
    numbers = np.frombuffer(stored, np.dtype(array.order + _STORED[kind]))
    if len(numbers) != math.prod(array.shape):
        raise ValueError(f"its shape {list(array.shape)} must fit its numbers, it holds {len(numbers)}")
    return numbers.reshape(array.shape, order="F").astype(array.kind, copy=False), place


def _element(data: bytes, place: int, order: str) -> tuple[int, bytes, int]:
    """Type and data of an element inside a matrix, and the place behind it."""
    word, length = struct.unpack_from(f"{order}II", data, place)
    # Up to four bytes share the eight of type and length.
    if word >> 16:
        kind, length, start, behind = word & 0xFFFF, word >> 16, place + 4, place + 8
        if length > 4:
            raise ValueError("a short element must hold at most 4 bytes")
    else:
        kind, start = word, place + 8
        behind = start + length + -length % 8
    if start + length > len(data):
        raise ValueError("an element reaches beyond the matrix that holds it")
    return kind, data[start : start + length], behind
