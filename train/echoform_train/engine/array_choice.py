"""Choice of one array, or of the two parts of a complex one, among those that a file holds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoform_train.engine.errors import UserError

Arrays = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and class of numbers of each array of a file, by name; those in structures and groups by their whole path."""

_LISTED = 10
_PARTS = (("real", "imag"), ("re", "im"), ("i", "q"), ("r", "i"))
_COMPLEX = re.compile("complex|real.*imag|'r'.*'i'", re.IGNORECASE)


def choose(
    arrays: Arrays, requested: str | tuple[str, str] | None, others: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Name of the array to read, or names of its real and its imaginary part.

    Args:
        arrays: All arrays of numbers in the file.
        requested: Name of an array, or of the structure that holds it; two names are I and Q; None takes the only array
            with more than one number, or the only two if their names say that they are I and Q.
        others: Class of every other variable, for the message.

    Raises:
        UserError: If there is no such array, or several are possible; the message lists what the file holds.
    """
    listed = _listed(arrays, others or {})
    if isinstance(requested, tuple):
        return tuple(_named(arrays, name, listed) for name in requested)
    if requested is not None and requested not in arrays:
        inside = {
            name: each for name, each in arrays.items() if re.match(re.escape(requested.strip("/")) + r"[./]", name)
        }
        if not inside:
            _named(arrays, requested, listed)
        return _choose_large(inside, listed)
    return (requested,) if requested is not None else _choose_large(arrays, listed)


def combine(real: NDArray[Any], imaginary: NDArray[Any]) -> NDArray[Any]:
    """Complex numbers of two arrays.

    Raises:
        UserError: If they differ in shape, or one of them is complex already.
    """
    if real.shape != imaginary.shape or np.iscomplexobj(real) or np.iscomplexobj(imaginary):
        kinds = " and ".join(f"{' x '.join(map(str, part.shape))} {part.dtype}" for part in (real, imaginary))
        raise UserError(f"I and Q must be real arrays of one shape, they are {kinds}")
    small = all(part.dtype.itemsize <= 4 for part in (real, imaginary))
    numbers = np.empty(real.shape, np.complex64 if small else np.complex128)
    numbers.real, numbers.imag = real, imaginary
    return numbers


def part_fields(dtype: np.dtype[Any]) -> tuple[str, str] | None:
    """Names of the real and the imaginary field of a structured dtype; None if it has no such two fields."""
    names = dtype.names or ()
    if len(names) != 2 or (names[0].lower(), names[1].lower()) not in _PARTS:
        return None
    fits = all(dtype[name].kind in "iuf" and dtype[name].shape == () for name in names)
    return (names[0], names[1]) if fits else None


def _named(arrays: Arrays, name: str, listed: str) -> str:
    if name not in arrays:
        raise UserError(f"--mat-variable must name an array of numbers, got {name}; the file holds {listed}")
    return name


def _choose_large(arrays: Arrays, listed: str) -> tuple[str, ...]:
    large = [name for name, (size, _) in arrays.items() if math.prod(size) > 1]
    if len(large) == 1:
        return (large[0],)
    if len(large) == 2 and (pair := _parts_of(large, arrays)):
        return pair
    raise UserError(f"--mat-variable must name the array of the samples; the file holds {listed}")


def _parts_of(names: list[str], arrays: Arrays) -> tuple[str, str] | None:
    """Two names in the order real, imaginary, if they differ in nothing but that."""
    (first, second), shapes = names, {arrays[name][0] for name in names}
    if len(shapes) > 1 or any(_COMPLEX.search(arrays[name][1]) for name in names):
        return None
    for real, imaginary in ((first, second), (second, first)):
        for part, other in _PARTS[:3]:
            swapped = (real[: at.start()] + "\0" + real[at.end() :] for at in re.finditer(part, real, re.IGNORECASE))
            if any(one.lower().replace("\0", other) == imaginary.lower() for one in swapped):
                return real, imaginary
    return None


def _listed(arrays: Arrays, others: Mapping[str, str]) -> str:
    described = [f"{name} [{' x '.join(map(str, size))}, {kind}]" for name, (size, kind) in arrays.items()]
    described += [f"{name} ({kind})" for name, kind in others.items()]
    more = f" and {len(described) - _LISTED} more" if len(described) > _LISTED else ""
    return ", ".join(described[:_LISTED]) + more or "none"
