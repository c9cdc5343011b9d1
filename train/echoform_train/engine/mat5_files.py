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
_STRUCTURE = 2
_OTHERS = {1: "cell", 3: "object", 4: "char", 5: "sparse", 16: "function", 17: "opaque"}
_DEEPEST = 8
_MOST_FIELDS = 10_000


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


@dataclass(frozen=True)
class Mat5Variables:
    """What a file holds, by name; fields of structures are named `radar.iq`, those of several `radar(2).iq`."""

    arrays: dict[str, Mat5Array]
    others: dict[str, str]
    """Class of every variable that is no array of numbers."""


def find_arrays(path: Path, most_bytes: int = 2**28) -> dict[str, Mat5Array]:
    """Arrays of numbers of a file by name; see `find_variables`."""
    return find_variables(path, most_bytes).arrays


def find_variables(path: Path, most_bytes: int) -> Mat5Variables:
    """Find the arrays of numbers at the top of a file and in structures.

    Args:
        path: The file.
        most_bytes: Most bytes to which a compressed structure may unfold.

    Raises:
        ValueError, struct.error, zlib.error: If an element reaches beyond the file, or a matrix is malformed.
    """
    found = Mat5Variables({}, {})
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
            element = _Element(order, start, length, is_compressed=kind == _COMPRESSED)
            if _class_of(head, element.begin, order) == _STRUCTURE:
                file.seek(start)
                data = file.read(length)
                if kind == _COMPRESSED:
                    unfolding = zlib.decompressobj()
                    data = unfolding.decompress(data, most_bytes)
                    if not unfolding.eof:
                        raise ValueError(f"a structure unfolds to more than {most_bytes // 2**20} MiB, or is cut")
                _find_in_matrix(memoryview(data), element.begin, element, None, found, 0)
            else:
                _find_in_matrix(memoryview(head), element.begin, element, None, found, 0)
    return found


@dataclass(frozen=True)
class _Element:
    """An element at the top of a file."""

    order: str
    start: int
    length: int
    is_compressed: bool

    @property
    def begin(self) -> int:
        """Place of its matrix in its data."""
        return 8 if self.is_compressed else 0


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


def _class_of(data: bytes | memoryview, place: int, order: str) -> int:
    return struct.unpack_from(f"{order}I", _element(data, place, order)[1])[0] & 0xFF


def _find_in_matrix(
    data: memoryview, place: int, element: _Element, field: str | None, found: Mat5Variables, depth: int
) -> None:
    """Add the array of a matrix, or those of the fields of a structure.

    Args:
        data: Content of its element, or the first bytes of it.
        place: Place of the matrix in the data.
        element: The element at the top of the file.
        field: Name of the field that holds the matrix; None for a variable, which has a name of its own.
        found: Gets what is found.
        depth: Structures around the matrix.
    """
    order = element.order
    flags, place = _element(data, place, order)[1:]
    word = struct.unpack_from(f"{order}I", flags)[0]
    kind = word & 0xFF
    is_array = kind in _CLASSES and not word & _LOGICAL
    if not is_array and kind != _STRUCTURE and kind not in (1, 4, 5, *_CLASSES):
        # Objects and functions have no shape at this place.
        found.others[field or "?"] = _OTHERS.get(kind, "unknown")
        return
    lengths, place = _element(data, place, order)[1:]
    shape = struct.unpack(f"{order}{len(lengths) // 4}i", lengths)
    if not 2 <= len(shape) <= _MOST_AXES or min(shape) < 0:
        raise ValueError(f"a shape must have 2 to {_MOST_AXES} lengths of 0 or more, one is {list(shape)[:8]}")
    own_name, place = _element(data, place, order)[1:]
    name = bytes(own_name).decode("latin-1") if field is None else field
    if is_array:
        found.arrays[name] = Mat5Array(
            shape=shape,
            kind=_CLASSES[kind],
            is_complex=bool(word & _COMPLEX),
            order=order,
            start=element.start,
            length=element.length,
            is_compressed=element.is_compressed,
            head=place,
        )
    elif kind == _STRUCTURE and depth < _DEEPEST:
        _find_in_structure(data, place, element, name, math.prod(shape), found, depth)
    else:
        found.others[name] = "logical" if word & _LOGICAL else _OTHERS.get(kind, "struct")


def _find_in_structure(
    data: memoryview, place: int, element: _Element, name: str, count: int, found: Mat5Variables, depth: int
) -> None:
    """Add the arrays in the fields of `count` structures, which follow one another."""
    order = element.order
    width, place = _element(data, place, order)[1:]
    (width,) = struct.unpack_from(f"{order}i", width)
    names, place = _element(data, place, order)[1:]
    if not 1 <= width <= 1024:
        raise ValueError(f"names of fields must have 1 to 1024 characters, one has {width}")
    fields = [bytes(names[at : at + width]).split(b"\0")[0].decode("latin-1") for at in range(0, len(names), width)]
    if count * len(fields) + len(found.arrays) > _MOST_FIELDS:
        raise ValueError(f"structures must have at most {_MOST_FIELDS} fields")
    for index in range(count):
        for field in fields:
            kind, held, behind = _element(data, place, order)
            if kind != _MATRIX:
                raise ValueError(f"a field must hold a matrix, one is of the type {kind}")
            label = f"{name}.{field}" if count == 1 else f"{name}({index + 1}).{field}"
            if held:
                _find_in_matrix(data[: place + 8 + len(held)], place + 8, element, label, found, depth + 1)
            place = behind


def _part(data: bytes | memoryview, place: int, array: Mat5Array) -> tuple[NDArray[Any], int]:
    """Real or imaginary numbers of an array, and the place behind them."""
    kind, stored, place = _element(data, place, array.order)
    if kind not in _STORED:
        raise ValueError(f"its numbers are of the unknown type {kind}")
    numbers = np.frombuffer(stored, np.dtype(array.order + _STORED[kind]))
    if len(numbers) != math.prod(array.shape):
        raise ValueError(f"its shape {list(array.shape)} must fit its numbers, it holds {len(numbers)}")
    return numbers.reshape(array.shape, order="F").astype(array.kind, copy=False), place


def _element(data: bytes | memoryview, place: int, order: str) -> tuple[int, bytes | memoryview, int]:
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
