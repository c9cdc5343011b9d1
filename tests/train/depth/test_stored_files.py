"""Depth files of every kind hold the same numbers, and sensors are presets of what their files hold."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from datasets import Dataset, Features, Image
from PIL import Image as Pillow

from echoform_train.depth.config import DepthDataConfig, load_depth_data
from echoform_train.depth.dataset import depth_lines, load_depth
from echoform_train.depth.image_files import read_depth
from echoform_train.depth.sensors import SENSORS, Reading
from echoform_train.depth.stored_files import encode_tiff_or_png
from echoform_train.engine.errors import UserError

METRES = Reading(float_unit="m")


def frame_mm(number: int = 1, height: int = 24, width: int = 30) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    depth = 700 + 30 * rows + 3 * columns + 11 * number
    depth[:4, :4] = 0
    return depth.astype(np.uint16)


def write(folder: Path, change: Any, suffix: str, frames: int = 30) -> Path:
    """Frames of one recording, each saved by `change`."""
    folder.mkdir()
    for number in range(frames):
        change(folder / f"depth_{number:04d}{suffix}", frame_mm(number))
    return folder


def save_pgm(path: Path, units: np.ndarray, comment: bytes = b"# depth\n") -> None:
    head = b"P5\n" + comment + f"{units.shape[1]} {units.shape[0]}\n65535\n".encode()
    path.write_bytes(head + units.astype(">u2").tobytes())


def save_mat(path: Path, units: np.ndarray) -> None:
    scipy.io.savemat(path, {"depth": units, "K": np.eye(3)})


def save_png(path: Path, units: np.ndarray) -> None:
    Pillow.fromarray(units.astype(np.uint16)).save(path)


def metres(units: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
    return (units / 1000).astype(dtype)


def test_every_kind_of_file_holds_the_same_units(tmp_path: Path):
    units = frame_mm()
    np.save(tmp_path / "whole.npy", units.astype(np.int32))
    np.save(tmp_path / "channel.npy", units[..., None])
    np.save(tmp_path / "metres.npy", metres(units))
    np.save(tmp_path / "doubles.npy", np.where(units == 0, np.nan, units / 1000))
    np.save(tmp_path / "big.npy", metres(units, ">f4"))
    save_mat(tmp_path / "whole.mat", units)
    save_pgm(tmp_path / "whole.pgm", units)
    Pillow.fromarray(metres(units)).save(tmp_path / "metres.tif")
    for path in sorted(tmp_path.iterdir()):
        found = read_depth(path, METRES, "depth" if path.suffix == ".mat" else None)
        assert found.dtype == np.uint16 and np.array_equal(found, units), path.name


def test_exr_is_read_by_its_channel_of_depth(tmp_path: Path):
    openexr = pytest.importorskip("OpenEXR")
    units = frame_mm()
    depth, other = metres(units), metres(units + 5)
    channels = {"one": {"V": depth}, "blender": {"View.Depth.Z": depth, "View.Combined.R": other}}
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    for name, content in channels.items():
        with openexr.File(header, content) as file:
            file.write(str(tmp_path / f"{name}.exr"))
        assert np.array_equal(read_depth(tmp_path / f"{name}.exr", METRES), units), name
    with openexr.File(header, {"RGB": np.stack([depth] * 3, -1)}) as file:
        file.write(str(tmp_path / "colours.exr"))
    with pytest.raises(ValueError, match=r"one channel of depth \(Z\), it has B, G, R"):
        read_depth(tmp_path / "colours.exr", METRES)


def test_exr_without_its_package_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "a.exr").write_bytes(b"v/1\x01")
    with pytest.raises(UserError, match=r"convert it to \.npy or floating-point TIFF.*echoform\[exr\]"):
        read_depth(tmp_path / "a.exr", METRES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("eight.pgm", b"P5 2 2 255\n" + bytes(4), "largest value is 255; 8 bits hold no millimetres"),
        ("cut.pgm", b"P5 20 20 65535\n" + bytes(40), "truncated"),
        ("text.pgm", b"P2 2 2 65535\n1 2 3 4", "no binary PGM"),
        ("huge.pgm", b"P5 99999 99999 65535\n", "at most|1 to 16,777,216 pixels"),
        ("text.npy", b"depth", "cannot be"),
        ("text.mat", b"depth", "cannot be"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: .*({message})"):
        read_depth(tmp_path / name, METRES)


@pytest.mark.parametrize(
    ("pixels", "reading", "message"),
    [
        (np.ones((4, 4), np.float32), Reading(), "floating point .*--float-unit names its unit"),
        (np.full((4, 4), 0.0123, np.float32), METRES, "at most 1 % by rounding, 12.3 would be 12 units of 1 mm"),
        (np.full((4, 4), 1800.0, np.float32), METRES, r"16 bits, up to 65\.535 m, it starts at 1800 m"),
        (np.full((4, 4), -1.0, np.float32), METRES, "must not be negative"),
        (np.ones((2, 4, 4), np.float32), METRES, r"one array \[H, W\].*it is \[2, 4, 4\]"),
        (np.ones((4, 4), np.uint8), METRES, "at least 16 bits, it is uint8"),
        (np.ones((4, 4), complex), METRES, "real numbers"),
    ],
)
def test_numbers_that_are_no_depth_are_refused(tmp_path: Path, pixels: np.ndarray, reading: Reading, message: str):
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(ValueError, match=message):
        read_depth(tmp_path / "a.npy", reading)


def test_a_background_beyond_16_bits_is_no_reading(tmp_path: Path):
    depth = metres(frame_mm())
    depth[5, 5] = 1e10
    np.save(tmp_path / "a.npy", depth)
    expected = frame_mm()
    expected[5, 5] = 0
    assert np.array_equal(read_depth(tmp_path / "a.npy", METRES), expected)


def rotated(units: np.ndarray) -> np.ndarray:
    return (units << 3) | (units >> 13)


def disparity(units: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        raw = (3.3309495161 - 1000 / units.astype(np.float64)) / 0.0030711016
    return np.where(units == 0, 2047, raw.clip(0, 2046).round()).astype(np.uint16)


@pytest.mark.parametrize(
    ("sensor", "stored", "tolerance_mm"),
    [
        ("d400", lambda units: units, 0),
        ("kinect", lambda units: units, 0),
        ("scannet", lambda units: units, 0),
        ("l515", lambda units: units * 4, 0),
        ("d405", lambda units: units * 10, 0),
        ("tum", lambda units: units * 5, 0),
        ("sunrgbd", rotated, 0),
        ("kitti", lambda units: (units * 0.256).round(), 4),
        ("kinect-raw", disparity, 6),
    ],
)
def test_a_preset_gives_millimetres_of_its_files_back(tmp_path: Path, sensor: Any, stored: Any, tolerance_mm: float):
    data = write(tmp_path / "data", lambda path, units: save_png(path, stored(units)), ".png")
    config = DepthDataConfig(data=str(data), resolution=24, sensor=sensor, gap_images=2)
    loaded = load_depth_data(config, None, 0)
    frames = [int(name[-8:-4]) for name in loaded.train.files]
    expected = np.stack([np.asarray(frame_mm(number, 24, 30)) for number in frames])
    span = loaded.train.units.int().numpy()[:, 0] / loaded.units_per_mm
    readings = expected[:, 4:].astype(float)  # rows without holes; columns are averaged
    found = span[:, 4:].mean(axis=-1)
    np.testing.assert_allclose(found, readings.mean(axis=-1), atol=max(1, tolerance_mm))
    assert loaded.depth_range_mm["min"] > 300 and loaded.depth_range_mm["max"] < 2500


def test_a_flag_takes_precedence_over_the_sensor():
    config = DepthDataConfig(data="x", sensor="kitti", units_per_mm=1.0, resize_rule="half")
    assert config.reading().facts() == Reading(invalid_values={}).facts()
    assert DepthDataConfig(data="x", sensor="nyu").reading().float_unit == "m"
    assert set(SENSORS) == {"d400", "l515", "d405", "kinect", "kinect-raw", "tum", "sunrgbd", "kitti", "nyu", "scannet"}


def hints(folder: Path, change: Any, **settings: Any) -> str:
    data = write(folder / "data", lambda path, units: save_png(path, change(units)), ".png")
    return "\n".join(depth_lines(load_depth(data, resolution=16, gap_images=2, **settings)))


def test_near_median_and_far_are_told_in_metres(tmp_path: Path):
    text = hints(tmp_path, lambda units: units)
    values = np.concatenate([frame_mm(number).ravel() for number in range(30)])
    near, median, far = np.quantile(values[values > 0], [0.01, 0.5, 0.99], method="inverted_cdf") / 1000
    assert f"near {near:.3g} m, median {median:.3g} m, far {far:.3g} m" in text
    assert "Hint" not in text
    assert "Pixels with a reading in range: 97.4% in the files, 97." in text


def _marked(units: np.ndarray) -> np.ndarray:
    units = units.copy()
    units[-5:, -5:] = 2047
    return units


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (rotated, r"multiples of 8: .*--units-per-mm 8.*--sensor sunrgbd"),
        (_marked, r"2047, the largest value, holds 3\.6% .*--invalid-values 2047 \(raw .*--sensor kinect-raw\)"),
        (lambda units: units // 100, r"only \d+ values"),
    ],
)
def test_numbers_that_look_like_others_are_hinted_at(tmp_path: Path, change: Any, hint: str):
    text = hints(tmp_path, change)
    assert re.search(rf"Hint: .*{hint}", text), text


def _sparse(path: Path, units: np.ndarray) -> None:
    wide = np.kron(units, np.ones((5, 5), np.uint16))
    kept = np.zeros(wide.shape, bool)
    kept[2::5, 2::5] = True
    save_png(path, np.where(kept, wide, 0))


def test_sparse_readings_are_told_of_refused_and_kept_by_another_rule(tmp_path: Path):
    data = write(tmp_path / "data", _sparse, ".png")
    with pytest.raises(UserError, match=r"3\.89% of the pixels .* 0\.00% after resizing to 24x24; --resize-rule any"):
        load_depth(data, resolution=24, gap_images=2)
    kept = load_depth(data, resolution=24, gap_images=2, resize_rule="any")
    assert kept.share_before == pytest.approx(0.0389, abs=1e-4) and kept.share_after > 0.9
    sampled = load_depth(data, resolution=70, gap_images=2, resize_rule="nearest")
    assert sampled.share_after == pytest.approx(0.0389, rel=0.5)
    whole = {int(value) for number in range(30) for value in np.unique(frame_mm(number))}
    assert set(sampled.train.units.int().unique().tolist()) <= whole


def test_images_of_which_most_have_nothing_in_range_are_refused(tmp_path: Path):
    data = write(
        tmp_path / "data", lambda path, units: save_png(path, units * (1 if int(path.stem[-1]) % 3 else 20)), ".png"
    )
    with pytest.raises(UserError, match="images must have readings in the range of 15000"):
        load_depth(data, resolution=24, gap_images=2, depth_range_mm={"min": 15000, "max": 40000})


def test_arrays_beside_images_are_left_alone(tmp_path: Path):
    data = write(tmp_path / "data", save_png, ".png")
    np.save(data / "camera.npy", np.eye(3))
    assert all(name.endswith(".png") for name in load_depth(data, resolution=24, gap_images=2).train.files)


def test_a_data_set_with_two_image_columns_needs_the_name_of_one(tmp_path: Path):
    rgb = encode_tiff_or_png(frame_mm())
    rows = {
        "image": [{"bytes": rgb, "path": None}] * 30,
        "depth_map": [{"bytes": encode_tiff_or_png(metres(frame_mm(n))), "path": None} for n in range(30)],
    }
    table = Dataset.from_dict(rows, features=Features({"image": Image(), "depth_map": Image()}))
    (tmp_path / "set").mkdir()
    table.to_parquet(tmp_path / "set" / "train.parquet")
    source = str(tmp_path / "set")
    settings: dict[str, Any] = {"resolution": 24, "gap_images": 2, "float_unit": "m"}
    with pytest.raises(UserError, match=r"--image-column must name one .*: image, depth_map"):
        load_depth(source, **settings)
    with pytest.raises(UserError, match=r"image, depth_map, got depth"):
        load_depth(source, image_column="depth", **settings)
    loaded = load_depth(source, image_column="depth_map", **settings)
    assert loaded.train.units.int().max() > 1400
