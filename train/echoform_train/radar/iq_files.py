"""Files of measured samples as arrays: `.npy`, and `.mat` of MATLAB's versions 4 to 7.3."""

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

from echoform_train.engine.extras import needs_extra

if TYPE_CHECKING:
    import h5py

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NUMBER_CLASSES = ("double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


def read_array(path: Path, mat_variable: str | None = None) -> NDArray[Any]:
    """The array that a file holds, with its axes in the order in which the writing program counts them.

    A `.npy` keeps numpy's order; a `.mat` the order of MATLAB's `size()`, also where version 7.3 (HDF5) stores the
    axes reversed and complex numbers as pairs called real and imag.

    Args:
        path: A `.npy` or `.mat` file.
        mat_variable: Variable of a `.mat`; None takes the only array of numbers with more than one element.

    Returns:
        Numbers of any dtype, real or complex; memory-mapped where the file allows it.

    Raises:
        ValueError: If the file cannot be read, holds no numbers, or it is not clear which variable is meant. The
            message is the rule alone; whoever called knows the file.
    """
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    return _read_hdf5(path, mat_variable) if _is_hdf5(path) else _read_mat(path, mat_variable)


def _is_hdf5(path: Path) -> bool:
    """Whether a .mat file is of version 7.3: its HDF5 signature stands at the start, or behind MATLAB's 512 bytes."""
    with _told_as(".mat"), path.open("rb") as file:
        head = file.read(512 + len(_HDF5_SIGNATURE))
    return head.startswith(_HDF5_SIGNATURE) or head[512:] == _HDF5_SIGNATURE


def _read_npy(path: Path) -> NDArray[Any]:
    with _told_as(".npy"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    return _numbers(array)


def _read_mat(path: Path, mat_variable: str | None) -> NDArray[Any]:
    with _told_as(".mat"):
        sizes = {name: (size, kind) for name, size, kind in scipy.io.whosmat(path) if kind in _NUMBER_CLASSES}
    name = _choose(sizes, mat_variable)
    with _told_as(".mat"):
        array = scipy.io.loadmat(path, variable_names=[name])[name]
    return _numbers(array)


def _read_hdf5(path: Path, mat_variable: str | None) -> NDArray[Any]:
    with needs_extra("matlab", "a .mat file of version 7.3"):
        import h5py
    with _told_as(".mat of version 7.3"), h5py.File(path) as file:
        arrays = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset) and _is_matrix(item)}
        sizes = {name: (item.shape[::-1], str(item.dtype)) for name, item in arrays.items()}
    name = _choose(sizes, mat_variable)
    with _told_as(".mat of version 7.3"), h5py.File(path) as file:
        dataset = file[name]
        assert isinstance(dataset, h5py.Dataset)
        array: NDArray[Any] = dataset[()]
    return _numbers(array.T)


@contextmanager
def _told_as(kind: str) -> Iterator[None]:
    """What numpy, scipy and h5py raise on broken files becomes one sentence."""
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
        raise ValueError(f"cannot be read as {kind}, it is truncated or something else ({error})") from error


def _is_matrix(dataset: h5py.Dataset) -> bool:
    matlab_class = dataset.attrs.get("MATLAB_class", b"double")
    return matlab_class.decode() in _NUMBER_CLASSES and "MATLAB_empty" not in dataset.attrs


def _choose(arrays: dict[str, tuple[tuple[int, ...], str]], asked: str | None) -> str:
    listed = ", ".join(f"{name} [{' x '.join(map(str, size))}, {kind}]" for name, (size, kind) in arrays.items())
    if asked is not None:
        if asked not in arrays:
            raise ValueError(f"--mat-variable must name an array of numbers, got {asked}; it holds {listed or 'none'}")
        return asked
    large = [name for name, (size, _) in arrays.items() if np.prod(size) > 1]
    if len(large) != 1:
        raise ValueError(f"--mat-variable must say which array holds the samples; it holds {listed or 'none'}")
    return large[0]


def _numbers(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.names == ("real", "imag"):
        pairs = np.empty(array.shape, np.complex64 if array["real"].dtype.itemsize <= 4 else np.complex128)
        pairs.real, pairs.imag = array["real"], array["imag"]
        return pairs
    if array.dtype.kind not in "iufc":
        raise ValueError(f"a file must hold an array of numbers, its dtype is {array.dtype}")
    return array
