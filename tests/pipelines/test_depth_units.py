"""Depth in other units, encodings and densities: what pipeline, processor and encoder take, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from echoform import SemanticEncoder
from echoform.depth_units import as_list, decoded_units, resize_depth
from echoform.transformers_depth_encoder import DepthImageProcessor
from tiny_depth import PerfectAutoencoder, tiny_autoencoder, tiny_depth_pipeline

FACTS: dict[str, Any] = {"units_per_mm": 1.0, "float_unit": None, "encoding": "linear"}
RANGE = {"min": 300.0, "max": 5000.0}


def scene_mm() -> np.ndarray:
    rows, columns = np.mgrid[:32, :32]
    return 400 + 60 * rows + 50 * columns


def doors(**facts: Any) -> dict[str, Any]:
    """Everything that embeds an image, by name; each takes one image."""
    pipe = tiny_depth_pipeline(**facts)
    semantic = SemanticEncoder()
    semantic.encoder = tiny_autoencoder().encoder
    settings = {name: value for name, value in pipe.config.items() if name in semantic.encoder.config}
    semantic.encoder.register_to_config(**settings)
    processor = DepthImageProcessor(32, depth_range_mm=RANGE, **facts)
    return {
        "pipeline": pipe.encode,
        "processor": lambda image: processor(image)["depth"],
        "encode_numpy": lambda image: semantic.encode_numpy(np.asarray(image)),
    }


@pytest.mark.parametrize("door", ["pipeline", "processor", "encode_numpy"])
def test_metres_are_refused_where_no_unit_is_told_and_are_millimetres_where_it_is(door: str):
    metres = (scene_mm() / 1000).astype(np.float32)
    with pytest.raises(ValueError, match=r"at most 1 % by rounding, 0\.4 would be 0 units of 1 mm; is it in metres"):
        doors()[door](metres)
    expected = doors()[door](scene_mm().astype(np.uint16))
    found = doors(float_unit="m")[door](metres)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    half = doors(float_unit="m")[door](metres.astype(np.float16))
    np.testing.assert_allclose(np.asarray(half), np.asarray(expected), atol=0.02)


@pytest.mark.parametrize("door", ["pipeline", "processor", "encode_numpy"])
def test_an_image_with_readings_of_which_none_is_in_range_is_refused(door: str):
    with pytest.raises(ValueError, match=r"readings in 300\.\.5000 mm, they are 40000\.\.40000 mm"):
        doors()[door](np.full((20, 20), 40_000, np.uint16))


@pytest.mark.parametrize("door", ["pipeline", "processor", "encode_numpy"])
def test_readings_that_resizing_would_lose_are_refused_unless_the_rule_keeps_them(door: str):
    sparse = np.zeros((320, 320), np.uint16)
    sparse[::10, ::10] = 1000
    with pytest.raises(ValueError, match=r"too few readings for resize_rule 'half': 1\.00% of the pixels"):
        doors()[door](sparse)
    expected = doors()[door](np.full((32, 32), 1000, np.uint16))
    np.testing.assert_allclose(doors(resize_rule="any")[door](sparse), expected, rtol=1e-6)


def test_bits_that_are_rotated_are_turned_back_as_the_toolbox_of_sun_rgbd_does():
    depth_mm = np.array([[0, 1, 812, 4000, 8191, 8192, 60000, 65535]], np.uint16)
    stored = np.array([[int(f"{v:016b}"[3:] + f"{v:016b}"[:3], 2) for v in depth_mm[0]]], np.uint16)
    assert np.array_equal(decoded_units(stored, FACTS | {"encoding": "rotated"}), depth_mm)


def test_disparity_of_a_kinect_becomes_millimetres():
    # 1 / (3.3309495161 - 0.0030711016 d): 500 is 0.557 m, 800 is 1.144 m, 1000 is 3.848 m.
    stored = np.array([[500, 800, 1000, 1084, 1085, 2047]], np.uint16)
    found = decoded_units(stored, FACTS | {"encoding": "disparity"})
    assert found[0, :3].tolist() == [557, 1144, 3848]
    assert found[0, 3:].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"disparity must be in 0\.\.2047, got 2048"):
        decoded_units(stored + 1, FACTS | {"encoding": "disparity"})


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1.0), ("cm", 10.0), ("m", 1000.0)])
def test_units_of_floats_are_as_many_millimetres(unit: str, mm: float):
    exact = np.array([[np.nan, 300.0, 1234.25]])
    assert decoded_units(exact / mm, FACTS | {"float_unit": unit, "units_per_mm": 4.0}).tolist() == [[0, 1200, 4937]]


def test_an_image_of_colours_is_no_batch_of_narrow_ones():
    for channels in (3, 4):
        colours = np.full((40, 50, channels), 1000, np.uint16)
        with pytest.raises(ValueError, match=rf"got \[40, 50, {channels}\]"):
            tiny_depth_pipeline()(colours)
        with pytest.raises(ValueError, match=rf"got \[40, 50, {channels}\]"):
            doors()["encode_numpy"](colours)
    assert len(as_list(np.ones((2, 40, 3), np.uint16))) == 2


def test_any_keeps_the_mean_of_the_readings_and_nearest_the_pixel_at_the_centre():
    units = torch.zeros(1, 1, 6, 6)
    units[0, 0, 0, 0], units[0, 0, 1, 2], units[0, 0, 4, 4] = 1000, 2000, 700
    assert resize_depth(units, (2, 2)).sum() == 0
    assert resize_depth(units, (2, 2), "any")[0, 0].round().tolist() == [[1500, 0], [0, 700]]
    assert resize_depth(units, (2, 2), "nearest")[0, 0].tolist() == [[0, 0], [0, 700]]
    larger = torch.from_numpy(scene_mm()).float()[None, None]
    for rule in ("any", "nearest"):
        assert torch.equal(resize_depth(larger, (32, 32), rule), larger)
        assert (resize_depth(larger, (45, 70), rule) > 0).all()


@pytest.mark.parametrize("encoding", ["rotated", "disparity"])
def test_ends_of_a_walk_and_reconstructions_are_read_once(encoding: str):
    pipe = tiny_depth_pipeline(PerfectAutoencoder(), encoding=encoding)
    stored = np.full((32, 32), 800, np.uint16) if encoding == "disparity" else np.full((32, 32), 1144 << 3, np.uint16)
    assert (pipe(stored).depth[0] == 1144).all()
    assert all((one == 1144).all() for one in pipe.interpolate(stored, Image.fromarray(stored), steps=3).depth)


@pytest.mark.parametrize("facts", [{"float_unit": "foot"}, {"encoding": "zigzag"}, {"resize_rule": "all"}])
def test_facts_that_no_one_knows_are_refused(facts: dict[str, str]):
    with pytest.raises(ValueError, match=f"{next(iter(facts))} must be among"):
        tiny_depth_pipeline(**facts)
