"""A body of many scatterers reflects as much as its ellipsoids, fills its limbs, and speckles."""

import numpy as np
import pytest

from echoform_train.radar.body import JOINT_INDEX, SEGMENT_INDEX, SEGMENTS
from echoform_train.radar.person import Person
from echoform_train.radar.recordings import Measurement
from echoform_train.radar.returns import JOINT_RATE_HZ, Radar, segment_returns
from echoform_train.radar.scatterers import Surface, scattered_returns
from echoform_train.radar.stft import spectrogram, window_samples
from echoform_train.radar.walks import Walk, record_walk, walk_motion

RADAR = Radar(noise_figure_db=0.0, phase_noise_rad=0.0)
WALK = Walk(person=Person(), speed_mps=1.3, speed_variation=0.0, clutter_db=-80.0)


def points_of(seconds: float, surface: Surface, seed: int = 0, walk: Walk = WALK):
    motion = walk_motion(walk, seconds, np.random.default_rng(0))
    gains = np.zeros(len(SEGMENTS))
    return motion, scattered_returns(motion.joints, RADAR, gains, surface, np.random.default_rng(seed))


def test_cross_sections_of_the_points_add_up_to_the_diffuse_share_of_the_segments():
    motion, points = points_of(20.0, Surface(specular_share=0.25, hidden_db=0.0))
    _, section_m2 = segment_returns(motion.joints, np.array([0.0, 0.0, RADAR.height_m]), np.zeros(len(SEGMENTS)))
    for name in ("torso", "right_thigh", "left_foot"):
        index = SEGMENT_INDEX[name]
        diffuse = points.section_m2[:, points.segment == index].sum(axis=1).mean()
        # The cloth changes some 500 times in 20 s, at 8 points or more, so that the mean is good to some 3 %.
        assert diffuse == pytest.approx(0.75 * section_m2[:, index].mean(), rel=0.12)


def test_the_power_of_one_point_is_exponential_and_forgets_itself_in_the_time_of_the_cloth():
    motion, points = points_of(60.0, Surface(cloth_s=0.04, specular_share=0.0, hidden_db=0.0))
    _, section_m2 = segment_returns(motion.joints, np.array([0.0, 0.0, RADAR.height_m]), np.zeros(len(SEGMENTS)))
    head = SEGMENT_INDEX["head"]
    # The head turns little, so that its points have no other modulation than the cloth.
    power = points.section_m2[:, points.segment == head] / section_m2[:, [head]] * (points.segment == head).sum()
    assert power.mean() == pytest.approx(1, rel=0.1)
    assert power.std() == pytest.approx(1, rel=0.15)  # an exponential distribution's deviation is its mean
    lag = round(0.04 * JOINT_RATE_HZ)
    centred = power - power.mean(axis=0)
    correlation = (centred[lag:] * centred[:-lag]).mean() / centred.var()
    # The amplitude's correlation is 1/e after the correlation time, the power's is its square (Siegert relation).
    assert correlation == pytest.approx(np.exp(-2), abs=0.07)


def test_texture_is_drawn_anew_for_each_recording_and_repeats_with_its_seed():
    _, first = points_of(2.0, Surface())
    _, again = points_of(2.0, Surface())
    _, other = points_of(2.0, Surface(), seed=1)
    np.testing.assert_array_equal(first.range_m, again.range_m)
    assert abs(np.corrcoef(first.section_m2.ravel(), other.section_m2.ravel())[0, 1]) < 0.9
    assert not np.allclose(first.range_m, other.range_m)


def test_the_torso_hides_what_swings_behind_it():
    # Seen from the side, the far arm is behind the torso for part of its swing, and the near arm never is.
    walk = Walk(person=Person(), speed_mps=1.3, speed_variation=0.0, aspect_deg=90.0)
    still, shadow = Surface(hidden_db=0.0), Surface(hidden_db=20.0)
    motion, open_view = points_of(4.0, still, walk=walk)
    _, hidden_view = points_of(4.0, shadow, walk=walk)
    sides = {}
    for side in ("left", "right"):
        arm = np.isin(open_view.segment, [SEGMENT_INDEX[f"{side}_upper_arm"], SEGMENT_INDEX[f"{side}_forearm"]])
        sides[side] = hidden_view.section_m2[:, arm].sum() / open_view.section_m2[:, arm].sum()
    shoulders_m = motion.joints[:, [JOINT_INDEX["left_shoulder"], JOINT_INDEX["right_shoulder"]]]
    near = ("left", "right")[int(np.linalg.norm(shoulders_m, axis=-1).mean(axis=0).argmin())]
    far = {"left": "right", "right": "left"}[near]
    assert sides[near] == pytest.approx(1, abs=0.02)
    assert sides[far] < 0.8


def test_points_fill_the_doppler_between_torso_and_foot():
    """A swinging leg of ellipsoids is three lines with gaps between them; one of many points fills them."""
    window = window_samples(RADAR.carrier_hz, RADAR.pulse_rate_hz)
    filled = {}
    for name, surface in {"ellipsoids": None, "scatterers": Surface(specular_share=0.2)}.items():
        measurement = Measurement(radar=RADAR, surface=surface)
        recording = record_walk(WALK, measurement, 6.0, np.random.default_rng(0))
        image_db, doppler_hz, _ = spectrogram(recording.iq, recording.pulse_rate_hz, window=window, hop=64, looks=6)
        # Radial speeds between those of torso and foot: 2 to 4 m/s.
        speed_mps = doppler_hz * RADAR.wavelength_m / 2
        limbs = image_db[(speed_mps > 2) & (speed_mps < 4)]
        filled[name] = (limbs > image_db.max() - 40).mean()
    assert filled["scatterers"] > 1.3 * filled["ellipsoids"]


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"specular_share": 1.1}, "--specular-share must be in 0..1"),
        ({"cloth_s": 0.0}, "--cloth-s must be above 0"),
        ({"hidden_db": -1.0}, "--hidden-db must not be negative"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, rule):
    with pytest.raises(ValueError, match=rule):
        Surface(**settings)
