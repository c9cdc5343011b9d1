from __future__ import annotations

import io
from collections.abc import Callable

import matplotlib.style
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from echoform_train.data.colormap import COLORMAPS, paint
from echoform_train.data.figure_frame import Box, crop_text, cropped, find_frame, parse_crop, rim

Picture = Callable[..., np.ndarray]


def as_jpeg(rgb: np.ndarray) -> np.ndarray:
    with io.BytesIO() as file:
        Image.fromarray(rgb).save(file, "JPEG", quality=90)
        return np.asarray(Image.open(file))


def figures(picture: Picture, colormap: str, face: str = "white") -> tuple[list[np.ndarray], Box]:
    """Eight figures that matplotlib draws, with axes, labels and a colour bar, and the box that it gives the data."""
    drawn, box = [], (0, 0, 0, 0)
    style = "dark_background" if face == "black" else "default"
    for seed in range(8):
        with matplotlib.rc_context(), matplotlib.style.context(style):
            figure = Figure(figsize=(4, 3), dpi=64)
            axes = figure.subplots()
            shown = axes.imshow(picture(seed, 64), cmap=colormap, aspect="auto", extent=(0, 3, -2304, 2304))
            axes.set_xlabel("Time (s)")
            axes.set_title(f"subject {seed}")
            figure.colorbar(shown, label="dB")
            with io.BytesIO() as file:
                figure.savefig(file, format="png")
                drawn.append(np.asarray(Image.open(file).convert("RGB")))
            extent = axes.get_window_extent()
            box = (round(extent.x0), round(192 - extent.y1), round(extent.x1), round(192 - extent.y0))
    return drawn, box


@pytest.mark.parametrize("colormap", ["jet", "viridis", "hot", "gray", "gray_r", "coolwarm"])
@pytest.mark.parametrize("known", [True, False])
def test_axes_labels_and_colour_bar_of_matplotlib_are_told_from_the_data(picture, colormap, known):
    drawn, box = figures(picture, colormap)
    name = {"gray_r": "gray"}.get(colormap, colormap)
    frame = find_frame(drawn, name if known and name in COLORMAPS else None)
    assert frame is not None and frame.pictures == 8
    # The line of the axes itself is one pixel wide and lies on the edge of the data.
    assert np.abs(np.subtract(frame.box, box)).max() <= 2


def test_a_dark_figure_is_told_although_its_paper_is_the_floor_of_the_map(picture):
    drawn, box = figures(picture, "gray", face="black")
    frame = find_frame(drawn, "gray")
    assert frame is not None and np.abs(np.subtract(frame.box, box)).max() <= 3


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("colormap", COLORMAPS)
@pytest.mark.parametrize("jpeg", [False, True])
def test_a_white_rim_is_found_to_the_pixel(picture, colormap, width, jpeg):
    rimmed = []
    for seed in range(6):
        # A picture reaches its whole range, and most of a spectrogram is floor.
        rgb = np.pad(
            paint((picture(seed, 48) // 2).astype(np.uint8), colormap),
            ((width, 0), (0, width), (0, 0)),
            constant_values=255,
        )
        rimmed.append(as_jpeg(rgb) if jpeg else rgb)
    frame = find_frame(rimmed, colormap)
    assert frame is not None
    assert frame.box == (0, width, 48, 48 + width)
    assert "a rim around the data" in frame.found and f"right {width}" in frame.found


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_pictures_that_the_data_fill_have_no_frame(picture, colormap):
    drawn = [paint(picture(seed, 48), colormap) for seed in range(6)]
    assert find_frame(drawn, colormap) is None
    # Rows of floor, a line of standing objects and equal pictures are no frame either.
    floor = [np.pad(picture(seed, 48), ((8, 8), (0, 0))) for seed in range(6)]
    assert find_frame([paint(index, colormap) for index in floor], colormap) is None
    line = [index.copy() for index in floor]
    for index in line:
        index[32] = 255
    assert find_frame([paint(index, colormap) for index in line], colormap) is None
    assert find_frame(drawn[:1] * 6, colormap) is None


@pytest.mark.parametrize("colormap", ["jet", "viridis", "hot"])
def test_nearly_equal_pictures_in_the_colours_of_their_map_have_no_frame(colormap):
    # A generator that has learned little draws one image again and again, with edges that look like text.
    noise = np.random.default_rng(0)
    common = noise.integers(0, 256, (48, 48))
    drawn = []
    for _ in range(6):
        index = common.copy()
        index[1:47, 8:40] = noise.integers(0, 256, (46, 32))
        drawn.append(paint(index.astype(np.uint8), colormap))
    assert find_frame(drawn, colormap) is None


def test_two_panels_are_refused_with_the_box_of_each(picture):
    panels = []
    for seed in range(6):
        sheet = np.full((48, 110, 3), 255, np.uint8)
        sheet[4:44, 5:50] = paint(picture(seed, 48), "jet")[:40, :45]
        sheet[4:44, 60:105] = paint(picture(seed + 9, 48), "jet")[:40, :45]
        panels.append(sheet)
    with pytest.raises(ValueError, match=r"one spectrogram, these hold 2: choose one by --crop \d+,4,\d+,44 or --crop"):
        find_frame(panels, "jet")


def test_one_picture_with_a_rim_among_others_is_told(picture):
    rgb = paint(picture(0, 32), "jet")
    assert rim(rgb, "jet") is None
    rgb[:, -1] = 255
    assert rim(rgb, "jet") == "last column"


def test_the_flag_is_a_box_of_four_numbers():
    assert parse_crop("auto") is None and parse_crop("none") is None
    assert parse_crop("1,2, 30,40") == (1, 2, 30, 40) and crop_text((1, 2, 30, 40)) == "1,2,30,40"
    for text in ("1,2,3", "a,b,c,d", "5,0,5,9", "1,2,3,4,5", "-1,0,5,5", ""):
        with pytest.raises(ValueError, match="--crop must be"):
            parse_crop(text)
    with pytest.raises(ValueError, match="--crop 0,0,9,3 reaches beyond the picture of 8 columns and 4 rows"):
        cropped(np.zeros((4, 8)), (0, 0, 9, 3))
