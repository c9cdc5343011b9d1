"""Hostile recordings (.npy, .mat)."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import scipy.sparse

from hostile.corpus import Row
from hostile.inputs import RECORDING_FLAGS, recordings, samples

BROKEN = r"ID_1/walk\.[npymat]+: [^\n]*cannot be read as"
SIZE = r"ID_1/walk\.mat: [^\n]*must take at most"
Write = Callable[[Path], object]


def recording(name: str, write: Write, expected: str, *flags: str, suffix: str = ".npy", accepted: bool = False) -> Row:
    """A row whose first recording is written by `write`."""

    def make(folder: Path) -> list[str]:
        data = recordings(folder / "data")
        (data / "ID_1" / "walk.npy").unlink()
        write((data / "ID_1" / "walk").with_suffix(suffix))
        return ["prepare", str(data), *RECORDING_FLAGS, "--output-dir", str(folder / "out"), *flags]

    return Row(name, "prepare", make, expected, accepted=accepted)


def mat(name: str, write: Write, expected: str, *flags: str) -> Row:
    """The same with a .mat file."""
    return recording(name, write, expected, *flags, suffix=".mat")


def bytes_of(content: bytes | Callable[[], bytes]) -> Write:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content())


def _array(array: Any, **settings: Any) -> Write:
    return lambda path: np.save(path, array, **settings)


def npy(header: str, data: bytes = b"") -> bytes:
    """A .npy file with any header."""
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def npy_of_shape(*shape: int, kind: str = "<c8") -> bytes:
    return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}")


def _sparse_npy(path: Path) -> None:
    """A file of a terabyte without content, which keeps the promise of its header."""
    path.write_bytes(npy_of_shape(2**37))
    os.truncate(path, path.stat().st_size + 8 * 2**37)


def _with(change: Callable[[np.ndarray], object]) -> Write:
    def write(path: Path) -> None:
        array = samples()
        change(array)
        np.save(path, array)

    return write


def _mat(compress: bool = False, **variables: Any) -> Write:
    return lambda path: scipy.io.savemat(path, variables, do_compression=compress)


def _cut_mat(part: float, compress: bool) -> Write:
    def write(path: Path) -> None:
        _mat(compress, iq=samples())(path)
        path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])

    return write


def _mat5(body: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + body


def _element(kind: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<II", kind, len(data) if length is None else length) + data + bytes(-len(data) % 8)


def _matrix(rows: int, columns: int, pieces: Sequence[bytes], promised: int) -> list[bytes]:
    """A matrix of double numbers called iq, whose numbers follow in pieces."""
    head = _element(6, struct.pack("<II", 6, 0)) + _element(5, struct.pack("<ii", rows, columns))
    head += _element(1, b"iq") + struct.pack("<II", 9, promised)
    return [struct.pack("<II", 14, min(len(head) + promised, 2**32 - 1)) + head, *pieces]


def _mat_bomb(rows: int, columns: int, mebibytes: int) -> Callable[[], bytes]:
    """A compressed matrix that unfolds to as many MiB, whatever its shape says."""

    def build() -> bytes:
        squeeze = zlib.compressobj(9)
        head = b"".join(_matrix(rows, columns, [], mebibytes * 2**20))
        packed = squeeze.compress(head) + squeeze.flush(zlib.Z_FULL_FLUSH)
        # Behind a full flush, the same input gives the same bytes.
        packed += (squeeze.compress(bytes(2**20)) + squeeze.flush(zlib.Z_FULL_FLUSH)) * mebibytes
        return _mat5(struct.pack("<II", 15, len(packed)) + packed)

    return build


def _unknown_type() -> bytes:
    """A matrix whose numbers are of a type that does not exist; scipy's reader ends the process."""
    good = _mat5(b"".join(_matrix(3, 5, [bytes(120)], 120)))
    return good.replace(struct.pack("<II", 9, 120), struct.pack("<II", 0x5555, 120))


def _v73(build: Callable[[h5py.File], object]) -> Write:
    """A .mat of version 7.3."""

    def write(path: Path) -> None:
        with h5py.File(path, "w", userblock_size=512) as file:
            build(file)
        with path.open("r+b") as stream:
            stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")

    return write


def _of_class(value: Any, **settings: Any) -> Write:
    """One array whose attribute MATLAB_class is anything."""

    def build(file: h5py.File) -> None:
        file.create_dataset("iq", data=np.zeros((9, 9)), **settings).attrs["MATLAB_class"] = value

    return _v73(build)


def _huge(*shape: int, **settings: Any) -> Write:
    return _v73(lambda file: file.create_dataset("iq", shape=shape, dtype="f8", **settings))


def _filled(mebibytes: int) -> Write:
    """Zeros that are stored, compressed a thousandfold."""

    def build(file: h5py.File) -> None:
        data = file.create_dataset("iq", (mebibytes, 2**17), "f8", chunks=(1, 2**17), compression="gzip")
        chunk = zlib.compress(bytes(2**20), 9)
        for row in range(mebibytes):
            data.id.write_direct_chunk((row, 0), chunk)

    return _v73(build)


def _link(target: Any) -> Write:
    return _v73(lambda file: file.__setitem__("iq", target))


def _external(path: Path) -> None:
    pipe = path.parents[2] / "pipe.mat"
    os.mkfifo(pipe)
    _link(h5py.ExternalLink(str(pipe), "/iq"))(path)


def _raw_external(path: Path) -> None:
    _v73(lambda file: file.create_dataset("iq", (100, 2), "f8", external=[("/dev/zero", 0, 1600)]))(path)


def _virtual(path: Path) -> None:
    def build(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((100, 2), "f8")
        layout[:] = h5py.VirtualSource("/dev/zero", "iq", (100, 2))
        file.create_virtual_dataset("iq", layout)

    _v73(build)(path)


def _references(file: h5py.File) -> None:
    data = file.create_dataset("iq", (9,), h5py.ref_dtype)
    data[0] = file.ref
    data.attrs["MATLAB_class"] = np.bytes_("cell")


def _texts(file: h5py.File) -> None:
    file.create_dataset("iq", data=["a", "b"], dtype=h5py.string_dtype())


def _loop(file: h5py.File) -> None:
    file["a"] = file  # a hard link to the file itself


def _many(file: h5py.File) -> None:
    for number in range(300):
        file[f"iq_{number}"] = np.zeros((2, 2))


def _damaged_v73(path: Path) -> None:
    _v73(lambda file: file.create_dataset("iq", data=np.ones((999, 2)), compression="gzip"))(path)
    data = bytearray(path.read_bytes())
    data[1500:2600] = bytes(1100)
    path.write_bytes(data)


def _archive(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, iq=samples())


def pickled(value: Any) -> bytes:
    return pickle.dumps(value)


RECORD = [("real", "S3"), ("imag", "f8")]
NPY = [
    recording("no bytes", bytes_of(b""), BROKEN),
    recording("text", bytes_of(b"walk " * 50), BROKEN),
    recording("signature alone", bytes_of(b"\x93NUMPY\x01\x00"), BROKEN),
    recording("header of nonsense", bytes_of(npy("{'descr': ")), BROKEN),
    recording("header of a thousand brackets", bytes_of(npy("(" * 1000)), BROKEN),
    recording("header that is code", bytes_of(npy("__import__('os').system('touch evil')")), BROKEN),
    recording("header without a shape", bytes_of(npy("{'descr': '<c8', 'fortran_order': False}")), BROKEN),
    recording("header of an unknown dtype", bytes_of(npy_of_shape(9, kind="<q99")), BROKEN),
    recording("shape of 10^12 without data", bytes_of(npy_of_shape(10**12)), BROKEN),
    recording("shape of 10^30", bytes_of(npy_of_shape(10**30)), BROKEN),
    recording("shape below 0", bytes_of(npy_of_shape(-5)), BROKEN),
    recording(
        "shape of a fraction", bytes_of(npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1.5,)}")), BROKEN
    ),
    recording("a terabyte of nothing", _sparse_npy, r"must hold 1 to 33,554,432 samples"),
    recording("cut in the middle", lambda path: _cut(path, samples()), BROKEN),
    recording("objects", _array(np.array([{}, {}]), allow_pickle=True), BROKEN),
    recording("a pickle", bytes_of(pickled([1, 2])), BROKEN),
    recording("an archive", _archive, BROKEN),
    recording("texts", _array(np.array(["a", "b"])), "must hold an array of numbers"),
    recording("dates", _array(np.array(["2020-01-01"], "M8[D]")), "must hold an array of numbers|cannot be read"),
    recording("true and false", _array(np.ones(3000, bool)), "must hold an array of numbers"),
    recording("records", _array(np.zeros(3000, [("a", "f4"), ("b", "f4")])), "must hold an array of numbers"),
    recording("one number", _array(np.complex64(1)), "must have 1 axes|must hold"),
    recording("no samples", _array(np.zeros(0, np.complex64)), BROKEN + "|must hold 1 to"),
    recording("one sample", _array(np.ones(1, np.complex64)), "", accepted=True),
    recording("seven axes", _array(np.ones((2,) * 7, np.complex64)), "must have 1 axes"),
    recording("real samples", _array(np.real(samples())), "I/Q samples must be complex"),
    recording("whole numbers", _array(np.ones(3000, np.int16)), "I/Q samples must be complex"),
    recording("NaN", _with(lambda array: array.put(5, np.nan)), "samples must be finite, 1 are"),
    recording("infinity", _with(lambda array: array.put(5, np.inf)), "samples must be finite, 1 are"),
    recording("10^300", _array(samples().astype(np.complex128) * 1e300), "samples must be finite"),
    recording("10^30", _array(samples() * np.float32(1e30)), "the largest of the samples must be"),
    recording("zeros", _array(np.zeros(3000, np.complex64)), "must have no gaps"),
    recording("a second of zeros", _with(lambda array: array.__setitem__(slice(900, 1400), 0)), "must have no gaps"),
    recording("the smallest numbers", _array(samples() * np.float32(1e-30)), "the largest of the samples must be"),
    recording("numbers of 16 bytes", _array(samples().astype(np.clongdouble)), "", accepted=True),
    recording("other byte order", _array(samples().astype(">c8")), "", accepted=True),
    recording("Fortran order", _array(np.asfortranarray(samples()[:, None])), "", accepted=True),
    recording("constant", _array(np.ones(10_000, np.complex64)), "", accepted=True),
    recording("pipe", os.mkfifo, "regular file"),
    recording("device", lambda path: path.symlink_to("/dev/zero"), "regular file"),
    recording("link to nothing", lambda path: path.symlink_to("nowhere.npy"), "regular file"),
    recording("memory of the process", lambda path: path.symlink_to("/proc/self/mem"), r"walk\.npy: "),
    recording(
        "receiver that is not there", _array(samples()), "receiver", "--axes", "time", "receivers", "--receiver", "2"
    ),
    recording("I and Q of three", _array(np.ones((3000, 3))), "must have length 2", "--axes", "time", "iq"),
]

MAT = [
    mat("mat: no bytes", bytes_of(b""), BROKEN),
    mat("mat: zeros", bytes_of(bytes(4096)), BROKEN + "|must name the array"),
    mat("mat: text", bytes_of(b"walk " * 500), BROKEN + "|must name the array"),
    mat("mat: header alone", bytes_of(_mat5(b"")), "must name the array"),
    mat("mat: cut", _cut_mat(0.6, False), BROKEN),
    mat("mat: cut, compressed", _cut_mat(0.6, True), BROKEN),
    mat("mat: cut in the header", _cut_mat(0.005, False), BROKEN),
    mat("mat: compressed noise", bytes_of(_mat5(struct.pack("<II", 15, 500) + bytes(range(250)) * 2)), BROKEN),
    mat("mat: element of 4 GB", bytes_of(_mat5(struct.pack("<II", 14, 2**32 - 1) + bytes(64))), BROKEN),
    mat("mat: 2 GB in 2 MB", bytes_of(_mat_bomb(2**14, 2**14, 2048)), SIZE),
    mat("mat: 2 GB behind a small shape", bytes_of(_mat_bomb(2, 2, 2048)), BROKEN),
    mat("mat: shape of terabytes", bytes_of(lambda: _mat5(b"".join(_matrix(2**30, 2**10, [bytes(64)], 64)))), SIZE),
    mat("mat: shape below 0", bytes_of(lambda: _mat5(b"".join(_matrix(-3, 5, [bytes(64)], 64)))), r"walk\.mat: "),
    mat(
        "mat: version 4 of terabytes", bytes_of(struct.pack("<5i", 0, 2**30, 2**12, 0, 3) + b"iq\0" + bytes(64)), BROKEN
    ),
    mat("mat: shape of more numbers", bytes_of(lambda: _mat5(b"".join(_matrix(300, 5, [bytes(120)], 120)))), BROKEN),
    mat("mat: numbers of an unknown type", bytes_of(_unknown_type), BROKEN),
    mat("mat: cells", _mat(iq=np.array([[1, "a"]], object)), "must name the array"),
    mat("mat: structure of two arrays", _mat(iq={"a": samples(), "b": samples()}), "must name the array"),
    mat("mat: text variable", _mat(iq="walk"), "must name the array"),
    mat("mat: sparse matrix", _mat(iq=scipy.sparse.eye(500, format="csc")), "must name the array"),
    mat("mat: empty array", _mat(iq=np.zeros((0, 0))), "must name the array"),
    mat("mat: two arrays", _mat(iq=samples(), other=samples()), "must name the array"),
    mat("mat: no such variable", _mat(iq=samples()), "must name an array of numbers, got x", "--mat-variable", "x"),
    mat("mat: real", _mat(iq=np.real(samples())), "I/Q samples must be complex"),
    mat("mat: NaN", _mat(iq=samples() * np.nan), "samples must be finite"),
    mat("v7.3: header alone", bytes_of(b"MATLAB 7.3".ljust(512) + b"\x89HDF\r\n\x1a\n"), BROKEN),
    mat("v7.3: no variables", _v73(lambda file: None), "must name the array"),
    mat("v7.3: damaged", _damaged_v73, BROKEN + "|must name|samples must"),
    mat("v7.3: terabytes without data", _huge(2**20, 2**20, chunks=(1024, 1024)), SIZE),
    mat("v7.3: exabytes", _huge(2**30, 2**27, chunks=(1024, 1024)), SIZE),
    mat("v7.3: 64 GB that is not stored", _huge(2**33), SIZE),
    mat("v7.3: 2 GB in 2 MB", _filled(2048), SIZE),
    mat("v7.3: million chunks of one number", _huge(2**24, chunks=(1,)), "chunks"),
    mat("v7.3: chunk of 2 GB", _huge(10, maxshape=(None,), chunks=(2**28,)), SIZE),
    mat("v7.3: link to itself", _link(h5py.SoftLink("/iq")), "must name the array"),
    mat("v7.3: link to nothing", _link(h5py.SoftLink("/nothing")), "must name the array"),
    mat("v7.3: link to a pipe", _external, "must name the array"),
    mat("v7.3: link to a file of the system", _link(h5py.ExternalLink("/etc/passwd", "/iq")), "must name the array"),
    mat("v7.3: group in itself", _v73(_loop), "must name the array"),
    mat("v7.3: numbers in a device", _raw_external, "must lie in the file itself"),
    mat("v7.3: numbers in another file", _virtual, "must lie in the file itself"),
    mat("v7.3: references", _v73(_references), "must name the array"),
    mat("v7.3: texts", _v73(_texts), "must name the array"),
    mat("v7.3: 300 arrays", _v73(_many), "must name the array"),
    mat("v7.3: class that is a number", _of_class(7), "must name the array"),
    mat("v7.3: class that is a list", _of_class([b"double", b"single"]), "must name the array"),
    mat("v7.3: class that is no text", _of_class(np.bytes_(b"\xff\xfe")), "must name the array"),
    mat("v7.3: class of Unicode", _of_class("double"), "must be complex|must have 1 axes"),
    mat("v7.3: unknown class", _of_class(np.bytes_("gpuArray")), "must name the array"),
    mat("v7.3: no space", _v73(lambda file: file.create_dataset("iq", data=h5py.Empty("f8"))), "must name the array"),
    mat("v7.3: true and false", _v73(lambda file: file.create_dataset("iq", data=np.ones(9, bool))), "must name"),
    mat(
        "v7.3: records",
        _v73(lambda file: file.create_dataset("iq", (9,), [("real", "S3"), ("imag", "f8")])),
        "must name",
    ),
]


def _cut(path: Path, array: np.ndarray) -> None:
    np.save(path, array)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


ROWS = [
    recording("a good source", _array(samples()), "images of 2 users", accepted=True),
    *NPY,
    *MAT,
]
