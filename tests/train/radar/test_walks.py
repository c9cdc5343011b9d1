from dataclasses import replace

import numpy as np
import pytest

from echoform_train.radar.body import JOINT_INDEX
from echoform_train.radar.gait import gait_timing, walking_joints
from echoform_train.radar.loads import Load
from echoform_train.radar.person import Person, carrying, draw_person
from echoform_train.radar.recordings import Measurement
from echoform_train.radar.returns import JOINT_RATE_HZ, UNAMBIGUOUS_SPEED_MPS, Radar
from echoform_train.radar.stft import FRAME_RATE_HZ, SPEED_SPAN_MPS, spectrogram, window_samples
from echoform_train.radar.walks import Walk, draw_walk, place_walk, record_walk, walk_motion

EVEN_WALK = Walk(person=Person(height_m=1.75), speed_mps=1.4, speed_variation=0.0)


def record(walk: Walk, radar: Radar, duration_s: float = 6.0):
    return record_walk(walk, Measurement(radar=radar), duration_s, np.random.default_rng(0))


@pytest.mark.parametrize("carrier_hz", [77e9, 60e9, 24e9])
@pytest.mark.parametrize(("direction", "sign"), [("towards", 1), ("away", -1)])
def test_torso_line_lies_within_one_bin_of_twice_the_speed_over_the_wavelength(direction, sign, carrier_hz):
    radar = Radar(carrier_hz=carrier_hz)
    recording = record(replace(EVEN_WALK, direction=direction), radar)
    window = window_samples(carrier_hz, radar.pulse_rate_hz)
    image_db, doppler_hz, _ = spectrogram(recording.iq, radar.pulse_rate_hz, window=window, hop=window // 2)
    line_hz = doppler_hz[image_db.mean(axis=-1).argmax()]
    # The line of sight falls from the radar's height to the pelvis by less than one degree in the mean.
    assert abs(line_hz - sign * 2 * 1.4 / radar.wavelength_m) < doppler_hz[1] - doppler_hz[0]
    assert recording.truth.body_doppler_hz == pytest.approx(sign * 2 * 1.4 / radar.wavelength_m, rel=0.01)


@pytest.mark.parametrize("cadence_factor", [0.95, 1.0, 1.06])
def test_cadence_in_the_spectrogram_is_the_kinematic_one(cadence_factor):
    person = Person(height_m=1.75, cadence_factor=cadence_factor)
    recording = record(replace(EVEN_WALK, person=person), Radar(), duration_s=16.0)
    image_db, doppler_hz, time_s = spectrogram(recording.iq, 8192, window=112, hop=64, looks=2)
    # Feet: what is nearer than twice the walking speed, once a step.
    feet = np.log(np.sum(10 ** (image_db[doppler_hz > 2 * 2 * 1.4 / Radar().wavelength_m] / 10), axis=0))
    feet = (feet - feet.mean()) * np.hanning(len(feet))
    spectrum = np.abs(np.fft.rfft(feet, 1 << 16))
    steps_hz = np.fft.rfftfreq(1 << 16, time_s[1] - time_s[0])
    band = (steps_hz > 1.4) & (steps_hz < 2.6)
    expected_hz = 2 * cadence_factor / (1.346 * np.sqrt(0.491 * 1.75 / 1.4))
    assert recording.truth.cadence_hz == pytest.approx(expected_hz, rel=1e-6)
    assert steps_hz[band][spectrum[band].argmax()] == pytest.approx(expected_hz, rel=0.01)


def test_nothing_folds_and_feet_stay_in_the_picture():
    fastest, outside = 0.0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        walk = draw_walk(draw_person(rng), "normal", "towards", rng)
        cycle_s = gait_timing(walk.person, walk.speed_mps).cycle_s
        time_s = np.arange(0, cycle_s, 1 / JOINT_RATE_HZ)
        joints = walking_joints(walk.person, walk.speed_mps, time_s / cycle_s, walk.speed_mps * time_s)
        feet = (joints[:, JOINT_INDEX["right_ankle"]] + joints[:, JOINT_INDEX["right_toe"]]) / 2
        foot_mps = np.gradient(feet[:, 0], time_s)
        outside += foot_mps.max() - walk.speed_mps > SPEED_SPAN_MPS
        fastest = max(fastest, foot_mps.max())
    assert outside <= 1
    assert 4 < fastest < 0.9 * UNAMBIGUOUS_SPEED_MPS


def test_the_walker_keeps_its_level_while_the_noise_floor_grows_with_range():
    # From 4 m to 23 m: noise over a range-compensated echo grows by 40 log10 of the ratio of ranges.
    recording = record(replace(EVEN_WALK, direction="away"), Radar(phase_noise_rad=0.0), duration_s=14.0)
    image_db, doppler_hz, time_s = spectrogram(recording.iq, 8192, window=112, hop=64, looks=2 * FRAME_RATE_HZ)
    power = 10 ** (image_db / 10)
    empty = power[doppler_hz > 1500].mean(axis=0)
    distance_m = 4 + 1.4 * time_s
    growth_db = 10 * np.log10(empty[-1] / empty[0])
    assert growth_db == pytest.approx(40 * np.log10(distance_m[-1] / distance_m[0]), abs=2.0)
    assert np.ptp(image_db[np.abs(doppler_hz + 2 * 1.4 / Radar().wavelength_m) < 100].max(axis=0)) < 3


def test_what_stands_still_makes_a_line_at_zero_doppler():
    quiet = record(replace(EVEN_WALK, clutter_db=-80.0), Radar())
    loud = record(replace(EVEN_WALK, clutter_db=-10.0), Radar())
    (quiet_db, doppler_hz, _), (loud_db, _, _) = (
        spectrogram(recording.iq, 8192, window=112, hop=64) for recording in (quiet, loud)
    )
    gain_db = (loud_db - quiet_db).mean(axis=-1)
    assert doppler_hz[gain_db.argmax()] == 0
    assert gain_db[np.abs(doppler_hz) > 300].max() < gain_db.max() / 4


def test_a_slanted_walk_closes_in_by_the_cosine_of_its_angle():
    time_s = np.linspace(-0.01, 0.01, 3)
    joints = np.zeros((3, 1, 3))
    joints[:, 0, 0] = 1.4 * time_s
    placed = place_walk(joints, "towards", aspect_deg=30.0, middle_m=10.0)
    np.testing.assert_allclose(placed[1, 0], [10.0, 0.0, 0.0])
    range_m = np.linalg.norm(placed[:, 0], axis=-1)
    assert (range_m[0] - range_m[2]) / 0.02 == pytest.approx(1.4 * np.cos(np.radians(30)), rel=1e-4)


def test_left_stays_left_when_a_walk_is_placed():
    # Walking towards the radar at the origin, a person's left hand points to negative y.
    placed = place_walk(np.array([[[0.0, 0.5, 1.0]]]), "towards", aspect_deg=0.0, middle_m=5.0)
    np.testing.assert_allclose(placed, [[[5.0, -0.5, 1.0]]], atol=1e-12)


def test_a_backpack_shows_when_a_person_walks_away_more_than_when_they_come():
    loads = {"backpack": Load(gain_db=(("torso", 0.5),), back_gain_db=6.0), "normal": Load()}
    plain = Person(height_m=1.75, loads=loads)
    gained_db = {}
    for direction in ("towards", "away"):
        lines_db = []
        for person in (plain, carrying(plain, "backpack")):
            recording = record(replace(EVEN_WALK, person=person, direction=direction), Radar())
            image_db, _, _ = spectrogram(recording.iq, 8192, window=112, hop=64)
            lines_db.append(image_db.max(axis=0).mean())
        gained_db[direction] = lines_db[1] - lines_db[0]
    # The strongest row of a column is the torso's, with what hips and head add to it.
    assert 0.2 < gained_db["towards"] < 0.7
    assert 3.5 < gained_db["away"] < 6.5


def test_walks_of_one_person_differ_less_than_walks_of_two():
    people = [draw_person(np.random.default_rng(seed)) for seed in range(20)]
    cadences = np.array(
        [
            [
                gait_timing(walk.person, walk.speed_mps).cadence_hz
                for walk in (
                    draw_walk(person, "normal", "towards", np.random.default_rng([seed, 1])) for seed in range(8)
                )
            ]
            for person in people
        ]
    )
    assert cadences.std(axis=1).mean() < 0.6 * cadences.mean(axis=1).std()
    assert cadences.std(axis=1).mean() > 0.01


def test_what_is_true_of_a_stretch_is_measured_on_the_motion():
    recording = record(replace(EVEN_WALK, speed_variation=0.1), Radar(), duration_s=8.0)
    seen = [recording.truth_between(start_s, start_s + 2.0) for start_s in (0.0, 2.0, 4.0)]
    assert len({round(part.speed_mps, 3) for part in seen}) == 3
    for part in seen:
        # Stride goes with the square root of the speed, and so does the cadence.
        even = gait_timing(EVEN_WALK.person, EVEN_WALK.speed_mps).cadence_hz
        assert part.cadence_hz == pytest.approx(even * np.sqrt(part.speed_mps / 1.4), rel=0.005)
        assert part.body_doppler_hz == pytest.approx(2 * part.speed_mps / Radar().wavelength_m, rel=0.04)
    assert recording.truth.heading_deg == pytest.approx(0, abs=0.5)
    with pytest.raises(ValueError, match=r"0 <= start_s < stop_s <= 8\.000 must hold, got 7\.000 and 9\.000"):
        recording.truth_between(7.0, 9.0)


def test_a_walk_that_starts_and_stops_is_at_rest_at_both_ends_and_at_its_speed_between():
    walk = Walk(person=Person(planted=True), speed_mps=1.3, start_and_stop=True)
    motion = walk_motion(walk, 10.0, np.random.default_rng(0))
    speed_mps = np.gradient(motion.travelled_m) * JOINT_RATE_HZ
    assert max(speed_mps[:20].max(), speed_mps[-20:].max()) < 0.1
    assert speed_mps[len(speed_mps) // 2] == pytest.approx(1.3, rel=0.06)
    bones_m = np.linalg.norm(motion.joints[:, 1] - motion.joints[:, 0], axis=-1)
    assert np.ptp(bones_m) < 0.01
