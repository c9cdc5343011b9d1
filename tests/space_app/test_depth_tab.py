"""The depth tab, called as a program would, against the installed pipeline; and files that mean no good."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from echoform import DepthAutoencoderPipeline


@pytest.fixture(scope="module")
def pipe(depth_folder: Path) -> DepthAutoencoderPipeline:
    return DepthAutoencoderPipeline.from_pretrained(depth_folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two depth images whose low bytes matter, PNG and TIFF, one not square."""
    folder, rng = tmp_path_factory.mktemp("depth-images"), np.random.default_rng(0)
    paths = [folder / "a.png", folder / "b.tiff"]
    for path, shape in zip(paths, ((32, 32), (24, 40)), strict=True):
        depth_mm = 1500 + rng.integers(0, 1000, shape)
        depth_mm[:4, :4] = 0
        Image.fromarray(depth_mm.astype(np.uint16)).save(path)
    return paths


def embed(client: Client, paths: list[Path]) -> Any:
    return client.predict([handle_file(str(path)) for path in paths], api_name="/embed")


def test_all_sixteen_bits_reach_the_model_and_come_back(
    client: Client, pipe: DepthAutoencoderPipeline, files: list[Path]
):
    shown, table, near, npy, rebuilt, _ = embed(client, files)
    expected = pipe(files, batch_size=4)
    np.testing.assert_array_equal(np.load(npy), expected.latents.numpy())
    for row, rmse_mm, mae_mm in zip(table["data"], expected.rmse_mm, expected.mae_mm, strict=True):
        assert row[1:3] == [round(rmse_mm, 3), round(mae_mm, 3)]
    with zipfile.ZipFile(rebuilt) as pack:
        assert pack.namelist() == ["00_a.png", "01_b.png"]
        for name, depth in zip(pack.namelist(), expected.depth, strict=True):
            image = Image.open(BytesIO(pack.read(name)))
            assert image.mode == "I;16"
            np.testing.assert_array_equal(np.asarray(image), depth)
    assert [one["caption"] for one in shown][:2] == ["a.png", "reconstruction"]
    assert shown[2]["caption"] == f"RMSE {expected.rmse_mm[0]:.1f} mm"
    assert len(near) == 3


def test_the_nearest_image_of_a_copy_is_the_copy(client: Client, files: list[Path], tmp_path: Path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(files[0].read_bytes())
    _, table, near, *_ = embed(client, [files[0], files[1], copy])
    assert table["data"][0][5] == "copy.png" and table["data"][2][5] == "a.png"
    assert near[0]["caption"] == "copy.png, cosine 1.0000"


def test_a_walk_between_two_images_has_as_many_images_as_asked(client: Client, files: list[Path], tmp_path: Path):
    Image.fromarray(np.asarray(Image.open(files[0]))[::-1].copy()).save(tmp_path / "turned.png")
    ends = [handle_file(str(path)) for path in (files[0], tmp_path / "turned.png")]
    walk, moving = client.predict(*ends, 3, api_name="/interpolate_depth")
    assert [one["caption"] for one in walk] == ["0 % of the way", "50 % of the way", "100 % of the way"]
    with Image.open(moving) as frames:
        assert (frames.format, getattr(frames, "n_frames", 1)) == ("WEBP", 16)  # 9 there, 7 back
    with pytest.raises(AppError, match=r"images must be of one size, got 32 x 32 and 40 x 24"):
        client.predict(*(handle_file(str(path)) for path in files), 3, api_name="/interpolate_depth")


def test_a_tiff_of_floating_point_takes_nan_as_no_reading(client: Client, tmp_path: Path):
    depth_mm = np.full((32, 32), 1234.0, np.float32)
    depth_mm[:16] = np.nan
    Image.fromarray(depth_mm).save(tmp_path / "half.tiff")
    assert embed(client, [tmp_path / "half.tiff"])[1]["data"][0][4] == 0


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises that many 16-bit pixels and which holds none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    packed = chunk(b"IDAT", zlib.compress(b"\0" * 10))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + packed + chunk(b"IEND", b"")


def hostile(folder: Path, kind: str) -> Path:
    """A file that is not what its name says, or worse."""
    path, ramp = folder / f"{kind}.png", np.arange(1024, dtype=np.uint16).reshape(32, 32) + 1000
    if kind == "eight_bits":
        Image.fromarray((ramp // 8).astype(np.uint8)).save(path)
    elif kind == "photo":
        Image.new("RGB", (32, 32), "red").save(path)
    elif kind == "truncated":
        whole = BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 60000, (64, 64)).astype(np.uint16)).save(whole, "PNG")
        path.write_bytes(whole.getvalue()[:4000])
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
            pack.writestr("../../escaped.txt", b"0" * 10**6)
    elif kind in ("huge", "bomb"):
        path.write_bytes(png_of(*((5000, 4000) if kind == "huge" else (60000, 60000))))
    elif kind == "huge_tiff":
        tags = [(256, 4, 1, 60000), (257, 4, 1, 60000), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
        entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
        path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4)
    elif kind == "polyglot":
        Image.new("L", (8, 8)).save(path, "GIF")
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path = folder / f"{kind}.tiff"
        values = {"nan": np.nan, "inf": np.inf, "metres": 1.5, "negative": -5.0}
        if kind == "frames":
            Image.fromarray(ramp).save(path, save_all=True, append_images=[Image.fromarray(ramp)])
        else:
            Image.fromarray(np.full((32, 32), values[kind], np.float32)).save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("eight_bits", "eight_bits.png: depth must be 16-bit greyscale, it is of mode L; 8 bits hold no millimetres"),
        ("photo", "photo.png: depth must be 16-bit greyscale, it is of mode RGB; depth has one number per pixel"),
        ("truncated", "truncated.png is damaged, or not an image of the format PNG or TIFF"),
        ("zip", "zip.png is damaged, or not an image"),
        ("polyglot", "polyglot.png is damaged, or not an image"),
        ("empty", "empty.png is damaged, or not an image"),
        ("huge", "An image may have 4,194,304 pixels, huge.png has 5000 x 4000"),
        ("bomb", "An image may have 4,194,304 pixels, bomb.png has"),
        ("huge_tiff", "An image may have 4,194,304 pixels, huge_tiff.png has"),
        ("frames", "A file must hold one image, frames.tiff holds several"),
        ("nan", "nan.tiff must hold depths from 300 to 5000 mm, the range of the model, but it has no reading"),
        ("inf", "inf.tiff: depth must be finite"),
        ("metres", r"metres.tiff: .* lose at most 1 % by rounding, 1\.5 would be 2 units of 1 mm; is it in metres"),
        ("negative", "negative.tiff: depth must not be negative"),
    ],
)
def test_a_file_that_is_no_depth_image_is_refused_in_one_sentence(
    client: Client, tmp_path: Path, kind: str, message: str
):
    with pytest.raises(AppError) as told:
        embed(client, [hostile(tmp_path, kind)])
    assert re.search(message, str(told.value)), told.value
    assert str(tmp_path) not in str(told.value) and "gradio" not in str(told.value)


def test_too_many_or_too_large_or_wrongly_named_files_are_refused(client: Client, files: list[Path], tmp_path: Path):
    with pytest.raises(AppError, match="At most 16 files at once, got 17"):
        embed(client, [files[0]] * 17)
    with pytest.raises(AppError, match="at least one file"):
        embed(client, [])
    wrong = tmp_path / "depth.exe"
    wrong.write_bytes(files[0].read_bytes())
    with pytest.raises(AppError, match="Invalid file type"):
        embed(client, [wrong])
    large = tmp_path / "large.png"
    large.write_bytes(files[0].read_bytes() + b"\0" * (21 * 2**20))
    with pytest.raises(Exception, match="size"):  # the client's own error for status 413
        embed(client, [large])


def test_a_png_with_a_zip_behind_it_is_the_png_and_nothing_is_unpacked(
    client: Client, pipe: DepthAutoencoderPipeline, files: list[Path], tmp_path: Path
):
    pack = BytesIO()
    with zipfile.ZipFile(pack, "w") as archive:
        archive.writestr("../../../escaped.txt", b"0" * 10**6)
    (tmp_path / "a.png").write_bytes(files[0].read_bytes() + pack.getvalue())
    np.testing.assert_array_equal(np.load(embed(client, [tmp_path / "a.png"])[3]), pipe.encode([files[0]]).numpy())


def test_a_tiff_of_a_hundred_thousand_pictures_is_refused_at_once(client: Client, tmp_path: Path):
    width_height = struct.pack("<HHII", 256, 4, 1, 1) + struct.pack("<HHII", 257, 4, 1, 1)
    size = 2 + len(width_height) + 4
    one_after_the_other = (
        struct.pack("<H", 2) + width_height + struct.pack("<I", 8 + size * number) for number in range(1, 100_001)
    )
    (tmp_path / "many.tiff").write_bytes(b"II*\0" + struct.pack("<I", 8) + b"".join(one_after_the_other))
    with pytest.raises(AppError, match=r"many.tiff holds several|many.tiff is damaged"):
        embed(client, [tmp_path / "many.tiff"])


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../etc/passwd", "app.py"])
def test_a_request_cannot_name_a_file_of_the_machine(client: Client, path: str):
    named = {"path": path, "meta": {"_type": "gradio.FileData"}}
    asked = httpx.post(f"{client.src.rstrip('/')}/gradio_api/call/embed", json={"data": [[named]]}).json()
    stream = httpx.get(f"{client.src.rstrip('/')}/gradio_api/call/embed/{asked['event_id']}", timeout=60).text
    assert stream.startswith("event: error") and "root:" not in stream


def test_after_all_that_was_refused_the_app_lives_on(client: Client, files: list[Path]):
    assert len(embed(client, files)[1]["data"]) == 2
