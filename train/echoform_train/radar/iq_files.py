"""Reading of arrays from `.npy` files, and from `.mat` files of MATLAB's versions 4 to 7.3."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from echoform_train.engine.errors import UserError
from echoform_train.engine.extras import needs_extra

if TYPE_CHECKING:
    import h5py

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NUMBER_CLASSES = ("double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


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
        ValueError: If the file cannot be read, holds no numbers, or several variables are possible. The message does
            not name the file.
    """
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
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    return _numbers(array)


def _read_mat(path: Path, mat_variable: str | None) -> NDArray[Any]:
    with _errors_of(".mat"):
        sizes = {name: (size, kind) for name, size, kind in scipy.io.whosmat(path) if kind in _NUMBER_CLASSES}
    name = _choose(sizes, mat_variable)
    with _errors_of(".mat"):
        array = scipy.io.loadmat(path, variable_names=[name])[name]
    return _numbers(array)


def _read_hdf5(path: Path, mat_variable: str | None) -> NDArray[Any]:
    with needs_extra("matlab", "a .mat file of version 7.3"):
        import h5py
    with _errors_of(".mat of version 7.3"), h5py.File(path) as file:
        arrays = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset) and _is_matrix(item)}
        sizes = {name: (item.shape[::-1], str(item.dtype)) for name, item in arrays.items()}
    name = _choose(sizes, mat_variable)
    with _errors_of(".mat of version 7.3"), h5py.File(path) as file:
        dataset = file[name]
        assert isinstance(dataset, h5py.Dataset)
        array: NDArray[Any] = dataset[()]
    return _numbers(array.T)


@contextmanager
def _errors_of(kind: str) -> Iterator[None]:
    """Turn the errors of numpy, scipy and h5py on broken files into one sentence."""
    try:
        yield
    except (
        ValueError,
        IndexError,
        OSError,
        EOFError,
        TypeError,
        MatReadError,
        NotImplementedError,
        zlib.error,
    ) as error:
        raise UserError(f"cannot be read as {kind}, it is truncated or of another format ({error})") from error


def _is_matrix(dataset: h5py.Dataset) -> bool:
    matlab_class = dataset.attrs.get("MATLAB_class", b"double")
    return matlab_class.decode() in _NUMBER_CLASSES and "MATLAB_empty" not in dataset.attrs


def _choose(arrays: dict[str, tuple[tuple[int, ...], str]], requested: str | None) -> str:
    """Name of the variable to read, from the shape and dtype of each."""
    listed = ", ".join(f"{name} [{' x '.join(map(str, size))}, {kind}]" for name, (size, kind) in arrays.items())
    if requested is not None:
        if requested not in arrays:
            raise UserError(
                f"--mat-variable must name an array of numbers, got {requested}; the file holds {listed or 'none'}"
            )
        return requested
    large = [name for name, (size, _) in arrays.items() if np.prod(size) > 1]
    if len(large) != 1:
        raise UserError(f"--mat-variable must name the array of the samples; the file holds {listed or 'none'}")
    return large[0]


def _numbers(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.names == ("real", "imag"):
        pairs = np.empty(array.shape, np.complex64 if array["real"].dtype.itemsize <= 4 else np.complex128)
        pairs.real, pairs.imag = array["real"], array["imag"]
        return pairs
    if array.dtype.kind not in "iufc":
        raise UserError(f"a file must hold an array of numbers, its dtype is {array.dtype}")
    return array
