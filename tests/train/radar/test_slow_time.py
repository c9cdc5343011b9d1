from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.constants import speed_of_light

from echoform_train.radar.body import SEGMENTS
from echoform_train.radar.fmcw import Chirp, beat_cube
from echoform_train.radar.gait import gait_timing, walking_joints
from echoform_train.radar.person import Person
from echoform_train.radar.range_gate import FrameTiming
from echoform_train.radar.returns import JOINT_RATE_HZ, Radar, echoes, segment_returns, thermal_noise
from echoform_train.radar.slow_time import body_doppler_hz, remove_clutter, slow_time, track_and_gate
from echoform_train.radar.spectrogram_images import default_grid
from echoform_train.radar.stored_samples import SampleFormat
from echoform_train.radar.walks import place_walk

RATE_HZ = 4096
IQ = SampleFormat(axes=("time",), pulse_rate_hz=RATE_HZ)
CHIRP = Chirp()
RADAR = Radar()
CUBE = SampleFormat(axes=("chirps", "samples"), pulse_rate_hz=RADAR.pulse_rate_hz, bandwidth_hz=CHIRP.bandwidth_hz)


def tone(doppler_hz: float, seconds: float = 2.0) -> NDArray[np.complex64]:
    return np.exp(2j * np.pi * doppler_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ).astype(np.complex64)


def untouched(array: NDArray[Any], form: SampleFormat) -> NDArray[Any]:
    return slow_time(array, form, clutter="none", cutoff_hz=1.0)


@pytest.fixture(scope="module")
def cube() -> NDArray[np.complex64]:
    """A point that comes nearer at 1 m/s from 6 m, for half a second."""
    rows = np.arange(JOINT_RATE_HZ // 2 + 1) / JOINT_RATE_HZ
    return beat_cube(RADAR, CHIRP, (6 - rows)[:, None], np.ones((len(rows), 1)))


def test_iq_samples_come_back_as_they_were():
    np.testing.assert_array_equal(untouched(tone(300), IQ), tone(300)[None])
    for shape in ((-1, 1), (1, -1)):  # MATLAB knows no vectors, only columns and rows
        np.testing.assert_array_equal(untouched(tone(300).reshape(shape), IQ), tone(300)[None])


def test_i_and_q_along_an_axis_become_complex():
    pairs = np.stack([tone(300).real, tone(300).imag])
    form = replace(IQ, axes=("iq", "time"))
    np.testing.assert_array_equal(untouched(pairs, form), tone(300)[None])
    counts = np.rint(1000 * pairs.T).astype(np.int16)
    np.testing.assert_allclose(untouched(counts, replace(IQ, axes=("time", "iq"))), 1000 * tone(300)[None], atol=1)


def test_conjugating_turns_the_doppler_round():
    np.testing.assert_array_equal(untouched(tone(300), replace(IQ, conjugate=True)), tone(-300)[None])


def test_one_receiver_or_all_are_kept():
    channels = np.stack([tone(100), tone(200), tone(300)], axis=1)
    form = replace(IQ, axes=("time", "receivers"), receiver=2)
    np.testing.assert_array_equal(untouched(channels, form), tone(200)[None])
    np.testing.assert_array_equal(untouched(channels, replace(form, receiver="mean")), channels.T)
    with pytest.raises(ValueError, match=r"receiver must be in 1\.\.3, got 4"):
        untouched(channels, replace(form, receiver=4))


def test_a_cube_becomes_the_slow_time_of_its_target(cube):
    iq = untouched(cube, CUBE)[0]
    step = np.angle(np.mean(iq[1:] * np.conj(iq[:-1]))) / (2 * np.pi) * RADAR.pulse_rate_hz
    assert step == pytest.approx(2 / RADAR.wavelength_m, rel=1e-3)
    # Compensated by the range squared, the point keeps its level on its way from 6 to 5.5 m.
    middle = np.abs(iq)[1000:-1000]
    assert np.ptp(middle) < 0.05 * middle.mean()


def test_every_order_of_axes_and_every_grouping_of_a_cube_is_the_same(cube):
    expected = untouched(cube, CUBE)
    np.testing.assert_array_equal(untouched(cube.T, replace(CUBE, axes=("samples", "chirps"))), expected)
    frames = cube.reshape(16, -1, 64)
    form = replace(CUBE, axes=("frames", "chirps", "samples"), frame_rate_hz=32.0)
    np.testing.assert_array_equal(untouched(frames, form), expected)
    matlab = frames.transpose(2, 1, 0)[:, None]  # samples x 1 x chirps x frames
    np.testing.assert_array_equal(untouched(matlab, replace(form, axes=form.axes[::-1])), expected)
    both = np.stack([0 * cube + 1, cube], axis=2)
    form = replace(CUBE, axes=("chirps", "samples", "receivers"), receiver=2)
    np.testing.assert_array_equal(untouched(both, form), expected)


def test_real_and_integer_cubes_show_the_same_target(cube):
    iq = untouched(np.rint(cube.real / np.abs(cube).max() * 2000).astype(np.int16), CUBE)[0]
    step = np.angle(np.mean(iq[1:] * np.conj(iq[:-1]))) / (2 * np.pi) * RADAR.pulse_rate_hz
    assert step == pytest.approx(2 / RADAR.wavelength_m, rel=2e-3)


def test_frames_that_overlap_are_refused(cube):
    form = replace(CUBE, axes=("frames", "chirps", "samples"), frame_rate_hz=50.0)
    with pytest.raises(ValueError, match=r"a frame must be over before the next, 256 chirps .* 31\.2 ms of 20 ms"):
        untouched(cube.reshape(16, -1, 64), form)


def test_frames_with_idle_time_keep_their_timing_and_take_no_highpass(cube):
    form = replace(CUBE, axes=("frames", "chirps", "samples"), frame_rate_hz=20.0)
    slow = track_and_gate(cube.reshape(16, -1, 64), form, clutter="mean", cutoff_hz=1.0)
    assert slow.frame == FrameTiming(chirps=256, rate_hz=20.0)
    with pytest.raises(ValueError, match="--clutter highpass needs evenly spaced chirps"):
        track_and_gate(cube.reshape(16, -1, 64), form, clutter="highpass", cutoff_hz=50.0)


def test_the_highpass_takes_out_what_stands_still_by_its_closed_form():
    cutoff_hz, time_s = 40.0, np.arange(2 * RATE_HZ) / RATE_HZ
    inner = (time_s > 0.7) & (time_s < 1.3)

    def gain(doppler_hz: float) -> float:
        filtered = remove_clutter(tone(doppler_hz), RATE_HZ, "highpass", cutoff_hz)
        return float(np.abs(np.mean((filtered * np.conj(tone(doppler_hz)))[inner])))

    for doppler_hz in (20.0, 40.0, -60.0, 200.0, -500.0):
        ratio = np.tan(np.pi * cutoff_hz / RATE_HZ) / np.tan(np.pi * abs(doppler_hz) / RATE_HZ)
        assert gain(doppler_hz) == pytest.approx(1 / (1 + ratio**8), abs=1e-3)
    assert 20 * np.log10(gain(1e-9) + 1e-12) < -80  # a wall
    assert 20 * np.log10(gain(400.0)) > -0.01  # a walker


def test_the_mean_takes_out_what_stands_still_and_keeps_what_moves():
    left = remove_clutter(5 + tone(300), RATE_HZ, "mean", 1.0)
    np.testing.assert_allclose(left, tone(300), atol=1e-4)


@pytest.mark.parametrize("clutter", ["mean", "highpass"])
def test_clutter_of_a_cube_goes_before_the_gate_moves_over_it(cube, clutter):
    wall = beat_cube(RADAR, CHIRP, np.full((JOINT_RATE_HZ // 2 + 1, 1), 5.8), np.full((JOINT_RATE_HZ // 2 + 1, 1), 9.0))
    iq = slow_time(cube + wall, CUBE, clutter=clutter, cutoff_hz=50.0)[0][1000:-1000]
    expected = untouched(cube, CUBE)[0][1000:-1000]
    assert np.abs(np.mean(iq)) < 0.01 * np.abs(expected).mean()
    assert np.abs(np.vdot(iq, expected)) > 0.999 * np.linalg.norm(iq) * np.linalg.norm(expected)


@pytest.mark.parametrize("carrier_hz", [77e9, 24e9])
@pytest.mark.parametrize(("direction", "sign"), [("towards", 1), ("away", -1)])
def test_the_body_is_found_beside_strong_clutter(carrier_hz, direction, sign):
    radar = Radar(carrier_hz=carrier_hz)
    time_s = np.arange(3 * JOINT_RATE_HZ + 1) / JOINT_RATE_HZ
    joints = walking_joints(Person(), 1.2, time_s / gait_timing(Person(), 1.2).cycle_s, 1.2 * (time_s - 1.5))
    placed = place_walk(joints, direction, 0.0, middle_m=8.0)
    returns = segment_returns(placed, np.array([0, 0, 1.0]), np.zeros(len(SEGMENTS)))
    iq = echoes(radar, *returns)
    iq += 3 * np.abs(iq).mean() + thermal_noise(radar, len(iq), np.random.default_rng(0))
    found_mps = (
        body_doppler_hz(iq[None], default_grid(carrier_hz, radar.pulse_rate_hz)) * speed_of_light / carrier_hz / 2
    )
    assert found_mps == pytest.approx(sign * 1.2, abs=0.12)


def test_impossible_formats_are_refused():
    for axes, rule in (
        (("time", "time"), "none twice, got time,time"),
        (("range",), "axes must each be one of time, frames"),
        (("chirps",), "either time .* or chirps and samples"),
        (("time", "chirps", "samples"), "either time .* or chirps and samples"),
        (("frames", "time"), "the axis frames must go with chirps"),
    ):
        with pytest.raises(ValueError, match=rule):
            SampleFormat(axes=axes, pulse_rate_hz=100)
    with pytest.raises(ValueError, match="bandwidth_hz must be given if and only if there is an axis samples"):
        SampleFormat(axes=("chirps", "samples"), pulse_rate_hz=100)
    with pytest.raises(ValueError, match="receiver must be given if and only if there is an axis receivers"):
        SampleFormat(axes=("time",), pulse_rate_hz=100, receiver=1)
    with pytest.raises(ValueError, match="pulse_rate_hz must be above 0, got -1"):
        SampleFormat(axes=("time",), pulse_rate_hz=-1)
    with pytest.raises(ValueError, match=r"1 for the first, .* got 0"):
        SampleFormat(axes=("time", "receivers"), pulse_rate_hz=1, receiver=0)


def test_arrays_that_cannot_be_meant_are_refused(cube):
    broken, lost = tone(100), tone(100)
    broken[[500, 700]] = np.nan
    lost[2048:2150] = 0
    for array, form, rule in (
        (broken, IQ, r"samples must be finite, 2 are NaN or infinite, the first at 0\.122 s"),
        (lost, IQ, r"no gaps, from 0\.500 to 0\.525 s it holds only zeros"),
        (tone(100).real, IQ, "I/Q samples must be complex, .* they are float32"),
        (np.ones((4, 5), complex), IQ, r"the array must have 1 axes \(time\), it is 4 x 5"),
        (
            np.ones((9, 3)),
            replace(IQ, axes=("time", "iq")),
            "the axis iq must have length 2, I and Q, it has 3 of 9 x 3",
        ),
        (np.ones((9, 2), complex), replace(IQ, axes=("time", "iq")), "with an axis iq must be real, .* complex128"),
        (cube.real, replace(CUBE, conjugate=True), "conjugate must go with complex samples, they are float32"),
        (np.where(np.arange(len(cube))[:, None] == 8, np.inf, cube), CUBE, r"64 are NaN or infinite, .* 0\.001 s"),
        (cube * (np.arange(len(cube)) < 2048)[:, None], CUBE, r"from 0\.250 to 0\.500 s it holds only zeros"),
    ):
        with pytest.raises(ValueError, match=rule):
            untouched(array, form)
    with pytest.raises(ValueError, match=r"between 0 and half the pulse rate, 2048\.0, got 3000"):
        remove_clutter(tone(100), RATE_HZ, "highpass", 3000)
