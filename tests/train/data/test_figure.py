import io

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from PIL import Image

from echoform_train.data.figure import figure, result_figure, save_figure
from tiny_doppler import tiny_pipeline

AXES = {
    "window_s": 3.0,
    "doppler_min_hz": -500.0,
    "doppler_max_hz": 1500.0,
    "db_min": -40.0,
    "db_max": -5.0,
    "carrier_hz": 24.125e9,
}
JET = (np.asarray(colormaps["jet"](np.arange(256)))[:, :3] * 255).round().astype(np.uint8)


def cells(drawn):
    return [axes for axes in drawn.axes if str(axes.get_label()).startswith("image")]


def bars(drawn):
    return [axes for axes in drawn.axes if axes.get_label() == "dB"]


def texts(drawn):
    return [text.get_text() for text in drawn.texts]


def index_image(value: int = 0, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def read(drawn, path) -> np.ndarray:
    save_figure(drawn, path)
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def pixels_of(drawn, image: np.ndarray, cell) -> np.ndarray:
    """The part of a PNG that shows one image."""
    left, bottom, width, height = cell.get_position().bounds
    rows, columns = image.shape[:2]
    top = round((1 - bottom - height) * rows)
    return image[top : top + round(height * rows), round(left * columns) :][:, : round(width * columns)]


def test_characters_come_from_any_installed_font_and_else_stand_by_their_number(tmp_path):
    # Of the fonts that come with matplotlib, STIX has U+1D81 and DejaVu Sans has not; none has U+E9D3.
    drawn = figure([index_image()], AXES, names=["\u1d81 and \ue9d3 \U0010fffd"], rows=["Zo\u00eb \ue9d3"])
    (cell,) = cells(drawn)
    assert cell.get_title() == "\u1d81 and \\ue9d3 \\U0010fffd"
    assert cell.get_ylabel().startswith("Zo\u00eb \\ue9d3")
    for ending in ("png", "pdf"):  # matplotlib warns of characters that it cannot draw, and warnings are errors here
        save_figure(drawn, tmp_path / f"figure.{ending}")
    plain = figure([index_image()], AXES, names=["Zo\u00eb"])
    assert cells(plain)[0].title.get_fontfamily() == ["sans-serif"]


def test_a_pixel_lies_at_its_time_and_doppler():
    image = index_image()
    image[2, 6] = 255  # of 8 rows from 1500 to -500 Hz, and of 8 columns over 3 s
    (cell,) = cells(figure([image], AXES))
    shown = cell.images[0]
    left, right, bottom, top = shown.get_extent()
    row, column = np.argwhere((np.asarray(shown.get_array()) == JET[255]).all(axis=-1))[0]
    assert left + (column + 0.5) / 8 * (right - left) == pytest.approx(6.5 * 3 / 8)
    assert top + (row + 0.5) / 8 * (bottom - top) == pytest.approx(1500 - 2.5 * 250)
    assert (cell.get_xlabel(), cell.get_ylabel()) == ("time, s", "Doppler, Hz")


def test_the_axis_on_the_right_is_the_radial_speed():
    # A walker at 1 m/s shifts 24.125 GHz by about 161 Hz.
    drawn = figure([index_image()] * 2, AXES)
    FigureCanvasAgg(drawn).draw()
    first, last = cells(drawn)
    assert not first.child_axes
    (speeds,) = last.child_axes
    assert speeds.get_ylabel() == "m/s"
    assert speeds.get_ylim() == pytest.approx((-500 / 160.944, 1500 / 160.944), rel=1e-4)


def test_the_bar_shows_decibels_in_the_colours_of_the_images():
    (bar,) = bars(figure([index_image()], AXES))
    assert bar.get_ylim() == (-40, -5)
    assert bar.get_ylabel() == "echo strength, dB"
    colors = bar.collections[-1].cmap(np.linspace(0, 1, 256))
    np.testing.assert_allclose(colors[:, :3] * 255, JET, atol=0.6)


def test_what_the_axes_do_not_say_is_not_shown():
    drawn = figure([index_image()] * 2)
    assert not bars(drawn)
    for cell in cells(drawn):
        assert cell.get_xlabel() == "time"
        assert len(cell.get_xticks()) == len(cell.get_yticks()) == 0
        assert not cell.child_axes
    assert [cell.get_ylabel() for cell in cells(drawn)] == ["Doppler", ""]


@pytest.mark.parametrize(
    ("missing", "labels", "num_bars", "num_speeds"),
    [
        ("window_s", ("time", "Doppler, Hz"), 1, 1),
        ("doppler_max_hz", ("time, s", "Doppler"), 1, 0),
        ("carrier_hz", ("time, s", "Doppler, Hz"), 1, 0),
        ("db_min", ("time, s", "Doppler, Hz"), 0, 1),
    ],
)
def test_one_fact_may_be_unknown(missing, labels, num_bars, num_speeds):
    drawn = figure([index_image()], {name: value for name, value in AXES.items() if name != missing})
    (cell,) = cells(drawn)
    assert (cell.get_xlabel(), cell.get_ylabel()) == labels
    assert (len(bars(drawn)), len(cell.child_axes)) == (num_bars, num_speeds)


def test_colour_photographs_have_no_bar():
    image = np.zeros((8, 8, 3), np.uint8)
    assert not bars(figure([image], AXES, colormap=None))
    assert bars(figure([index_image()], AXES, colormap=None))  # grey levels are decibels


def test_each_image_has_its_name_and_each_row_its_own(tmp_path):
    names = [f"ID_{number}\nseed {2**53 - number}" for number in range(4)]
    drawn = figure([index_image()] * 4, AXES, names, columns=2, rows=["A", "B"])
    assert [cell.get_title() for cell in cells(drawn)] == names
    assert [cell.get_ylabel() for cell in cells(drawn)] == ["A\nDoppler, Hz", "", "B\nDoppler, Hz", ""]
    # Only the lower row has numbers of the time, and names are plain text.
    shown = [cell.get_xlabel() for cell in cells(drawn)]
    assert shown == ["", "", "time, s", "time, s"]
    save_figure(
        figure([index_image()], AXES, ["$\\frac$ $a$ \\"], rows=["$x$ $^$"], title="$\\no$"), tmp_path / "a.png"
    )


def test_long_names_do_not_reach_into_their_neighbours():
    drawn = figure([index_image()] * 32, AXES, ["a person with a very long name " * 4] * 32, columns=8)
    FigureCanvasAgg(drawn).draw()
    for cell in cells(drawn):
        assert cell.title.get_window_extent().width < cell.get_window_extent().width * 1.1


def test_a_line_separates_the_groups():
    drawn = figure([index_image()] * 6, AXES, columns=3, groups=(("real", 2), ("generated", 1)))
    assert texts(drawn) == ["real", "generated"]
    (line,) = [artist for artist in drawn.artists if isinstance(artist, Line2D)]
    x = float(np.asarray(line.get_xdata())[0])
    places = [cell.get_position() for cell in cells(drawn)]
    assert places[1].x1 < x < places[2].x0
    assert places[2].x0 - places[1].x1 > places[1].x0 - places[0].x1  # a wider gap


def test_images_are_apart_and_nothing_overlaps():
    drawn = figure([index_image()] * 40, AXES, ["name\nseed 123"] * 40, columns=8, rows=list("abcde"), title="Title")
    FigureCanvasAgg(drawn).draw()
    boxes = [cell.get_tightbbox() for cell in [*cells(drawn), *bars(drawn)]]
    boxes += [text.get_window_extent() for text in drawn.texts]
    for number, box in enumerate(boxes):
        assert box is not None
        assert box.x0 >= 0 and box.x1 <= drawn.bbox.x1 and box.y0 >= 0 and box.y1 <= drawn.bbox.y1
        # Numbers below the axis may touch the next column's by a pixel of their spacing.
        assert not any(
            other is not None
            and min(box.x1, other.x1) - max(box.x0, other.x0) > 8
            and min(box.y1, other.y1) - max(box.y0, other.y0) > 1
            for other in boxes[number + 1 :]
        )


def test_a_png_holds_twice_the_pixels_and_shows_each_image_as_it_is(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    drawn = figure([image] * 20, AXES, columns=5)
    png = read(drawn, tmp_path / "new" / "sheet.png")
    assert png.shape[:2] == tuple(round(side * 200) for side in drawn.get_size_inches()[::-1])
    shown = pixels_of(drawn, png, cells(drawn)[7])
    assert shown.shape == (256, 256, 3)
    inside = slice(6, 250)  # the frame covers the edge
    expected = JET[image].repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(shown[inside, inside], expected[inside, inside])


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_a_paper_gets_vectors_and_the_same_file_each_time(tmp_path, name, start):
    written = []
    for folder in ("one", "two"):
        path = tmp_path / folder / name
        save_figure(figure([index_image(7)], AXES, ["ID_1"]), path)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert written[0].startswith(start)
    if name.endswith("svg"):
        assert b"ID_1" in written[0] and b"Doppler, Hz" in written[0]  # text that an editor finds


def test_a_figure_of_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.png, \.svg or \.pdf, got sheet\.jpg"):
        save_figure(figure([index_image()]), tmp_path / "sheet.jpg")


def test_another_colour_map_shows_the_same_values():
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    table = {"name": "jet", "rgb_hex": JET.tobytes().hex()}
    for image in (Image.fromarray(JET[index]), JET[index], index):
        for colormap in ("jet", table):
            drawn = figure([image], AXES, colormap=colormap, figure_colormap="viridis")
            shown = np.asarray(cells(drawn)[0].images[0].get_array())
            expected = (np.asarray(colormaps["viridis"](index))[..., :3] * 255).round()
            assert np.abs(shown - expected).max() <= 4  # jet has a few colours twice
            assert bars(drawn)[0].collections[-1].cmap(0.0)[:3] == pytest.approx(colormaps["viridis"](0)[:3], abs=2e-3)
    with pytest.raises(ValueError, match="needs images in the colours of one map"):
        figure([JET[index]], AXES, colormap=None, figure_colormap="viridis")


def test_every_form_of_an_image_is_drawn_alike():
    index = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    forms = [
        index,
        torch.from_numpy(index)[None],
        torch.from_numpy(index)[None].float() / 255,
        index[..., None] / np.float32(255),
        JET[index],
        Image.fromarray(index),
        Image.fromarray(JET[index]),
        torch.from_numpy(JET[index]).permute(2, 0, 1),
    ]
    for cell in cells(figure(forms)):
        np.testing.assert_array_equal(np.asarray(cell.images[0].get_array()), JET[index])


def test_a_gap_leaves_its_place_empty():
    drawn = figure([index_image(), None, index_image()], AXES, columns=2)
    assert [axes.get_label() for axes in cells(drawn)] == ["image 0", "image 2"]
    assert all(cell.child_axes for cell in cells(drawn))  # the last image of each row has the axis of speeds


def test_images_that_are_not_square_keep_their_shape():
    (cell,) = cells(drawn := figure([index_image(0, 64, 48)], AXES))
    box = cell.get_position()
    width, height = drawn.get_size_inches()
    assert box.height * height / (box.width * width) == pytest.approx(64 / 48, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": []}, "needs images and columns, got 0 images"),
        ({"images": [index_image()] * 2, "names": ["a"]}, "names must be 2, one for each, got 1"),
        ({"images": [index_image()] * 2, "rows": ["a", "b"]}, "rows must be 1, one for each, got 2"),
        ({"images": [index_image()] * 2, "groups": (("a", 1),)}, "groups must cover 2 columns"),
        ({"images": [index_image()] * 65, "columns": 1}, "at most 64 rows and 16 columns, got 65 rows"),
        ({"images": [index_image()], "axes": {"window_s": 0.0}}, "axes must have a window_s above 0"),
        ({"images": [index_image()], "axes": {"db_min": 0.0, "db_max": -40.0}}, "must have db_min below db_max"),
        ({"images": [np.zeros((4, 4), np.int64)]}, "must be uint8, or float in 0..1, got int64"),
        ({"images": [np.full((4, 4), -20.0)]}, r"must be uint8, or float in 0..1, got float64 in -20\.0"),
        ({"images": [np.full((4, 4), np.nan)]}, "must be uint8, or float in 0..1"),
        ({"images": [np.zeros((4, 4, 2), np.uint8)]}, r"1 or 3 channels, got \[4, 4, 2\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        figure(**arguments)


def test_a_notebook_shows_the_figure_by_itself():
    drawn = figure([index_image()], AXES)
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_the_result_of_a_pipeline_is_drawn_with_its_facts():
    pipeline = tiny_pipeline(axes=AXES)
    result = pipeline(["ID_1", "ID_10"], num_inference_steps=2, generator=torch.Generator().manual_seed(0))
    drawn = result_figure(pipeline, result, columns=1)
    names = [f"{user}\nseed {seed}" for user, seed in zip(("ID_1", "ID_10"), result.seeds, strict=True)]
    assert [cell.get_title() for cell in cells(drawn)] == names
    for cell, image in zip(cells(drawn), result.images, strict=True):
        np.testing.assert_array_equal(np.asarray(cell.images[0].get_array()), np.asarray(image))
    assert bars(drawn)[0].get_ylim() == (-40, -5)
