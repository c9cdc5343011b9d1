"""The measured decibel range against numpy's percentiles."""

import numpy as np
import pytest

from echoform_train.radar.decibel_range import LOWEST_DB, DecibelHistogram


def test_the_range_is_that_of_numpys_percentiles_over_all_that_was_added():
    levels_db = np.random.default_rng(0).normal(-30, 9, (4, 50, 60)).astype(np.float32)
    histogram = DecibelHistogram()
    for part in levels_db:
        histogram.add(part)
    low, high = np.percentile(levels_db, [65, 99])
    assert histogram.range_db(None, None) == pytest.approx((low, high), abs=0.011)  # counted in hundredths
    assert histogram.range_db(-50.0, None) == pytest.approx((-50, high), abs=0.011)
    assert histogram.range_db(None, 7.0) == pytest.approx((low, 7), abs=0.011)


def test_levels_beyond_the_counted_range_count_at_its_ends():
    histogram = DecibelHistogram()
    histogram.add(np.array([-np.inf, 2 * LOWEST_DB, 0.0, 1.0]))
    assert histogram.range_db(None, None) == (0.0, 1.0)


def test_silence_and_nothing_at_all_are_refused():
    histogram = DecibelHistogram()
    with pytest.raises(ValueError, match="at least one recording must be usable"):
        histogram.range_db(None, None)
    histogram.add(np.full(10, -3.0))
    with pytest.raises(ValueError, match=r"db_min must be below db_max, they are -3\.0 and -3\.0: .* silent"):
        histogram.range_db(None, None)
