"""Hostile captures: .bin files of 16-bit numbers, the files that describe them, .npz and .h5."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from hostile.corpus import Row
from hostile.inputs import samples
from walker_cubes import demo_config, studio_config

Write = Callable[[Path], object]

CONFIG = demo_config(samples=16, transmitters=1, receivers=1, loops=16, pulse_us=500, frame_ms=8)
STUDIO = studio_config(samples=16, transmitters=1, receivers=1, loops=16, pulse_us=500, frame_ms=8)
FLAGS = ["--format", "dca1000", "--rx", "1", "--samples", "16", "--lanes", "2", "--carrier-ghz", "24"]
FLAGS += ["--pulse-rate-hz", "2000", "--bandwidth-hz", "250e6"]
FRAMES = [*FLAGS, "--chirps", "16", "--frame-rate-hz", "125"]
ZERO = ["--centre", "zero", "--span-mps", "1.9"]
IQ_FLAGS = ["--pulse-rate-hz", "1000", "--carrier-ghz", "5.8"]


def words(chirps: int = 8000) -> bytes:
    """Chirps of 16 complex samples."""
    return np.random.default_rng(0).integers(-999, 999, (chirps, 32)).astype("<i2").tobytes()


def capture(
    name: str,
    write: Write,
    expected: str,
    *flags: str,
    file: str = "adc_data.bin",
    config: str | bytes | None = None,
    config_name: str = "profile.cfg",
    accepted: bool = False,
) -> Row:
    """A row whose recording is written by `write`, with a file about its chirps beside it."""

    def make(folder: Path) -> list[str]:
        for user in ("ID_1", "ID_2"):
            (folder / "data" / user).mkdir(parents=True)
        write(folder / "data" / "ID_1" / file)
        (folder / "data" / "ID_2" / "walk.bin").write_bytes(words())
        if config is not None:
            content = config.encode() if isinstance(config, str) else config
            (folder / "data" / config_name).write_bytes(content)
        out = ["--output-dir", str(folder / "out"), "--resolution", "32"]
        return ["prepare", str(folder / "data"), "--from-iq", *out, *flags]

    return Row(name, "prepare", make, expected, accepted=accepted)


def iq_file(name: str, file: str, write: Write, expected: str, *flags: str, accepted: bool = False) -> Row:
    """A row of two recordings of continuous wave in another kind of file."""

    def make(folder: Path) -> list[str]:
        for user in ("ID_1", "ID_2"):
            (folder / "data" / user).mkdir(parents=True)
        write(folder / "data" / "ID_1" / file)
        np.save(folder / "data" / "ID_2" / "walk.npy", samples(2))
        out = ["--output-dir", str(folder / "out"), "--resolution", "32"]
        return ["prepare", str(folder / "data"), "--from-iq", *out, *IQ_FLAGS, *flags]

    return Row(name, "prepare", make, expected, accepted=accepted)


def _bytes(content: bytes) -> Write:
    return lambda path: path.write_bytes(content)


def _sparse(path: Path) -> None:
    """A file of a terabyte without content."""
    path.touch()
    os.truncate(path, 2**40)


def _cfg(old: str, new: str) -> str:
    assert old in CONFIG
    return CONFIG.replace(old, new)


def _studio(**changes: object) -> str:
    content = json.loads(STUDIO)
    content["mmWaveDevices"][0]["rfConfig"].update(changes)
    return json.dumps(content)


def _npz(**arrays: Any) -> Write:
    return lambda path: np.savez(path, **arrays)


def _npz_bomb(path: Path) -> None:
    """An array of 2 GB in 2 MB."""
    head = f"{{'descr': '<c8', 'fortran_order': False, 'shape': ({2**28},), }}".ljust(117) + "\n"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("iq.npy", "w", force_zip64=True) as member,
    ):
        member.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode())
        for _ in range(64):
            member.write(bytes(2**20))


def _h5(build: Callable[[h5py.File], object]) -> Write:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            build(file)

    return write


def _loop(file: h5py.File) -> None:
    group = file.create_group("a")
    group["a"] = group
    group["b"] = file["/"]


def _struct(**fields: object) -> Write:
    return lambda path: scipy.io.savemat(path, {"radar": fields})


def _nested(path: Path) -> None:
    held: dict[str, object] = {"iq": samples()}
    for _ in range(20):
        held = {"s": held}
    scipy.io.savemat(path, {"radar": held})


def _damaged_struct(path: Path) -> None:
    _struct(iq=samples(), t=np.arange(9.0))(path)
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(range(60))
    path.write_bytes(data)


SIZE = r"ID_1/adc_data\.bin: its size must be a multiple of one "
CANNOT = r"profile\.cfg cannot be used as --chirp-config: "

ROWS = [
    capture("capture: good", _bytes(words()), "Wrote [0-9]+ spectrograms", *FLAGS, accepted=True),
    capture("capture: no bytes", _bytes(b""), SIZE + r"chirp of every transmitter, .* its 0 bytes are 0", *FLAGS),
    capture("capture: one byte too many", _bytes(words() + b"x"), SIZE + r".*= 64 bytes; .* and 1 bytes", *FLAGS),
    capture("capture: a part of a frame", _bytes(words(8001)), SIZE + r"frame, 16 chirps x .* and 64 bytes", *FRAMES),
    capture("capture: a terabyte", _sparse, r"a capture must hold at most [0-9,]+ samples", *FLAGS),
    capture("capture: a pipe", os.mkfifo, "regular file", *FLAGS),
    capture("capture: a device", lambda path: path.symlink_to("/dev/zero"), "regular file", *FLAGS),
    capture("capture: other receivers", _bytes(words()), "--rx must be in 1", *FLAGS, "--rx", "0"),
    capture("capture: five of four lanes", _bytes(words()), "in 1..4 with", *FLAGS, "--rx", "5", "--lanes", "4"),
    capture("capture: odd samples", _bytes(words()), "--samples must be even", *FLAGS, "--samples", "15"),
    capture("capture: a billion samples", _bytes(words()), "--samples must be in", *FLAGS, "--samples", "1000000000"),
    capture("capture: chirps alone", _bytes(words()), "must be given together", *FLAGS, "--chirps", "16"),
    capture("capture: frames that overlap", _bytes(words()), "must be over", *FRAMES, "--frame-rate-hz", "500"),
    capture("capture: channel 3 of 1", _bytes(words()), r"receiver must be in 1\.\.1", *FLAGS, "--receiver", "3"),
    capture("capture: axes", _bytes(words()), "--axes must be left out", *FLAGS, "--axes", "chirps", "samples"),
    capture("capture: no lanes", _bytes(words()), "needs --lanes", *FLAGS[:6], *FLAGS[8:]),
    capture("capture: NaN bandwidth", _bytes(words()), "bandwidth.hz must be above 0", *FLAGS[:-1], "nan"),
    capture("capture: an array", lambda path: np.save(path, samples()), "dca1000 is for", *FLAGS, file="x.npy"),
    capture("bin: no format", _bytes(words()), "does not say what it holds", *IQ_FLAGS),
    capture("bin: a byte too many", _bytes(words() + b"x"), r"multiple of one sample", "--format", "int16", *IQ_FLAGS),
    capture("bin: tx", _bytes(words()), "--tx and --lanes", "--format", "int16", "--tx", "2", *IQ_FLAGS),
    capture("cfg: good", _bytes(words()), "Wrote", "--format", "dca1000", *ZERO, config=CONFIG, accepted=True),
    capture(
        "json: good", _bytes(words()), "Wrote", "--format", "dca1000", *ZERO,
        config=STUDIO, config_name="a.mmwave.json", accepted=True,
    ),
    capture("cfg: no bytes", _bytes(words()), CANNOT + "a .cfg must have the line", "--format", "dca1000", config=""),
    capture("cfg: noise", _bytes(words()), CANNOT, "--format", "dca1000", config=bytes(range(256)) * 9),
    capture("cfg: large", _bytes(words()), CANNOT + "a .cfg must have", "--format", "dca1000", config="%" * 2**21),
    capture(
        "cfg: NaN", _bytes(words()), CANNOT + "value 2 of the line profileCfg", "--format", "dca1000",
        config=_cfg("profileCfg 0 77", "profileCfg 0 nan"),
    ),
    capture(
        "cfg: million loops", _bytes(words()), r"multiple of one frame", "--format", "dca1000", *ZERO,
        config=_cfg("frameCfg 0 0 16 0 8", "frameCfg 0 0 1000000 0 500000"),
    ),
    capture(
        "cfg: no rate", _bytes(words()), CANNOT + "the sampling rate must be above 0", "--format", "dca1000",
        config=_cfg(" 16 10000 ", " 16 0 "),
    ),
    capture(
        "cfg: no slope", _bytes(words()), CANNOT + "the chirp must sweep a bandwidth", "--format", "dca1000",
        config=_cfg(" 0 0 30 1 ", " 0 0 0 1 "),
    ),
    capture(
        "cfg: thousand chirps", _bytes(words()), CANNOT + "a frame must hold chirps within", "--format", "dca1000",
        config=_cfg("frameCfg 0 0 16", "frameCfg 0 9999999 16"),
    ),
    capture(
        "cfg: not there", _bytes(words()), "there is no such file", "--chirp-config", "nowhere.cfg"
    ),
    capture(
        "cfg: contradicts", _bytes(words()), "--samples is 32, but .* says 16", "--format", "dca1000",
        "--samples", "32", config=CONFIG,
    ),
    capture(
        "json: no profiles", _bytes(words()), "must have the list rlProfiles", "--format", "dca1000",
        config=_studio(rlProfiles=[]), config_name="a.json",
    ),
    capture(
        "json: text for a mask", _bytes(words()), "rxChannelEn must be a number", "--format", "dca1000",
        config=_studio(rlChanCfg_t={"rxChannelEn": "0xfish"}), config_name="a.json",
    ),
    iq_file("npz: good", "walk.npz", _npz(iq=samples()), "Wrote", accepted=True),
    iq_file("npz: I and Q", "walk.npz", _npz(I=np.real(samples()), Q=np.imag(samples())), "Wrote", accepted=True),
    iq_file("npz: noise", "walk.npz", _bytes(bytes(range(256)) * 9), r"walk\.npz: cannot be read as \.npz"),
    iq_file("npz: objects", "walk.npz", _npz(iq=np.array([{}, {}], object)), r"holds iq \(objects\)"),
    iq_file("npz: two arrays", "walk.npz", _npz(a=samples(), b=samples()), r"must name .* a \[10000, complex64\]"),
    iq_file("npz: 2 GB in 2 MB", "walk.npz", _npz_bomb, "must take at most"),
    iq_file("h5: good", "walk.h5", _h5(lambda file: file.create_dataset("iq", data=samples())), "Wrote", accepted=True),
    iq_file("h5: noise", "walk.h5", _bytes(bytes(range(256)) * 9), r"walk\.h5: cannot be read as \.h5"),
    iq_file("h5: group in itself", "walk.h5", _h5(_loop), "must name the array"),
    iq_file(
        "h5: terabytes", "walk.h5",
        _h5(lambda file: file.create_dataset("iq", (2**38,), "f4", chunks=(2**20,))), "must take at most",
    ),
    iq_file(
        "struct: I and Q", "walk.mat", _struct(real=np.real(samples()), imag=np.imag(samples())), "Wrote", accepted=True
    ),
    iq_file("struct: two arrays", "walk.mat", _struct(iq=samples(), t=np.arange(9.0)), r"radar\.iq .*radar\.t \["),
    iq_file("struct: I of another length", "walk.mat", _struct(I=np.ones(9), Q=np.ones(8)), "must name the array"),
    iq_file("struct: text", "walk.mat", _struct(note="walk"), r"the file holds radar\.note \(char\)"),
    iq_file("struct: 20 deep", "walk.mat", _nested, "must name the array"),
    iq_file("struct: damaged", "walk.mat", _damaged_struct, r"walk\.mat: "),
    iq_file(
        "two names of one array", "walk.npz", _npz(iq=samples()), "must be real arrays", "--mat-variable", "iq", "iq"
    ),
]  # fmt: skip
