import numpy as np
import pytest

from echoform_train.radar.spectrogram_images import default_grid, image_axes, window_image, window_starts


@pytest.mark.parametrize(
    ("carrier_hz", "pulse_rate_hz", "shape"), [(77e9, 8192, (63, 64)), (60e9, 6400, (57, 64)), (24e9, 2000, (35, 62))]
)
def test_a_grid_is_as_large_as_its_pictures(carrier_hz, pulse_rate_hz, shape):
    # 24 GHz: a Hann window of 48 samples has bins of 41.7 Hz, 17 of which lie below 720 Hz; hops of 16 samples,
    # 6 a column, fit 62.5 times into 3 s.
    grid = default_grid(carrier_hz, pulse_rate_hz)
    iq = np.random.default_rng(0).normal(size=(5 * pulse_rate_hz, 2)).view(complex)[:, 0]
    starts = window_starts(len(iq), grid)
    images = [window_image(iq[start : start + grid.samples], grid, centre_hz=100.0) for start in starts]
    assert {image_db.shape for image_db in images} == {(grid.bins, grid.columns)} == {shape}
    axes = image_axes(grid, db_min=-40, db_max=0)
    assert axes["doppler_max_hz"] - axes["doppler_min_hz"] == pytest.approx(shape[0] * grid.bin_hz)
    assert axes["window_s"] == pytest.approx(shape[1] * 6 * grid.hop / pulse_rate_hz)
    assert axes["window_s"] == pytest.approx(3, abs=0.025)


def test_windows_lie_whole_within_the_samples():
    grid = default_grid(77e9, 8192)
    needed = 64 * 6 * 64 - 64 + 112
    assert grid.samples == needed
    assert window_starts(needed - 1, grid) == []
    assert window_starts(needed, grid) == [0]
    assert window_starts(needed + 2 * 8192, grid) == [0, 8192, 16384]


def test_a_span_that_folds_is_refused():
    with pytest.raises(ValueError, match=r"the Doppler span of 2312 Hz either way must be at most half .* 4000 Hz"):
        default_grid(77e9, 4000)
    with pytest.raises(ValueError, match=r"window_s must hold at least one column of 0\.0469 s, got 0\.01"):
        default_grid(77e9, 8192, window_s=0.01)
