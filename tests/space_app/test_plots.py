"""What the Space draws, against numbers worked out by hand."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client.exceptions import AppError
from matplotlib import colormaps
from PIL import Image


def test_ticks_are_round_numbers_inside_the_span(module: Any):
    plots = module("plots")
    assert plots.ticks(-2000, 2000) == [-2000, -1000, 0, 1000, 2000]
    assert plots.ticks(0, 3) == [0, 1, 2, 3]
    assert plots.ticks(0.0, 0.3) == [0.0, 0.1, 0.2, 0.3]
    assert plots.ticks(312.5, 4987) == [1000, 2000, 3000, 4000]


def test_depth_has_the_colours_of_viridis(module: Any):
    bar = module("plots").depth_bar(0, 1000)
    viridis = np.asarray(colormaps["viridis"](range(256)))[:, :3] * 255
    assert np.abs(bar.colors - viridis).max() < 12


def test_a_signed_error_is_white_at_nothing_and_grey_where_it_is_not_known(module: Any):
    plots = module("plots")
    values, known = np.array([[-9.0, 0.0, 9.0, 0.0]]), np.array([[True, True, True, False]])
    low, middle, high, unknown = np.asarray(plots.paint(values, plots.signed_bar(9, "mm"), known))[0].tolist()
    assert low == [0x21, 0x66, 0xAC] and high == [0xB2, 0x18, 0x2B]
    assert min(middle) >= 245
    assert unknown == [150, 150, 150]


@pytest.mark.parametrize("side", [16, 128, 256, 1500])
def test_a_frame_holds_the_pixels_as_they_are_and_never_grows_beyond_a_screen(module: Any, side: int):
    plots = module("plots")
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    axis = plots.Axis(0, 1, "s")
    framed = np.asarray(plots.frame(Image.fromarray(noise), axis, axis, plots.depth_bar(0, 1)))
    left, top = plots.IMAGE_AT
    stride, factor = max(1, -(-side // 576)), max(1, round(288 / side))
    shown = noise[::stride, ::stride].repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(framed[top : top + len(shown), left : left + len(shown)], shown)
    assert max(framed.shape) < 800


def test_a_second_axis_stands_between_the_image_and_the_bar(module: Any):
    plots = module("plots")
    image = Image.new("RGB", (288, 288), "blue")
    time, hertz = plots.Axis(0, 3, "s"), plots.Axis(-1000, 1000, "Doppler, Hz")
    alone = plots.frame(image, time, hertz, plots.depth_bar(0, 1))
    both = plots.frame(image, time, hertz, plots.depth_bar(0, 1), plots.Axis(-2, 2, "m/s"))
    left, top = plots.IMAGE_AT
    beside = left + 288
    assert both.width > alone.width and both.height == alone.height
    # 1 m/s lies a quarter below the top: its tick is dark, and the rows around it are white.
    column = np.asarray(both.convert("L"))[top : top + 288, beside + 2]
    row = round((2 - 1) / 4 * 287)
    assert column[row] < 80 and column[row - 10] == column[row + 10] == 255
    # The bar of both frames is the same, farther to the right.
    moved = both.width - alone.width
    bars = np.asarray(alone)[:, beside + 8 :], np.asarray(both)[:, beside + 8 + moved :]
    np.testing.assert_array_equal(bars[0][top:], bars[1][top:])


def test_the_parts_of_a_card_that_were_measured_are_found_in_a_fixed_order(module: Any):
    card = "---\nx: 1\n---\n# A\n\n## Use\n\nno\n\n## Memorisation\n\n3 %\n\n## Did it help?\n\nYes.\n"
    assert module("report").sections(card) == "## Did it help?\n\nYes.\n\n## Memorisation\n\n3 %"
    assert module("report").sections("# Only a title\n") == ""


def test_a_curve_has_a_line_for_what_was_measured_and_none_for_what_was_not(module: Any):
    rows = [
        {"images_a_user": "5 <b>", "real": 0.25, "both": None},
        {"images_a_user": "all", "real": 0.75, "both": None},
    ]
    drawn = module("report").augmentation_curve(rows)
    assert drawn.count("<polyline") == 1 and "classical" not in drawn
    # 320 high with 14 above and 44 below: a quarter of the 262 between lies at 14 + 262 * 3 / 4.
    assert ",210.5 " in drawn and ",79.5" in drawn
    assert "5 &lt;b&gt;" in drawn
    assert module("report").augmentation_curve([]) == ""


def test_scenes_are_depth_images_in_the_range_that_they_are_drawn_for(module: Any):
    scene = module("depth").draw_scene(0, 64, 300, 5000)
    readings = scene[scene > 0]
    assert scene.dtype == np.uint16
    assert readings.min() >= 300 and readings.max() <= 5000 and len(np.unique(readings)) > 100
    assert (scene == 0).any()
    assert (module("depth").draw_scene(1, 64, 300, 5000) != scene).any()


def test_the_values_behind_a_readable_image_are_its_millimetres(module: Any):
    before, after = np.array([[0.0, 1234.4], [4999.6, 300.0]]), np.array([[1.0, 2.0], [3.0, 65535.0]])
    shown = module("probe").probe('a"<b>.png', before, after)
    values = {
        name: np.frombuffer(base64.b64decode(re.search(f'data-{name}="([^"]*)"', shown)[1]), "<u2")  # pyright: ignore
        for name in ("before", "after")
    }
    assert values["before"].tolist() == [0, 1234, 5000, 300] and values["after"].tolist() == [1, 2, 3, 65535]
    assert "<b>.png" not in shown and "&lt;b&gt;.png" in shown
    assert module("probe").probes([("a", before, after)] * 3).count("<figure") == 3


def test_an_upload_that_was_deleted_meanwhile_is_asked_for_again(module: Any, tmp_path: Path):
    with pytest.raises(
        AppError, match=r"gone.png was deleted, like every upload after an hour; please upload it again"
    ):
        module("visitors").open_upload(tmp_path / "gone.png", ("PNG",))
