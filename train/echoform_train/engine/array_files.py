"""Reading of arrays from `.npy` files, and from `.mat` files of MATLAB's versions 4 to 7.3."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError, MatReadWarning, matfile_version

from echoform_train.engine import mat5_files
from echoform_train.engine.errors import UserError
from echoform_train.engine.extras import needs_extra

if TYPE_CHECKING:
    import h5py

MAX_UNFOLDING = 20
"""How many times larger than its file an array may be; samples of a radar compress to a third at best."""
UNFOLDED_BYTES = 256 * 2**20
"""Size up to which arrays may be larger than that."""

_MAX_CHUNKS = 2**20
_LISTED = 10
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NUMBER_CLASSES = ("double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))

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
)


def read_array(path: Path, mat_variable: str | None = None) -> NDArray[Any]:
    """Read the array of a file, with its axes in the order of the program that wrote it.

    A `.npy` has numpy's order, a `.mat` the order of MATLAB's `size()`. Version 7.3 of `.mat` (HDF5) stores axes in
    reverse and complex numbers as pairs; both are undone.

    Args:
        path: A `.npy` or `.mat` file.
        mat_variable: Variable of a `.mat`; None takes the only array of numbers with more than one element.

    Returns:
        Numbers of any dtype, real or complex; memory-mapped where the file allows it.

    Raises:
        ValueError: If the file cannot be read, unfolds to much more than its own size (MAX_UNFOLDING), holds no
            numbers, or several variables are possible. The message does not name the file.
    """
    # A pipe of this name would be waited for without end.
    if not path.is_file():
        raise UserError("it must be a regular file; it is a folder, a pipe, a device or a link to nothing")
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    return _read_hdf5(path, mat_variable) if _is_hdf5(path) else _read_mat(path, mat_variable)


def _is_hdf5(path: Path) -> bool:
    """Whether a .mat file is of version 7.3, with an HDF5 signature at the start or after a header of 512 bytes."""
    with _errors_of(".mat"), path.open("rb") as file:
        head = file.read(512 + len(_HDF5_SIGNATURE))
    return head.startswith(_HDF5_SIGNATURE) or head[512:] == _HDF5_SIGNATURE


def _read_npy(path: Path) -> NDArray[Any]:
    with _errors_of(".npy"):
        return _numbers(np.lib.format.open_memmap(path, mode="r"))


def _read_mat(path: Path, mat_variable: str | None) -> NDArray[Any]:
    with _errors_of(".mat"):
        if matfile_version(path)[0] == 0:
            return _read_mat4(path, mat_variable)
        arrays = mat5_files.find_arrays(path)
    array = arrays[_choose({name: (each.shape, each.kind) for name, each in arrays.items()}, mat_variable)]
    _check_size(array.numbers_bytes, path)
    with _errors_of(".mat"):
        return mat5_files.read_array(path, array)


def _read_mat4(path: Path, mat_variable: str | None) -> NDArray[Any]:
    sizes = {name: (size, kind) for name, size, kind in scipy.io.whosmat(path) if kind in _NUMBER_CLASSES}
    name = _choose(sizes, mat_variable)
    size, kind = sizes[name]
    _check_size(math.prod(size) * np.dtype(kind).itemsize, path)
    return _numbers(scipy.io.loadmat(path, variable_names=[name])[name])


def _read_hdf5(path: Path, mat_variable: str | None) -> NDArray[Any]:
    with needs_extra("matlab", "a .mat file of version 7.3"):
        import h5py
    with _errors_of(".mat of version 7.3"), h5py.File(path) as file:
        arrays = dict(_matrices(file))
        sizes = {name: (item.shape[::-1], str(item.dtype)) for name, item in arrays.items()}
        name = _choose(sizes, mat_variable)
        _check_stored(arrays[name], path)
        array: NDArray[Any] = arrays[name][()]
    return _numbers(array.T)


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


def _check_size(unfolded_bytes: int, path: Path) -> None:
    limit = max(UNFOLDED_BYTES, MAX_UNFOLDING * path.stat().st_size)
    if unfolded_bytes > limit:
        raise UserError(
            f"its array must take at most {limit // 2**20} MiB ({MAX_UNFOLDING} times its file, or "
            f"{UNFOLDED_BYTES // 2**20} MiB), it would take {unfolded_bytes / 2**20:.0f} MiB; a .npy may be larger"
        )


def _matrices(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Arrays of numbers at the top of a file. Links are not followed: they may lead to themselves or other files."""
    with needs_extra("matlab", "a .mat file of version 7.3"):
        import h5py

    for name in map(str, file):
        if isinstance(file.get(name, getlink=True), h5py.HardLink):
            item = file[name]
            if isinstance(item, h5py.Dataset) and _is_matrix(item):
                yield name, item


def _is_matrix(dataset: h5py.Dataset) -> bool:
    matlab_class = dataset.attrs.get("MATLAB_class", b"double")
    if isinstance(matlab_class, bytes):
        matlab_class = matlab_class.decode("latin-1")
    known = isinstance(matlab_class, str) and matlab_class in _NUMBER_CLASSES
    return known and "MATLAB_empty" not in dataset.attrs and dataset.shape is not None and _is_number(dataset.dtype)


def _check_stored(dataset: h5py.Dataset, path: Path) -> None:
    """Check that an array lies in its file and does not unfold to much more."""
    if dataset.is_virtual or dataset.external:
        raise UserError("its array must lie in the file itself, it refers to other files")
    shape = tuple(dataset.shape or ())
    _check_size(math.prod(shape) * dataset.dtype.itemsize, path)
    if dataset.chunks is not None:
        _check_size(math.prod(dataset.chunks) * dataset.dtype.itemsize, path)
        chunks = math.prod(math.ceil(length / chunk) for length, chunk in zip(shape, dataset.chunks, strict=True))
        if chunks > _MAX_CHUNKS:
            raise UserError(f"its array must be stored in at most {_MAX_CHUNKS} chunks, it has {chunks}")


def _choose(arrays: dict[str, tuple[tuple[int, ...], str]], requested: str | None) -> str:
    """Name of the variable to read, from the shape and dtype of each."""
    described = [f"{name} [{' x '.join(map(str, size))}, {kind}]" for name, (size, kind) in arrays.items()]
    listed = ", ".join(described[:_LISTED]) + (
        f" and {len(described) - _LISTED} more" if len(described) > _LISTED else ""
    )
    if requested is not None:
        if requested not in arrays:
            raise UserError(
                f"--mat-variable must name an array of numbers, got {requested}; the file holds {listed or 'none'}"
            )
        return requested
    large = [name for name, (size, _) in arrays.items() if math.prod(size) > 1]
    if len(large) != 1:
        raise UserError(f"--mat-variable must name the array of the samples; the file holds {listed or 'none'}")
    return large[0]


def _is_number(dtype: np.dtype[Any]) -> bool:
    """Whether numbers are real or complex, the latter also as pairs of fields `real` and `imag`."""
    if dtype.names == ("real", "imag"):
        return all(dtype[name].kind in "iuf" and dtype[name].shape == () for name in ("real", "imag"))
    return dtype.kind in "iufc"


def _numbers(array: NDArray[Any]) -> NDArray[Any]:
    if not _is_number(array.dtype):
        raise UserError(f"a file must hold an array of numbers, its dtype is {str(array.dtype)[:100]}")
    if array.dtype.names is None:
        return array
    pairs = np.empty(array.shape, np.complex64 if array["real"].dtype.itemsize <= 4 else np.complex128)
    pairs.real, pairs.imag = array["real"], array["imag"]
    return pairs
