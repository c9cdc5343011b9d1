"""What the Space draws, against numbers worked out by hand."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from gradio_client.exceptions import AppError
from matplotlib import colormaps
from PIL import Image

from echoform_train.depth.rooms.config import RoomsConfig
from echoform_train.depth.rooms.rendering import render_rooms


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


@pytest.mark.parametrize("side", [16, 64, 128, 256, 700, 1500])
def test_a_frame_holds_the_pixels_as_they_are_and_fills_a_screen(module: Any, side: int):
    plots = module("plots")
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    axis = plots.Axis(0, 1, "time, s")
    framed = np.asarray(plots.frame(Image.fromarray(noise), axis, axis, plots.depth_bar(0, 1)))
    left, top = plots.image_at(has_y=True)
    stride, factor = {1500: 2}.get(side, 1), {16: 48, 64: 12, 128: 6, 256: 3}.get(side, 1)
    shown = noise[::stride, ::stride].repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(framed[top : top + len(shown), left : left + len(shown)], shown)
    assert 700 <= len(shown) <= 1152 and max(framed.shape) < 1600


def test_a_second_axis_stands_between_the_image_and_the_bar(module: Any):
    plots = module("plots")
    image = Image.new("RGB", (768, 768), "blue")
    time, hertz = plots.Axis(0, 3, "s"), plots.Axis(-1000, 1000, "Doppler, Hz")
    alone = plots.frame(image, time, hertz, plots.depth_bar(0, 1))
    both = plots.frame(image, time, hertz, plots.depth_bar(0, 1), plots.Axis(-2, 2, "m/s"))
    left, top = plots.image_at(has_y=True)
    beside = left + 768
    assert both.width > alone.width and both.height == alone.height
    # 1 m/s lies a quarter below the top: its tick is dark, and the rows around it are white.
    column = np.asarray(both.convert("L"))[top : top + 768, beside + 4]
    row = round((2 - 1) / 4 * 767)
    assert column[row] < 80 and column[row - 10] == column[row + 10] == 255
    # The bar of both frames is the same, farther to the right.
    moved = both.width - alone.width
    bars = np.asarray(alone)[:, beside + 28 :], np.asarray(both)[:, beside + 28 + moved :]
    np.testing.assert_array_equal(bars[0][top:], bars[1][top:])


def test_the_parts_of_a_card_that_were_measured_are_found_in_a_fixed_order(module: Any):
    card = "---\nx: 1\n---\n# A\n\n## Use\n\nno\n\n## Memorisation\n\n3 %\n\n## Did it help?\n\nYes.\n"
    assert module("report").sections(card) == "## Did it help?\n\nYes.\n\n## Memorisation\n\n3 %"
    assert module("report").sections("# Only a title\n") == ""


@pytest.mark.parametrize(
    ("curve", "words", "title"),
    [
        ("", "It was not measured whether images help.\n\n## Numbers\n\n1", "How good is it?"),
        ("", "The model card of `x` has no measured results.", "How good is it?"),
        ("", "## Did it help?\n\nNo.", "Did it help?"),
        ("<svg/>", "## Numbers", "Did it help?"),
    ],
)
def test_the_tab_asks_whether_it_helped_only_where_that_was_studied(
    module: Any, monkeypatch: pytest.MonkeyPatch, curve: str, words: str, title: str
):
    report = module("report")
    monkeypatch.setattr(report, "measured_results", lambda kind: (curve, words))
    assert report.title("doppler") == title


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


def test_labels_fit_into_the_page_of_any_image(module: Any):
    """No dark pixel lies at the rim of the page, where a text would be cut."""
    plots = module("plots")
    numbers, empty = plots.Axis(-23040, 23040, "Doppler, Hz"), plots.Axis(0, 1, "time", has_numbers=False)
    for size in ((64, 64), (128, 64), (64, 128), (64, 8), (8, 64)):
        for x, y in ((numbers, numbers), (empty, empty)):
            page = plots.frame(Image.new("RGB", size, "white"), x, y, plots.depth_bar(0, 65535), y, title="input")
            grey = np.asarray(page.convert("L"))
            assert min(grey[0].min(), grey[-1].min(), grey[:, 0].min(), grey[:, -1].min()) > 200, size


def tiny_depth(**settings: Any) -> SimpleNamespace:
    """Stand-in for a pipeline, which has a config."""
    defaults = {"depth_range_mm": {"min": 300.0, "max": 5000.0}, "units_per_mm": 1.0, "encoding": "linear"}
    return SimpleNamespace(config=defaults | settings)


def test_rooms_are_those_that_the_laboratory_renders(module: Any):
    files = render_rooms(RoomsConfig(rooms=40, cameras_per_room=1, images_per_camera=1), 5)
    expected = [np.asarray(Image.open(BytesIO(cast(bytes, files[n].data)))) for n in (5, 38, 1, 11, 36, 21, 33, 20)]
    with Image.open(module("depth").ROOMS) as strip:
        found = np.split(np.asarray(strip), 8)
    for one, room in zip(found, expected, strict=True):
        # Another machine may round the last bit of a ray's length otherwise.
        assert (np.abs(one.astype(int) - room) <= 1).mean() > 0.999


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        ({}, 300, 5000),
        ({"depth_range_mm": {"min": 200.0, "max": 10000.0}}, 300, 5000),  # as they are
        ({"depth_range_mm": {"min": 500.0, "max": 1500.0}}, 500, 1500),
        ({"depth_range_mm": {"min": 1000.0, "max": 100_000.0}, "units_per_mm": 1.0}, 1000, 65535),
        ({"units_per_mm": 10.0}, 3000, 50000),
        ({"units_per_mm": 20.0}, 6000, 65535),
    ],
)
def test_rooms_lie_in_the_range_and_units_of_any_model(
    module: Any, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], low: int, high: int
):
    depth = module("depth")
    monkeypatch.setattr(depth, "load", lambda kind: tiny_depth(**settings))
    for name, image in depth.rooms():
        units = np.asarray(image)
        readings = units[units > 0]
        assert name.endswith(".png") and image.mode == "I;16"
        assert readings.min() >= low and readings.max() <= high and len(np.unique(readings)) > 100
    assert len(depth.rooms()) == 8


def test_the_values_behind_a_readable_image_are_its_millimetres(module: Any):
    before, after = np.array([[0.0, 1234.4], [4999.6, 300.0]]), np.array([[1.0, 2.0], [3.0, 65535.0]])
    shown = module("probe").probe('a"<b>.png', before, after, "RMSE <1> mm")
    values = {
        name: np.frombuffer(base64.b64decode(re.search(f'data-{name}="([^"]*)"', shown)[1]), "<u2")  # pyright: ignore
        for name in ("before", "after")
    }
    assert values["before"].tolist() == [0, 1234, 5000, 300] and values["after"].tolist() == [1, 2, 3, 65535]
    assert "<b>.png" not in shown and "&lt;b&gt;.png" in shown
    assert "&lt;1&gt;" in shown and "<1>" not in shown
    assert module("probe").probes([("a", before, after, "")] * 3).count("<figure") == 3


def test_input_and_reconstruction_have_one_scale_and_the_error_its_own(module: Any):
    before, after = np.full((2, 4), 1000.0), np.full((2, 4), 1000.0)
    before[:, 2:], after[:, 2:] = 2000.0, 1900.0
    before[0, 0] = after[1, 3] = 0
    shown = module("probe").probe("a.png", before, after)
    pictures = [
        np.asarray(Image.open(BytesIO(base64.b64decode(one))))
        for one in re.findall(r'src="data:image/png;base64,([^"]*)"', shown)
    ]
    assert len(pictures) == 3 and re.findall(r"<span>([^<]*)</span>", shown) == [
        "1000", "1500", "2000 mm", "-100", "0", "100 mm",
    ]  # fmt: skip
    same = (before == after) & (before > 0)
    np.testing.assert_array_equal(pictures[0][same], pictures[1][same])
    unknown = [(one == 150).all(-1).tolist() for one in pictures]
    assert unknown == [(before == 0).tolist(), (after == 0).tolist(), ((before == 0) | (after == 0)).tolist()]


def test_an_upload_that_was_deleted_meanwhile_is_asked_for_again(module: Any, tmp_path: Path):
    with pytest.raises(
        AppError, match=r"gone.png was deleted, like every upload after an hour; please upload it again"
    ):
        module("visitors").open_upload(tmp_path / "gone.png", ("PNG",))
