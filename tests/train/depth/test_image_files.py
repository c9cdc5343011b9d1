"""Files of depth: all 65536 values, and everything that only looks like depth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echoform_train.data.image_check import BadFileError
from echoform_train.depth.image_files import read_depth

EVERY_VALUE = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def save_png(path: Path, units: np.ndarray) -> None:
    Image.fromarray(units).save(path)


def save_big_endian_tiff(path: Path, units: np.ndarray) -> None:
    Image.frombytes("I;16B", units.shape[::-1], units.astype(">u2").tobytes()).save(path)
    assert path.read_bytes()[:2] == b"MM"


def save_compressed_tiff(path: Path, units: np.ndarray) -> None:
    Image.fromarray(units).save(path, compression="tiff_lzw")


def save_tiff_of_32_bits(path: Path, units: np.ndarray) -> None:
    Image.fromarray(units.astype(np.int32)).save(path)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.png", save_png),
        ("a.tif", save_png),
        ("b.tif", save_big_endian_tiff),
        ("c.tiff", save_compressed_tiff),
        ("d.tiff", save_tiff_of_32_bits),
    ],
)
def test_every_value_of_16_bits_is_read_as_it_was_written(tmp_path: Path, name: str, save: Callable[..., None]):
    save(tmp_path / name, EVERY_VALUE)
    units = read_depth(tmp_path / name)
    assert units.dtype == np.uint16 and units.dtype.isnative
    assert np.array_equal(units, EVERY_VALUE)


def test_twelve_bits_in_sixteen_are_not_stretched(tmp_path: Path):
    twelve = EVERY_VALUE[:16] % 4096
    save_png(tmp_path / "twelve.png", twelve)
    assert np.array_equal(read_depth(tmp_path / "twelve.png"), twelve)


def write(array: Any, **settings: Any) -> Callable[[Path], Any]:
    return lambda path: Image.fromarray(array).save(path, **settings)


def save_pages(path: Path) -> None:
    page = Image.fromarray(EVERY_VALUE)
    page.save(path, save_all=True, append_images=[page])


def save_cut(path: Path) -> None:
    save_png(path, EVERY_VALUE)
    path.write_bytes(path.read_bytes()[:-300])


def save_rgb_of_16_bits(path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(range(24)) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        (
            "grey.png",
            write(np.zeros((4, 4), np.uint8)),
            "16-bit greyscale, it is of mode L; 8 bits hold no millimetres",
        ),
        ("rgb.png", write(np.zeros((4, 4, 3), np.uint8)), "mode RGB; depth has one number per pixel"),
        ("rgb16.png", save_rgb_of_16_bits, "mode RGB; depth has one number per pixel"),
        ("grey.jpg", write(np.zeros((4, 4), np.uint8)), "must be PNG or TIFF, it is JPEG"),
        ("float.tif", write(np.zeros((4, 4), np.float32)), r"whole units of 16 bits, it is floating point"),
        ("wide.tif", write(np.full((4, 4), 70000, np.int32)), r"whole units in 0\.\.65535, it holds 70000\.\.70000"),
        ("signed.tif", write(np.full((4, 4), -1, np.int32)), r"whole units in 0\.\.65535, it holds -1\.\.-1"),
        ("pages.tif", save_pages, "must hold one image, it holds several"),
        ("cut.png", save_cut, "truncated or no image"),
        ("empty.png", lambda path: path.write_bytes(b""), "the file is empty"),
        ("text.png", lambda path: path.write_text("depth"), "truncated or no image"),
    ],
)
def test_what_only_looks_like_depth_is_refused_by_name_and_rule(
    tmp_path: Path, name: str, save: Callable[[Path], Any], message: str
):
    save(tmp_path / name)
    with pytest.raises(BadFileError, match=rf"{name}: .*{message}"):
        read_depth(tmp_path / name)


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_depth(tmp_path / "nothing.png")
