"""Image files that lie, are cut short or hold too much, as bytes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from hostile.inputs import depth_image, spectrogram

GREY, RGB = 0, 2


def encoded(pixels: np.ndarray | Image.Image, form: str, **settings: Any) -> bytes:
    """An image in one of PIL's formats."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, form, **settings)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *, colour: int = RGB, bits: int = 8, data: bytes = b"", extra: Sequence[bytes] = ()
) -> bytes:
    """A PNG whose header promises a size, with any data behind it."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@cache
def full_png(width: int, height: int, *, colour: int = RGB, bits: int = 8) -> bytes:
    """A PNG of zeros that keeps the promise of its header, compressed a thousandfold."""
    row = bytes(1 + width * bits // 8 * (3 if colour == RGB else 1))
    squeeze = zlib.compressobj(9)
    pieces = [squeeze.compress(row) for _ in range(height)]
    return png(width, height, colour=colour, bits=bits, data=b"".join(pieces) + squeeze.flush())


@cache
def text_bomb(kind: bytes) -> bytes:
    """A small PNG with a compressed text or colour profile that unfolds to 256 MB."""
    squeeze = zlib.compressobj(9)
    body = b"".join(squeeze.compress(bytes(2**20)) for _ in range(256)) + squeeze.flush()
    extra = chunk(kind, (b"name\0\0" if kind != b"iTXt" else b"name\0\1\0\0\0") + body)
    rows = b"".join(b"\0" + row.tobytes() for row in spectrogram())
    return png(32, 32, data=zlib.compress(rows), extra=[extra])


def bmp(width: int, height: int) -> bytes:
    """A header of 24-bit BMP without pixels."""
    return struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def jpeg(width: int, height: int) -> bytes:
    """A JPEG of 32x32 whose frame header promises another size."""
    data = bytearray(encoded(spectrogram(), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def tiff(entries: Sequence[tuple[int, int, int]], *, next_page: int = 0, body: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory: tag, type (3 short, 4 long) and value of each entry."""
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in sorted(entries))
    return (
        struct.pack("<2sHI", b"II", 42, 8)
        + struct.pack("<H", len(entries))
        + packed
        + struct.pack("<I", next_page)
        + body
    )


def grey_tiff(width: int, height: int, bits: int = 16, **settings: Any) -> bytes:
    """An uncompressed grey TIFF whose directory promises a size."""
    offset = 8 + 2 + 12 * 8 + 4
    entries = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, offset)]
    entries += [(278, 4, height), (279, 4, min(width * height * bits // 8, 2**32 - 1))]
    return tiff(entries, **settings)


def pages(count: int) -> bytes:
    """A TIFF of many pages of one pixel."""
    size = 2 + 12 * 8 + 4
    end = 8 + count * size
    entries = [(256, 4, 1), (257, 4, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, end), (278, 4, 1), (279, 4, 1)]
    nexts = [8 + number * size for number in range(1, count)] + [0]
    return tiff(entries)[:8] + b"".join(tiff(entries, next_page=place)[8:] for place in nexts) + b"\0"


def animated(form: str) -> bytes:
    """A moving image."""
    frames = [Image.fromarray(spectrogram(number)) for number in range(3)]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=50)


def webp(width: int, height: int) -> bytes:
    """A lossless WebP of 32x32 whose header promises another size, up to 16384."""
    data = bytearray(encoded(spectrogram(), "WEBP", lossless=True))
    start = data.index(b"VP8L") + 9
    data[start : start + 4] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return bytes(data)


def ppm(width: int, height: int) -> bytes:
    """A header of a binary PGM of 16 bits without pixels."""
    return f"P5 {width} {height} 65535\n".encode()


def damaged(form: str, seed: int, *, depth: bool = False) -> bytes:
    """An image with a tenth of its bytes behind the header replaced at random."""
    data = bytearray(encoded(depth_image() if depth else spectrogram(), form))
    rng = np.random.default_rng(seed)
    for place in rng.integers(12, len(data), max(1, len(data) // 10)):
        data[place] = rng.integers(256)
    return bytes(data)
