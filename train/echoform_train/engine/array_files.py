"""Reading of arrays from `.npy`, `.npz` and `.h5` files, and from `.mat` files of MATLAB's versions 4 to 7.3."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError, MatReadWarning, matfile_version

from echoform_train.engine import hdf5_files, mat5_files, npz_files
from echoform_train.engine.array_choice import choose, combine, part_fields
from echoform_train.engine.errors import UserError

MAX_UNFOLDING = 20
"""How many times larger than its file an array may be; samples of a radar compress to a third at best."""
UNFOLDED_BYTES = 256 * 2**20
"""Size up to which arrays may be larger than that."""

Variable = str | tuple[str, str] | None

# What numpy, scipy and h5py raise on broken files.
_READ_ERRORS = (
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    OSError,
    EOFError,
    TypeError,
    SyntaxError,
    RuntimeError,
    MemoryError,
    MatReadError,
    MatReadWarning,
    TokenError,
    struct.error,
    zlib.error,
    BadZipFile,
    NotImplementedError,
)


def read_array(path: Path, mat_variable: Variable = None) -> NDArray[Any]:
    """Read the array of a file, with its axes in the order of the program that wrote it.

    A `.npy`, `.npz` or `.h5` has numpy's order, a `.mat` the order of MATLAB's `size()`. Version 7.3 of `.mat` (HDF5)
    stores axes in reverse and complex numbers as pairs; both are undone.

    Args:
        path: A `.npy`, `.npz`, `.h5` or `.mat` file.
        mat_variable: Array of a file that may hold several, such as `iq`, `radar.iq` in a structure or `radar/iq` in a
            group; two names are the real and the imaginary part. None takes the only array of numbers with more than
            one element, or the only two if their names say that they are such parts (I and Q, real and imag).

    Returns:
        Numbers of any dtype, real or complex; memory-mapped where the file allows it.

    Raises:
        ValueError: If the file cannot be read, unfolds to much more than its own size (MAX_UNFOLDING), holds no
            numbers, or several variables are possible. The message does not name the file.
    """
    # A pipe of this name would be waited for without end.
    if not path.is_file():
        raise UserError("it must be a regular file; it is a folder, a pipe, a device or a link to nothing")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _read_npy(path)
    if suffix == ".npz":
        return _read_npz(path, mat_variable)
    with _errors_of(suffix):
        hdf5 = hdf5_files.is_hdf5(path)
    if hdf5:
        return _read_hdf5(path, mat_variable)
    if suffix != ".mat":
        raise UserError(f"cannot be read as {suffix}, it has no signature of HDF5")
    return _read_mat(path, mat_variable)


def _read_npy(path: Path) -> NDArray[Any]:
    with _errors_of(".npy"):
        return _numbers(np.lib.format.open_memmap(path, mode="r"))


def _read_npz(path: Path, variable: Variable) -> NDArray[Any]:
    with _errors_of(".npz"):
        found, others = npz_files.find_arrays(path)
    others |= {name: str(dtype) for name, (_, dtype) in found.items() if not hdf5_files.is_number(dtype)}
    numbers = {name: each for name, each in found.items() if name not in others}
    names = choose({name: (shape, str(dtype)) for name, (shape, dtype) in numbers.items()}, variable, others)
    for name in names:
        _check_size(math.prod(numbers[name][0]) * numbers[name][1].itemsize, path)
    with _errors_of(".npz"):
        parts = [_numbers(npz_files.read_array(path, name)) for name in names]
    return combine(*parts) if len(parts) == 2 else parts[0]


def _read_mat(path: Path, variable: Variable) -> NDArray[Any]:
    with _errors_of(".mat"):
        if matfile_version(path)[0] == 0:
            return _read_mat4(path, variable)
        found = mat5_files.find_variables(path, _most_bytes(path))
    arrays = found.arrays
    names = choose({name: (each.shape, _class_of(each)) for name, each in arrays.items()}, variable, found.others)
    for name in names:
        _check_size(arrays[name].numbers_bytes, path)
    with _errors_of(".mat"):
        parts = [mat5_files.read_array(path, arrays[name]) for name in names]
    return combine(*parts) if len(parts) == 2 else parts[0]


def _class_of(array: mat5_files.Mat5Array) -> str:
    return f"complex {array.kind}" if array.is_complex else array.kind


def _read_mat4(path: Path, variable: Variable) -> NDArray[Any]:
    kinds = hdf5_files.NUMBER_CLASSES
    sizes = {name: (size, kind) for name, size, kind in scipy.io.whosmat(path) if kind in kinds}
    names = choose(sizes, variable)
    for name in names:
        _check_size(math.prod(sizes[name][0]) * np.dtype(sizes[name][1]).itemsize, path)
    held = scipy.io.loadmat(path, variable_names=list(names))
    parts = [_numbers(held[name]) for name in names]
    return combine(*parts) if len(parts) == 2 else parts[0]


def _read_hdf5(path: Path, variable: Variable) -> NDArray[Any]:
    kind = ".mat of version 7.3" if path.suffix.lower() == ".mat" else path.suffix.lower()
    with _errors_of(kind):
        found = hdf5_files.find_variables(path)
        names = choose(found.arrays, variable, found.others)
        parts = [_numbers(hdf5_files.read_array(path, name, lambda size: _check_size(size, path))) for name in names]
    return combine(*parts) if len(parts) == 2 else parts[0]


@contextmanager
def _errors_of(kind: str) -> Iterator[None]:
    """Turn the errors of numpy, scipy and h5py on broken files into one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", MatReadWarning)
            yield
    except UserError:
        raise
    except _READ_ERRORS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"cannot be read as {kind}, it is truncated or of another format ({reason})") from error


def _most_bytes(path: Path) -> int:
    return max(UNFOLDED_BYTES, MAX_UNFOLDING * path.stat().st_size)


def _check_size(unfolded_bytes: int, path: Path) -> None:
    limit = _most_bytes(path)
    if unfolded_bytes > limit:
        raise UserError(
            f"its array must take at most {limit // 2**20} MiB ({MAX_UNFOLDING} times its file, or "
            f"{UNFOLDED_BYTES // 2**20} MiB), it would take {unfolded_bytes / 2**20:.0f} MiB; a .npy may be larger"
        )


def _numbers(array: NDArray[Any]) -> NDArray[Any]:
    if not hdf5_files.is_number(array.dtype):
        raise UserError(f"a file must hold an array of numbers, its dtype is {str(array.dtype)[:100]}")
    fields = part_fields(array.dtype)
    return array if fields is None else combine(array[fields[0]], array[fields[1]])
