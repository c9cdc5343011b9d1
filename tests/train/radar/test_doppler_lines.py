"""Lines of spectrograms against ones that are drawn at known rows."""

import numpy as np
import pytest

from echoform_train.radar.doppler_lines import contour, hann_lobe_db, torso_line
from echoform_train.radar.stft import stft


def test_a_line_between_two_rows_is_found_between_them():
    rows = np.arange(64)[None, :, None]
    wanted = 30.3 + 2 * np.sin(np.arange(48) / 8)[None, None]
    lifted = np.exp(-((rows - wanted) ** 2) / 8)
    found, bright = torso_line(lifted, 1.0)
    np.testing.assert_allclose(found, wanted[:, 0], atol=0.1)
    assert bright.min() > 0.9


def test_the_contour_leaves_a_fiftieth_of_a_column_outside():
    column = np.zeros((1, 100, 1))
    column[0, 20:70] = 1.0  # a block of 50 rows: one row on either side is a fiftieth
    upper, lower = contour(column)
    assert (upper[0, 0], lower[0, 0]) == pytest.approx((20.5, 68.5))
    assert np.isnan(contour(np.zeros((1, 100, 1)))[0]).all()


def test_the_lobe_is_that_of_the_transform_of_a_tone():
    window = 64
    for offset in (0.0, 0.3, 0.5, 0.9):
        tone = np.exp(2j * np.pi * (8 + offset) / window * np.arange(window))
        level_db = 20 * np.log10(np.abs(stft(tone, window=window, hop=1)[:, 0]))
        np.testing.assert_allclose(
            level_db[window // 2 + 7 : window // 2 + 10], hann_lobe_db(np.array([-1, 0, 1]) - offset), atol=0.05
        )
