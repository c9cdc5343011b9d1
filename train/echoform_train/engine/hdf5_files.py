"""Arrays of numbers in HDF5: `.h5` files, and `.mat` files of MATLAB's version 7.3."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from echoform_train.engine.array_choice import part_fields
from echoform_train.engine.errors import UserError
from echoform_train.engine.extras import needs_extra

if TYPE_CHECKING:
    import h5py

NUMBER_CLASSES = ("double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
"""MATLAB's classes of numbers."""

_MAX_CHUNKS = 2**20
_DEEPEST = 8
_MOST_ITEMS = 10_000


@dataclass(frozen=True)
class Hdf5Variables:
    """What a file holds, by path."""

    arrays: dict[str, tuple[tuple[int, ...], str]]
    """Shape and dtype of each array of numbers; of a .mat in the order of MATLAB's size()."""
    others: dict[str, str]
    """Class of everything else that is no group."""


def is_hdf5(path: Path) -> bool:
    """Whether a file has the signature of HDF5 at its start or, as MATLAB writes it, after a header of 512 bytes."""
    signature = b"\x89HDF\r\n\x1a\n"
    with path.open("rb") as file:
        head = file.read(512 + len(signature))
    return head.startswith(signature) or head[512:] == signature


def find_variables(path: Path) -> Hdf5Variables:
    """Find the arrays of numbers in a file and its groups (structures of MATLAB).

    Links are not followed: they may lead to themselves or other files.
    """
    with needs_extra("matlab", _purpose(path)):
        import h5py
    matlab = _is_matlab(path)
    found = Hdf5Variables({}, {})
    with h5py.File(path) as file:
        _find_in_group(file, "", "." if matlab else "/", matlab, found, {hash(file["/"].id)})
    return found


def read_array(path: Path, name: str, check_bytes: Callable[[int], None]) -> NDArray[Any]:
    """Read an array that `find_variables` found.

    Args:
        path: The file.
        name: Its path.
        check_bytes: Raises for a number of bytes that an array may not take.

    Raises:
        UserError: If it lies in another file, or is stored in too many pieces.
    """
    with needs_extra("matlab", _purpose(path)):
        import h5py
    matlab = _is_matlab(path)
    with h5py.File(path) as file:
        dataset = file[name.replace(".", "/") if matlab and name not in file else name]
        assert isinstance(dataset, h5py.Dataset)
        _check_stored(dataset, check_bytes)
        array: NDArray[Any] = dataset[()]
    return array.T if matlab else array


def _purpose(path: Path) -> str:
    return "a .mat file of version 7.3" if _is_matlab(path) else f"a {path.suffix} file"


def _is_matlab(path: Path) -> bool:
    return path.suffix.lower() == ".mat"


def _find_in_group(
    group: h5py.Group, prefix: str, separator: str, matlab: bool, found: Hdf5Variables, seen: set[int], depth: int = 0
) -> None:
    with needs_extra("matlab", "a file of HDF5"):
        import h5py

    for key in map(str, group):
        # MATLAB keeps what cells and structure arrays refer to in groups of these names.
        if not isinstance(group.get(key, getlink=True), h5py.HardLink) or (matlab and key.startswith("#")):
            continue
        item, name = group[key], f"{prefix}{key}"
        if len(found.arrays) + len(found.others) >= _MOST_ITEMS:
            raise ValueError(f"a file must hold at most {_MOST_ITEMS} variables")
        if isinstance(item, h5py.Group):
            address = hash(item.id)
            if depth < _DEEPEST and address not in seen:
                seen.add(address)
                _find_in_group(item, name + separator, separator, matlab, found, seen, depth + 1)
        elif isinstance(item, h5py.Dataset) and _is_matrix(item):
            shape = tuple(item.shape or ())
            found.arrays[name] = shape[::-1] if matlab else shape, str(item.dtype)
        elif isinstance(item, h5py.Dataset):
            found.others[name] = _class_of(item) or str(item.dtype)[:40]


def _class_of(dataset: h5py.Dataset) -> str | None:
    """MATLAB's class of a dataset; None where it is no text, "" where there is none."""
    matlab_class = dataset.attrs.get("MATLAB_class", b"")
    if isinstance(matlab_class, bytes):
        matlab_class = matlab_class.decode("latin-1")
    return matlab_class[:40] if isinstance(matlab_class, str) else None


def _is_matrix(dataset: h5py.Dataset) -> bool:
    kind = _class_of(dataset)
    known = kind is not None and (not kind or kind in NUMBER_CLASSES)
    return known and "MATLAB_empty" not in dataset.attrs and dataset.shape is not None and is_number(dataset.dtype)


def is_number(dtype: Any) -> bool:
    """Whether numbers are real or complex, the latter also as pairs of fields such as `real` and `imag`."""
    return part_fields(dtype) is not None if dtype.names else dtype.kind in "iufc"


def _check_stored(dataset: h5py.Dataset, check_bytes: Callable[[int], None]) -> None:
    """Check that an array lies in its file and does not unfold to much more."""
    if dataset.is_virtual or dataset.external:
        raise UserError("its array must lie in the file itself, it refers to other files")
    shape = tuple(dataset.shape or ())
    check_bytes(math.prod(shape) * dataset.dtype.itemsize)
    if dataset.chunks is not None:
        check_bytes(math.prod(dataset.chunks) * dataset.dtype.itemsize)
        chunks = math.prod(math.ceil(length / chunk) for length, chunk in zip(shape, dataset.chunks, strict=True))
        if chunks > _MAX_CHUNKS:
            raise UserError(f"its array must be stored in at most {_MAX_CHUNKS} chunks, it has {chunks}")
