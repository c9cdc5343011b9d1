"""Hostile recordings (.npy, .mat) and motion captures (.npz)."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import scipy.sparse

from echoform_train.radar.mocap import CMU_NAMES
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


def _bytes(content: bytes | Callable[[], bytes]) -> Write:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content())


def _array(array: Any, **settings: Any) -> Write:
    return lambda path: np.save(path, array, **settings)


def npy(header: str, data: bytes = b"") -> bytes:
    """A .npy file with any header."""
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _shape(*shape: int, kind: str = "<c8") -> bytes:
    return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}")


def _sparse_npy(path: Path) -> None:
    """A file of a terabyte without content, which keeps the promise of its header."""
    path.write_bytes(_shape(2**37))
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


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value)


RECORD = [("real", "S3"), ("imag", "f8")]
NPY = [
    recording("no bytes", _bytes(b""), BROKEN),
    recording("text", _bytes(b"walk " * 50), BROKEN),
    recording("signature alone", _bytes(b"\x93NUMPY\x01\x00"), BROKEN),
    recording("header of nonsense", _bytes(npy("{'descr': ")), BROKEN),
    recording("header of a thousand brackets", _bytes(npy("(" * 1000)), BROKEN),
    recording("header that is code", _bytes(npy("__import__('os').system('touch evil')")), BROKEN),
    recording("header without a shape", _bytes(npy("{'descr': '<c8', 'fortran_order': False}")), BROKEN),
    recording("header of an unknown dtype", _bytes(_shape(9, kind="<q99")), BROKEN),
    recording("shape of 10^12 without data", _bytes(_shape(10**12)), BROKEN),
    recording("shape of 10^30", _bytes(_shape(10**30)), BROKEN),
    recording("shape below 0", _bytes(_shape(-5)), BROKEN),
    recording("shape of a fraction", _bytes(npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1.5,)}")), BROKEN),
    recording("a terabyte of nothing", _sparse_npy, r"must hold 1 to 33,554,432 samples"),
    recording("cut in the middle", lambda path: _cut(path, samples()), BROKEN),
    recording("objects", _array(np.array([{}, {}]), allow_pickle=True), BROKEN),
    recording("a pickle", _bytes(_pickled([1, 2])), BROKEN),
    recording("an archive", _archive, BROKEN),
    recording("texts", _array(np.array(["a", "b"])), "must hold an array of numbers"),
    recording("dates", _array(np.array(["2020-01-01"], "M8[D]")), "must hold an array of numbers|cannot be read"),
    recording("true and false", _array(np.ones(3000, bool)), "must hold an array of numbers"),
    recording("records", _array(np.zeros(3000, [("a", "f4"), ("b", "f4")])), "must hold an array of numbers"),
    recording("one number", _array(np.complex64(1)), "must have 1 axes|must hold"),
    recording("no samples", _array(np.zeros(0, np.complex64)), BROKEN + "|must hold 1 to"),
    recording("one sample", _array(np.ones(1, np.complex64)), "at least one image"),
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
    mat("mat: no bytes", _bytes(b""), BROKEN),
    mat("mat: zeros", _bytes(bytes(4096)), BROKEN + "|must name the array"),
    mat("mat: text", _bytes(b"walk " * 500), BROKEN + "|must name the array"),
    mat("mat: header alone", _bytes(_mat5(b"")), "must name the array"),
    mat("mat: cut", _cut_mat(0.6, False), BROKEN),
    mat("mat: cut, compressed", _cut_mat(0.6, True), BROKEN),
    mat("mat: cut in the header", _cut_mat(0.005, False), BROKEN),
    mat("mat: compressed noise", _bytes(_mat5(struct.pack("<II", 15, 500) + bytes(range(250)) * 2)), BROKEN),
    mat("mat: element of 4 GB", _bytes(_mat5(struct.pack("<II", 14, 2**32 - 1) + bytes(64))), BROKEN),
    mat("mat: 2 GB in 2 MB", _bytes(_mat_bomb(2**14, 2**14, 2048)), SIZE),
    mat("mat: 2 GB behind a small shape", _bytes(_mat_bomb(2, 2, 2048)), BROKEN),
    mat("mat: shape of terabytes", _bytes(lambda: _mat5(b"".join(_matrix(2**30, 2**10, [bytes(64)], 64)))), SIZE),
    mat("mat: shape below 0", _bytes(lambda: _mat5(b"".join(_matrix(-3, 5, [bytes(64)], 64)))), r"walk\.mat: "),
    mat("mat: version 4 of terabytes", _bytes(struct.pack("<5i", 0, 2**30, 2**12, 0, 3) + b"iq\0" + bytes(64)), BROKEN),
    mat("mat: shape of more numbers", _bytes(lambda: _mat5(b"".join(_matrix(300, 5, [bytes(120)], 120)))), BROKEN),
    mat("mat: numbers of an unknown type", _bytes(_unknown_type), BROKEN),
    mat("mat: cells", _mat(iq=np.array([[1, "a"]], object)), "must name the array"),
    mat("mat: structure of two arrays", _mat(iq={"a": samples(), "b": samples()}), "must name the array"),
    mat("mat: text variable", _mat(iq="walk"), "must name the array"),
    mat("mat: sparse matrix", _mat(iq=scipy.sparse.eye(500, format="csc")), "must name the array"),
    mat("mat: empty array", _mat(iq=np.zeros((0, 0))), "must name the array"),
    mat("mat: two arrays", _mat(iq=samples(), other=samples()), "must name the array"),
    mat("mat: no such variable", _mat(iq=samples()), "must name an array of numbers, got x", "--mat-variable", "x"),
    mat("mat: real", _mat(iq=np.real(samples())), "I/Q samples must be complex"),
    mat("mat: NaN", _mat(iq=samples() * np.nan), "samples must be finite"),
    mat("v7.3: header alone", _bytes(b"MATLAB 7.3".ljust(512) + b"\x89HDF\r\n\x1a\n"), BROKEN),
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


def walk(seconds: float = 4.0, fps: float = 120.0) -> dict[str, Any]:
    """A straight walk of CMU's skeleton along x, y up: a body that glides, with legs that swing."""
    time_s = np.arange(int(seconds * fps)) / fps
    heights = {"lowerneck": 1.45, "head": 1.7, "clavicle": 1.4, "humerus": 1.15, "wrist": 0.9}
    heights |= {"hipjoint": 0.95, "femur": 0.5, "tibia": 0.1, "toes": 0.02}
    names = tuple(CMU_NAMES.values())
    joints = np.zeros((len(time_s), len(names), 3))
    for number, name in enumerate(names):
        bone = name if name in heights else name[1:]
        side = {"r": 1, "l": -1}[name[0]] if name not in heights else 0
        swing = 0.25 * side * (1 - heights[bone]) * np.sin(2 * np.pi * 0.9 * time_s)
        joints[:, number] = np.stack([1.3 * time_s + swing, heights[bone] + 0 * time_s, 0.1 * side + 0 * time_s], -1)
    return {"joints": joints, "names": np.array(names), "fps": fps}


def _simulate(folder: Path) -> list[str]:
    return ["simulate", str(folder / "out"), "--joints", str(folder / "joints"), "--resolution", "32", "--workers", "1"]


def capture(name: str, write: Write, expected: str, *flags: str, accepted: bool = False) -> Row:
    """A row whose only motion capture is written by `write`."""

    def make(folder: Path) -> list[str]:
        (folder / "joints").mkdir()
        write(folder / "joints" / "07_01.npz")
        return [*_simulate(folder), *flags]

    return Row(f"capture: {name}", "simulate", make, expected, accepted=accepted)


def _capture(**changes: Any) -> Write:
    def write(path: Path) -> None:
        held = {name: value for name, value in (walk() | changes).items() if value is not None}
        with path.open("wb") as stream:
            np.savez(stream, **held)

    return write


def _members(**members: bytes) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(f"{name}.npy", content)

    return write


def _stored(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _zip_bomb(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("joints.npy", "w", force_zip64=True) as member,
    ):
        member.write(_shape(2**28, kind="<f8"))
        for _ in range(512):
            member.write(bytes(2**20))


def _damaged_zip(path: Path) -> None:
    _capture()(path)
    data = bytearray(path.read_bytes())
    data[2000:9000] = bytes(7000)
    path.write_bytes(data)


GOOD = walk()
CAPTURES = [
    capture("no bytes", _bytes(b""), r"07_01\.npz must be an \.npz file"),
    capture("text", _bytes(b"walk " * 50), "must be an .npz file"),
    capture("a pickle", _bytes(_pickled([1])), "must be an .npz file"),
    capture("a .npy", _bytes(_stored(np.ones(5))), "must be an .npz file"),
    capture("a pipe", os.mkfifo, "must be an .npz file"),
    capture("a folder", lambda path: path.mkdir(), "must be an .npz file"),
    capture("a link to nothing", lambda path: path.symlink_to("no.npz"), "must be an .npz file"),
    capture("an empty archive", _members(), "lacks joints, names, fps"),
    capture("512 MB in 2 MB", _zip_bomb, "at most 64 MiB"),
    capture("damaged", _damaged_zip, "cannot be read"),
    capture("member that is text", _members(joints=b"x", names=b"y", fps=b"z"), "must be one number"),
    capture("objects", _capture(joints=np.array([{}, {}], object)), "cannot be read"),
    capture(
        "shape of terabytes", _members(joints=_shape(2**30, 31, 3, kind="<f8"), names=b"", fps=b""), "cannot be read"
    ),
    capture("no joints", _capture(joints=None), "lacks joints"),
    capture("no rate", _capture(fps=None), "lacks fps"),
    capture("rate of NaN", _capture(fps=np.nan), r"fps of [^\n]* must be in 30\.\.1000"),
    capture("rate of 0", _capture(fps=0), "must be in 30"),
    capture("rate of 10^9", _capture(fps=1e9), "must be in 30"),
    capture("rate that is a text", _capture(fps=np.array("120")), "must be one number"),
    capture("two rates", _capture(fps=np.array([120, 100])), "must be one number"),
    capture("names that are numbers", _capture(names=np.arange(len(CMU_NAMES))), "list of texts"),
    capture("too few names", _capture(names=GOOD["names"][:3]), r"must be \[T, 3, 3\]"),
    capture("other names", _capture(names=np.array([f"j{i}" for i in range(len(CMU_NAMES))])), "are missing"),
    capture("joints in a plane", _capture(joints=GOOD["joints"][..., :2]), r"must be \[T"),
    capture("complex joints", _capture(joints=GOOD["joints"] + 1j), "must hold numbers as joints"),
    capture("NaN", _capture(joints=GOOD["joints"] * np.nan), "must be finite"),
    capture("10^300 metres", _capture(joints=GOOD["joints"] * 1e300), "must be finite|within"),
    capture("millimetres", _capture(joints=GOOD["joints"] * 1000), "within"),
    capture("no moments", _capture(joints=GOOD["joints"][:0]), r"07_01\.npz|at least a window"),
    capture("one moment", _capture(joints=GOOD["joints"][:1]), "at least a window"),
    capture("standing", _capture(joints=np.repeat(GOOD["joints"][:1], 480, 0)), "0.5 m or more"),
    capture("upside down", _capture(joints=GOOD["joints"] * [1, -1, 1]), "head must stand above"),
    capture("zeros", _capture(joints=GOOD["joints"] * 0), r"07_01\.npz: "),
    Row("capture: no folder", "simulate", _simulate, "there is no folder"),
    Row("capture: folder of nothing", "simulate", lambda folder: _nothing(folder), "holds none"),
    Row("capture: another name", "simulate", lambda folder: _named(folder, "walk.npz"), "must be named"),
]


def _nothing(folder: Path) -> list[str]:
    (folder / "joints").mkdir()
    return _simulate(folder)


def _named(folder: Path, name: str) -> list[str]:
    words = _nothing(folder)
    _capture()(folder / "joints" / name)
    return words


ROWS = [
    recording("a good source", _array(samples()), "images of 2 users", accepted=True),
    *NPY,
    *MAT,
    capture("a good walk", _capture(), "", accepted=True),
    *CAPTURES,
]
