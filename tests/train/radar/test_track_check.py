"""Right data obey two laws of physics, and each wrong order of the samples breaks one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echoform_train.radar.slow_time import track_and_gate
from echoform_train.radar.spectrogram_images import default_grid
from echoform_train.radar.stored_samples import SampleFormat
from echoform_train.radar.track_check import TrackCheck, check_track
from walker_cubes import CHIRP, RADAR, RATE_HZ, SPEED_MPS, Cube, walker_cube, wrongly_paired

FORM = SampleFormat(axes=("chirps", "samples"), pulse_rate_hz=RATE_HZ, bandwidth_hz=CHIRP.bandwidth_hz)
RANGES = replace(FORM, axes=("chirps", "ranges"))
GRID = default_grid(RADAR.carrier_hz, RATE_HZ)


def check(array: NDArray[Any], form: SampleFormat = FORM, **grid: Any) -> TrackCheck:
    slow = track_and_gate(array, form, clutter="none", cutoff_hz=1.0)
    return check_track(slow, replace(GRID, **grid))


@pytest.fixture(scope="module", params=["towards", "away"])
def cube(request) -> Cube:
    return walker_cube(request.param)


def is_right(found: TrackCheck, cube: Cube, exponent_within: float = 0.6) -> None:
    sign = 1 if cube.from_m > cube.to_m else -1
    assert found.from_m == pytest.approx(cube.from_m, abs=0.3)
    assert found.to_m == pytest.approx(cube.to_m, abs=0.3)
    assert float(np.median(found.doppler_mps)) == pytest.approx(sign * SPEED_MPS, abs=0.12)
    assert float(np.median(found.closing_mps)) == pytest.approx(sign * SPEED_MPS, abs=0.12)
    assert found.miss_mps < 0.07
    assert found.exponent == pytest.approx(-4, abs=exponent_within)
    assert not found.is_wrong


def test_right_data_show_the_walker_where_he_is(cube):
    is_right(check(cube.samples), cube)


def test_exchanged_i_and_q_let_power_grow_with_range(cube):
    exchanged = (1j * np.conj(cube.samples)).astype(np.complex64)
    found = check(exchanged)
    assert found.power_is_impossible
    assert found.exponent == pytest.approx(16, abs=3)
    is_right(check(exchanged, replace(FORM, iq_order="qi")), cube)


def test_i_i_q_q_that_were_paired_as_i_q_i_q_let_power_grow_with_range(cube):
    paired = wrongly_paired(cube.samples)
    found = check(paired)
    assert found.power_is_impossible
    assert found.exponent == pytest.approx(5, abs=1)
    is_right(check(paired, replace(FORM, iq_order="iiqq")), cube)


@pytest.mark.parametrize("taper", [np.hanning(64), np.ones(64)])
def test_a_cube_after_the_range_transform_is_wrong_as_samples_and_right_as_ranges(cube, taper):
    profiles = np.fft.fft(cube.samples * taper, axis=1).astype(np.complex64)
    found = check(profiles)
    assert found.speeds_disagree
    assert found.miss_mps > 0.4
    is_right(check(profiles, RANGES), cube)
    is_right(check(profiles[:, :30], RANGES), cube)  # only the near ranges
    is_right(check(np.conj(profiles), replace(RANGES, conjugate=True)), cube)


def test_padded_ranges_have_the_width_that_is_given(cube):
    profiles = np.fft.fft(cube.samples * np.hanning(64), 128, axis=1).astype(np.complex64)
    is_right(check(profiles, replace(RANGES, bandwidth_hz=None, range_bin_m=CHIRP.bin_m / 2)), cube)
    # The origin of the transform may also be the middle of the chirp.
    middle = np.fft.fft(np.fft.ifftshift(cube.samples * np.hanning(64), axes=1), axis=1).astype(np.complex64)
    is_right(check(middle, RANGES), cube)


def test_falling_chirps_turn_the_range_round_but_not_the_doppler(cube):
    falling = np.ascontiguousarray(cube.samples[:, ::-1])
    found = check(falling)
    assert found.speeds_disagree
    assert found.miss_mps > 2
    is_right(check(falling, replace(FORM, bandwidth_hz=-CHIRP.bandwidth_hz)), cube)


def test_bursts_laid_end_to_end_seem_to_move_too_fast_and_frames_keep_them_apart(cube):
    frames = cube.samples[: len(cube.samples) // 512 * 512].reshape(-1, 512, 64)[:, :128]
    found = check(frames.reshape(-1, 64))
    assert found.speeds_disagree
    assert found.speed_ratio == pytest.approx(4, rel=0.25)
    form = replace(FORM, axes=("frames", "chirps", "samples"), frame_rate_hz=RATE_HZ / 512)
    # A quarter of the time is seen, so that the power of few strides counts.
    is_right(check(frames, form, window=128, hop=128, looks=1, frame_s=512 / RATE_HZ), cube, exponent_within=1.2)


def test_a_range_that_does_not_change_tells_no_exponent():
    still = np.zeros((RATE_HZ, 64), np.complex64)
    still += np.exp(2j * np.pi * 8 * np.arange(64) / 64)
    still *= (1 + 0.1 * np.sin(np.arange(RATE_HZ) / 300))[:, None]
    found = check(still)
    assert np.isnan(found.exponent)
    assert not found.power_is_impossible
