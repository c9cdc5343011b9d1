from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echoform_train.data.colormap import paint
from echoform_train.data.dataset import read_source
from echoform_train.data.reading import ReadingConfig
from echoform_train.data.split_files import check_reading


def framed(picture, folder: Path, *, alpha: int | None = None, extra: int = 0) -> Path:
    """A source of two users whose pictures have 5 white columns on the left and 3 white rows below the data."""
    for user in ("ID_1", "ID_2"):
        (folder / user).mkdir(parents=True)
        for number in range(6):
            rgb = paint(picture(10 * len(user + str(number)) + number + 50 * (user == "ID_2"), 48), "jet")
            odd = extra if (user, number) == ("ID_2", 5) else 0
            rgb = np.pad(rgb, ((0, 3), (5, odd), (0, 0)), constant_values=255)
            if alpha is not None:
                rgb = np.dstack([rgb, np.full(rgb.shape[:2], alpha, np.uint8)])
            Image.fromarray(rgb).save(folder / user / f"{number}.png")
    return folder


def test_pictures_with_a_margin_need_a_flag_and_the_box_of_auto_is_that_of_the_message(picture, tmp_path):
    folder = framed(picture, tmp_path)
    with pytest.raises(ValueError, match=r"left 5, bottom 3.*--crop 5,0,53,48 or --crop auto .* --crop none"):
        read_source(folder)
    auto = read_source(folder, reading=ReadingConfig(crop="auto")).pixels
    named = read_source(folder, reading=ReadingConfig(crop="5,0,53,48")).pixels
    np.testing.assert_array_equal(auto.pixels, named.pixels)
    assert auto.reading == named.reading == "crop 5,0,53,48"
    assert auto.colormap == "jet" and auto.residual == 0 and auto.native_size == (48, 48)
    data = np.asarray(Image.open(folder / "ID_1" / "0.png").convert("RGB"))[:48, 5:]
    np.testing.assert_array_equal(paint(auto.pixels[0, 0], "jet"), data)
    assert "left 5, bottom 3" in auto.notes[0]
    whole = read_source(folder, reading=ReadingConfig(crop="none")).pixels
    assert whole.native_size == (51, 53) and whole.reading == ""


def test_a_box_that_leaves_a_part_of_the_margin_says_so(picture, tmp_path):
    pixels = read_source(framed(picture, tmp_path), reading=ReadingConfig(crop="3,0,53,48")).pixels
    assert "inside of it there is still a rim around the data (pixels: left 2)" in pixels.notes[0]


def test_a_crop_needs_pictures_of_one_size(picture, tmp_path):
    folder = framed(picture, tmp_path, extra=2)
    with pytest.raises(ValueError, match=r"ID_2/5\.png: --crop needs pictures of one size, it is 51x55 .*not 51x53"):
        read_source(folder, resolution=48, reading=ReadingConfig(crop="auto"))


def test_the_alpha_channel_of_matplotlib_changes_nothing(picture, tmp_path):
    opaque = framed(picture, tmp_path / "rgba", alpha=255)
    plain = framed(picture, tmp_path / "rgb")
    crop = ReadingConfig(crop="auto")
    np.testing.assert_array_equal(
        read_source(opaque, reading=crop).pixels.pixels, read_source(plain, reading=crop).pixels.pixels
    )
    with pytest.raises(ValueError, match="must be opaque, its alpha channel is below 255 in 100 %"):
        read_source(framed(picture, tmp_path / "half", alpha=128), reading=crop)


def test_pictures_can_be_upside_down_and_get_decibels(two_users):
    usual = read_source(two_users).pixels
    turned = read_source(two_users, reading=ReadingConfig(first_row="lowest", db_range="-40,0")).pixels
    np.testing.assert_array_equal(turned.pixels, usual.pixels[:, :, ::-1])
    assert turned.axes == {"db_min": -40.0, "db_max": 0.0} and usual.axes is None
    assert turned.reading == "first row lowest"


def test_models_and_images_that_were_read_in_two_ways_are_not_compared():
    check_reading("crop 1,2,3,4", {"reading": "crop 1,2,3,4"}, "the model")
    check_reading("", {}, "the model")
    for reading, trained_on in (("", {"reading": "crop 1,2,3,4"}), ("crop 1,2,3,4", {}), ("a", {"reading": "b"})):
        with pytest.raises(ValueError, match="the model was trained on images that were read with"):
            check_reading(reading, trained_on, "the model")
