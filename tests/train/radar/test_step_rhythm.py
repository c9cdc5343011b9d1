"""Rhythms of waves whose period is known."""

import numpy as np
import pytest

from echoform_train.radar.step_rhythm import step_asymmetry, step_rhythm


@pytest.mark.parametrize("steps", [4.3, 5.55, 7.1])
@pytest.mark.parametrize("seam", [0, 20, 44])
def test_the_rhythm_of_a_known_wave_is_found_with_a_seam_anywhere(steps, seam):
    time = (np.arange(64) + 0.5) / 64
    wave = 20 + 8 * np.abs(np.sin(np.pi * steps * time)) ** 3
    picture = (np.arange(64)[:, None] < wave[None]).astype(np.float32)[None]
    rhythm = step_rhythm(np.roll(picture, seam, axis=2), 3.0, 10.5)
    assert rhythm.steps[0] == pytest.approx(steps, rel=0.01)
    assert rhythm.strength[0] > 0.7


def test_unequal_steps_are_neither_taken_for_one_nor_for_half_the_cadence():
    time = (np.arange(64) + 0.5) / 64
    phase = 5.6 / 2 * time  # strides
    for asymmetry in (0.0, 0.05, 0.15):
        first, second = np.maximum(np.sin(2 * np.pi * phase), 0), np.maximum(-np.sin(2 * np.pi * phase), 0)
        reach = 20 * ((1 + asymmetry) * first**2 + (1 - asymmetry) * second**2)
        picture = (np.arange(64)[:, None] < 10 + reach[None]).astype(np.float32)[None]
        rhythm = step_rhythm(picture, 3.0, 10.5)
        assert rhythm.steps[0] == pytest.approx(5.6, rel=0.015)
        assert step_asymmetry(reach[None], rhythm)[0] == pytest.approx(asymmetry, abs=0.015)
