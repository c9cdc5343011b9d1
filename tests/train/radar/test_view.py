"""A view shows a target where its speed says, on the grid that was asked for."""

import numpy as np
import pytest
from scipy.constants import speed_of_light

from echoform_train.radar.returns import doppler_shift_hz
from echoform_train.radar.spectrogram_images import image_axes, view_grid, window_image
from echoform_train.radar.stft import Taper, stft
from echoform_train.radar.view import View

CARRIER_HZ = 77e9
PULSE_RATE_HZ = 8192
WAVELENGTH_M = speed_of_light / CARRIER_HZ


def grid_of(view: View, window_s: float = 2.0):
    return view_grid(view, CARRIER_HZ, PULSE_RATE_HZ, window_s=window_s, hop_s=1.0, looks=1)


def test_a_fixed_axis_shows_a_target_at_its_own_speed():
    view = View(doppler_axis="fixed", centre_mps=2.0, span_mps=3.0, native_rows=64, native_columns=50, transform_ms=16)
    grid = grid_of(view)
    iq = np.exp(2j * np.pi * doppler_shift_hz(1.2, WAVELENGTH_M) / PULSE_RATE_HZ * np.arange(grid.samples))
    assert grid.centre_hz is not None
    image_db = window_image(iq.astype(np.complex64), grid, centre_hz=grid.centre_hz)
    axes = image_axes(grid, db_min=-38, db_max=-4)
    edges = np.linspace(axes["doppler_min_hz"], axes["doppler_max_hz"], len(image_db) + 1)
    row = int(image_db.mean(axis=1).argmax())
    assert edges[row] <= doppler_shift_hz(1.2, WAVELENGTH_M) <= edges[row + 1]
    assert axes["doppler_min_hz"] == pytest.approx(doppler_shift_hz(-1.0, WAVELENGTH_M), abs=60)
    assert image_db.shape[1] == 50 and abs(image_db.shape[0] - 64) <= 1


def test_more_rows_than_bins_interpolate_the_same_transform():
    pairs = np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)
    iq = pairs.view(np.complex64)[:, 0]
    narrow = stft(iq, window=100, hop=50)
    wide = stft(iq, window=100, hop=50, transform=200)
    np.testing.assert_allclose(wide[::2], narrow, atol=1e-5)


def test_without_a_taper_a_tone_has_the_sidelobes_of_a_rectangle():
    tone = np.exp(2j * np.pi * 0.25 * np.arange(64)).astype(np.complex64)
    tapers: dict[Taper, float] = {"none": -13.3, "hann": -31.5}
    for taper, expected_db in tapers.items():
        level_db = 20 * np.log10(np.abs(stft(tone, window=64, hop=64, transform=4096, taper=taper)[:, 0]) + 1e-12)
        # Harris 1978: highest sidelobes of the rectangle and of the Hann window.
        lobe = 64 if taper == "none" else 128
        peak = int(level_db.argmax())
        assert level_db[peak + lobe + 4 : peak + 8 * lobe].max() == pytest.approx(expected_db, abs=0.3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"centre_mps": 1.0}, "--centre-mps must go with"),
        ({"span_mps": 9.0}, "--span-mps must be in"),
        ({"doppler_axis": "fixed", "centre_mps": 6.0}, "must not reach beyond 8 m/s"),
        ({"native_rows": 3}, "--native-rows must be in"),
        ({"transform_ms": 0.1}, "--transform-ms must be in"),
        ({"window_steps": 0.5}, "--window-steps must be in"),
    ],
)
def test_views_that_no_radar_has_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        View(**settings)


def test_rows_that_cannot_hold_the_transform_are_refused_with_the_number_that_can():
    with pytest.raises(ValueError, match="--native-rows must be at least"):
        grid_of(View(native_rows=20, transform_ms=30))
