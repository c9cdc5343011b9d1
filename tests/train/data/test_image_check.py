from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from echoform_train.data.image_check import BadFile, decode_image, find_suspicious, refuse

RGB = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def rgb16_png() -> bytes:
    """A 2x2 PNG with 16 bits a channel, written by the PNG specification since PIL cannot."""
    header = (2).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, data) for name, data in chunks)


def test_rgb_and_greyscale_come_back_bit_for_bit():
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(RGB)), "a.png"), RGB)
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(RGB[..., 0])), "a.png"), RGB[..., 0])


def test_colours_of_an_indexed_png_come_back_bit_for_bit():
    few = RGB // 128 * 128
    indexed = Image.fromarray(few).quantize(8, dither=Image.Dither.NONE)
    np.testing.assert_array_equal(decode_image(encode(indexed), "a.png"), np.asarray(indexed.convert("RGB")))


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "colour that no pixel has"])
def test_an_alpha_channel_that_says_nothing_is_dropped(kind):
    opaque = np.full((*RGB.shape[:2], 1), 255, np.uint8)
    if kind == "LA":
        data, expected = encode(Image.fromarray(np.dstack([RGB[..., :1], opaque]), "LA")), RGB[..., 0]
    elif kind == "RGBA":
        data, expected = encode(Image.fromarray(np.dstack([RGB, opaque]))), RGB
    elif kind == "P":
        few = RGB // 128 * 128
        indexed = Image.fromarray(few).quantize(8, dither=Image.Dither.NONE)
        data, expected = encode(indexed, transparency=bytes([255] * 8)), np.asarray(indexed.convert("RGB"))
    else:
        absent = next(level for level in range(256) if not np.equal((level, 0, 0), RGB).all(axis=-1).any())
        data, expected = encode(Image.fromarray(RGB), transparency=(absent, 0, 0)), RGB
    np.testing.assert_array_equal(decode_image(data, "a.png"), expected)


def test_sixteen_bits_come_back_bit_for_bit_where_numbers_are_wanted():
    levels = RGB[..., 0].astype(np.uint16) * 257 - 1
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(levels)), "a.png", numbers=True), levels)


WITH_ALPHA = np.dstack([RGB, RGB[..., :1]])
BAD = {
    "truncated png": (encode(Image.fromarray(RGB))[:-300], "truncated"),
    "truncated jpeg": (encode(Image.fromarray(RGB), "JPEG")[:-100], "truncated"),
    "truncated header": (encode(Image.fromarray(RGB))[:20], "truncated"),
    "text": (b"not an image", "no image"),
    "empty": (b"", "is empty"),
    "16-bit grey": (encode(Image.fromarray(RGB[..., 0].astype(np.uint16) * 256)), "8 bits.*I;16"),
    "16-bit rgb": (rgb16_png(), "8 bits"),
    "float": (encode(Image.fromarray(RGB[..., 0].astype(np.float32)), "TIFF"), "8 bits.*mode F"),
    "alpha": (encode(Image.fromarray(WITH_ALPHA)), "opaque.*RGBA"),
    "grey with alpha": (encode(Image.fromarray(WITH_ALPHA[..., :2].copy(), "LA")), "opaque.*LA"),
    "transparent colour": (encode(Image.fromarray(RGB), transparency=tuple(RGB[3, 4].tolist())), "opaque.*0.26 %"),
    "transparent palette": (encode(Image.fromarray(RGB).quantize(8), transparency=0), "opaque.*mode P"),
    "gif": (encode(Image.fromarray(RGB), "GIF"), "it is a GIF; save it as PNG"),
    "pdf": (b"%PDF-1.4 ...", "it is a PDF; save it as PNG"),
    "svg": (b"<?xml version='1.0'?><svg/>", "it is an SVG"),
    "avif": (b"\0\0\0\x1cftypavif", "it is AVIF"),
    "array": (b"\x93NUMPY\1\0", "it is an array of numpy"),
    "cmyk": (encode(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "mode is CMYK"),
    "one bit": (encode(Image.fromarray(RGB[..., 0]).convert("1")), "mode is 1"),
    "two frames": (
        encode(Image.fromarray(RGB), "TIFF", save_all=True, append_images=[Image.fromarray(RGB)]),
        "one image, it holds several",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_by_name_and_rule(kind):
    data, rule = BAD[kind]
    with pytest.raises(ValueError, match=rf"^ID_1/bad\.png: .*{rule}"):
        decode_image(data, "ID_1/bad.png")


def test_refusing_names_the_first_files_and_counts_the_rest():
    refuse([])
    with pytest.raises(ValueError, match=r"7 files cannot be used \(--skip-bad-files .*0\.png: rule; .*and 2 more"):
        refuse([BadFile(f"{number}.png", "rule") for number in range(7)])


def test_duplicates_and_blank_images_are_found():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)
    pixels[2] = pixels[0]
    pixels[3] = 7
    found = find_suspicious(pixels, ["a", "b", "c", "d"])
    assert found.duplicates == (("a", "c"),)
    assert found.blank == ("d",)
