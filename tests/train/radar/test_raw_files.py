from __future__ import annotations

import numpy as np
import pytest

from echoform_train.radar.raw_files import CaptureLayout, read_capture
from walker_cubes import four_lanes, two_lanes


@pytest.mark.parametrize("lanes", [2, 4])
def test_every_word_of_a_capture_lands_at_its_receiver_and_transmitter(tmp_path, lanes):
    words = np.random.default_rng(0).integers(-(2**15), 2**15, (3, 2, 3, 8, 2)).astype(np.int16)
    path = tmp_path / "adc_data.bin"
    path.write_bytes(two_lanes(words) if lanes == 2 else four_lanes(words))
    layout = CaptureLayout(receivers=3, transmitters=2, samples=8, lanes=lanes)
    read = read_capture(path, layout)
    assert layout.axes == ("chirps", "receivers", "samples", "iq")
    np.testing.assert_array_equal(read, words.reshape(3, 6, 8, 2))
    np.testing.assert_array_equal(read_capture(path, layout, channel=5), words[:, 1, 1])
    framed = read_capture(path, CaptureLayout(receivers=3, transmitters=2, samples=8, lanes=lanes, chirps=3))
    np.testing.assert_array_equal(framed, words.reshape(1, 3, 6, 8, 2))


def test_the_words_of_two_lanes_are_those_of_the_application_report():
    words = np.arange(1, 9, dtype=np.int16).reshape(1, 1, 1, 4, 2)  # I Q: 1 2, 3 4, 5 6, 7 8
    assert np.frombuffer(two_lanes(words), "<i2").tolist() == [1, 3, 2, 4, 5, 7, 6, 8]
    assert np.frombuffer(four_lanes(words), "<i2").tolist()[:8] == [1, 0, 0, 0, 2, 0, 0, 0]
