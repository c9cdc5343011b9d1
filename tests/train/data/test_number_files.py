from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from echoform_train.data.dataset import read_source
from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.json_files import write_json

DB = np.linspace(-60, 0, 24 * 20, dtype=np.float32).reshape(24, 20)
"""Decibels that rise from the first row, [Doppler, time]."""


def arrays(folder: Path, values: np.ndarray = DB, suffix: str = ".npy") -> Path:
    """A source of two users with three files each, rolled in time."""
    for user in ("ID_1", "ID_2"):
        (folder / user).mkdir(parents=True)
        for number in range(3):
            rolled = np.roll(values, number, axis=1)
            path = folder / user / f"{number}{suffix}"
            if suffix == ".npy":
                np.save(path, rolled)
            elif suffix == ".mat":
                scipy.io.savemat(path, {"S": rolled, "note": "text"})
            else:
                Image.fromarray(rolled).save(path)
    return folder


def read(folder: Path, **flags: Any):
    return read_source(folder, reading=ReadingConfig(**flags)).pixels


@pytest.mark.parametrize("suffix", [".npy", ".mat"])
def test_decibels_of_arrays_stay_decibels(tmp_path, suffix):
    pixels = read(arrays(tmp_path, suffix=suffix), db_range="-60,0")
    assert pixels.axes == {"db_min": -60.0, "db_max": 0.0} and pixels.colormap == "gray"
    # The first row of an array is the lowest Doppler, that of an image the highest; a level is 60 dB / 255.
    np.testing.assert_allclose(-60 + 60 / 255 * pixels.pixels[0, 0][::-1], DB, atol=60 / 255 / 2 + 1e-4)
    assert "decibels (-60 to 0" in pixels.notes[0] and "256 levels of 0.24 dB" in pixels.notes[0]


def test_power_and_amplitude_of_one_signal_are_the_same_decibels(tmp_path):
    expected = read(arrays(tmp_path / "db"), db_range="-60,0").pixels
    power, amplitude = arrays(tmp_path / "power", 10 ** (DB / 10)), arrays(tmp_path / "amplitude", 10 ** (DB / 20))
    for folder, values in ((power, "power"), (amplitude, "amplitude")):
        found = read(folder, values=values, db_range="-60,0").pixels
        assert np.abs(found.astype(int) - expected).max() <= 1
        with pytest.raises(ValueError, match=r"may be .*; --values db, power, amplitude or scalar says"):
            read(folder)


def test_the_order_of_rows_is_chosen(tmp_path):
    folder = arrays(tmp_path)
    lowest, highest = read(folder).pixels, read(folder, first_row="highest").pixels
    np.testing.assert_array_equal(lowest, highest[:, :, ::-1])
    unshifted = arrays(tmp_path / "fft", np.fft.ifftshift(DB, axes=0))
    np.testing.assert_array_equal(read(unshifted, first_row="zero").pixels, lowest)


def test_rows_in_the_order_of_a_fourier_transform_are_asked_about(tmp_path):
    rows = -60 + 50 * np.exp(-(((np.arange(32) - 16) / 4) ** 2))
    body = np.tile(rows[:, None], (1, 20)) + np.random.default_rng(0).normal(0, 2, (32, 20))
    read(arrays(tmp_path / "shifted", body))
    with pytest.raises(ValueError, match="not shifted: --first-row zero shifts it"):
        read(arrays(tmp_path / "fft", np.fft.ifftshift(body, axes=0)))


def test_sixteen_bits_are_decibels_with_a_range_and_a_scalar_without(tmp_path):
    levels = np.linspace(0, 65535, 24 * 20).reshape(24, 20).astype(np.uint16)
    folder = arrays(tmp_path, levels, ".png")
    scalar, decibels = read(folder), read(folder, db_range="-70,-10")
    assert scalar.axes is None and "scalar of unknown unit" in scalar.notes[0]
    assert decibels.axes == {"db_min": -70.0, "db_max": -10.0}
    np.testing.assert_array_equal(decibels.pixels[0, 0], np.rint(levels / 257).astype(np.uint8))
    write_json(folder / "axes.json", {"db_min": -70.0, "db_max": -10.0})
    np.testing.assert_array_equal(read(folder).pixels, decibels.pixels)


def test_arrays_beside_pictures_are_read_where_they_are_asked_for(tmp_path):
    folder = arrays(tmp_path)
    for path in list(folder.rglob("*.npy")):
        Image.fromarray(np.zeros((24, 20), np.uint8) + np.arange(20, dtype=np.uint8)).save(path.with_suffix(".png"))
    rows = [{"file_name": path.relative_to(folder).as_posix(), "recording": "r1"} for path in folder.rglob("*.png")]
    (folder / "metadata.jsonl").write_text("".join(f"{row}\n".replace("'", '"') for row in rows))
    assert read(folder).reading == ""
    source = read_source(folder, reading=ReadingConfig(read="arrays"))
    assert source.pixels.reading.startswith("db ") and set(source.dataset["recording"][:]) == {"r1"}
    assert source.other_files == ()


BAD = {
    "NaN": (np.where(DB > -1, np.nan, DB).astype(np.float32), "must be finite"),
    "minus infinity": (np.where(DB > -1, -np.inf, DB).astype(np.float32), "the decibels of power 0"),
    "complex": (DB.astype(np.complex64), "prepare --from-iq"),
    "several": (np.stack([DB, DB, DB, DB, DB]), r"one spectrogram, \[Doppler, time\], it is 5 x 24 x 20"),
    "colours": (np.zeros((24, 20, 3), np.uint8), "a picture in colours: save it as PNG"),
    "whole numbers": (DB.astype(np.int16), "arrays of whole numbers .int16. may be anything"),
    "normalised": (DB / 60, "normalised"),
    "shares": (1 + DB / 60, "may be"),
    "constant": (np.full((24, 20), -7.0, np.float32), "do not look like decibels"),
}


@pytest.mark.parametrize("kind", BAD)
def test_numbers_that_leave_a_doubt_are_refused(tmp_path, kind):
    values, rule = BAD[kind]
    with pytest.raises(ValueError, match=rule):
        read(arrays(tmp_path, values))


def test_a_range_that_does_not_hold_the_numbers_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--db-range must hold the decibels of the files, of which 100 % lie above"):
        read(arrays(tmp_path), db_range="-200,-100")


@pytest.mark.parametrize("text", ["1", "a,b", "0,-5", "nan,nan"])
def test_a_range_is_two_rising_numbers(tmp_path, text):
    with pytest.raises(ValueError, match="--db-range must be MIN,MAX"):
        read(tmp_path, db_range=text)
